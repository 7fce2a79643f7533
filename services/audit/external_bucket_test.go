//go:build external

package audit_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"headgate.dev/libs/kafka/kafkatest"
	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/sqlstore"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	"headgate.dev/services/audit"
	"headgate.dev/services/audit/internal/ledger"
)

// The checkpoint that lies locked in an object store, which nobody can take back, holds the export; one with a record taken away it does not.
func TestExternalACheckpointInALockedBucketHoldsTheExport(t *testing.T) {
	url := os.Getenv("HEADGATE_TEST_S3")
	if url == "" {
		t.Fatal("HEADGATE_TEST_S3 must be the URL of an object store (tools/engines/moto)")
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "ledger", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	owner := s3.New(s3.Options{BaseEndpoint: &url, UsePathStyle: true, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("owner", "not-a-secret", "")})
	bucket := fmt.Sprintf("audit-%d", time.Now().UnixNano())
	if _, err := owner.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket, ObjectLockEnabledForBucket: aws.Bool(true)}); err != nil {
		t.Fatal(err)
	}
	b := kafkatest.Start(t)
	h := &house{t: t, broker: b, config: audit.Config{Kafka: b.Config(), Database: sqlstore.Config{Path: filepath.Join(t.TempDir(), "index.db")}, Ledger: ledger.Config{
		CheckpointEvery: 20 * time.Millisecond, Bucket: ledger.BucketConfig{Name: bucket, Endpoint: url, LockDays: 2192},
	}}}
	h.ship()
	h.open()
	h.record("1", "acme", "ana")
	h.record("2", "acme", "bob")
	h.eventually("vera", &auditv1.SearchRequest{}, "2", "1")
	signed := func() string {
		got, err := owner.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: aws.String("checkpoint")})
		if err != nil {
			return ""
		}
		data, err := io.ReadAll(got.Body)
		_ = got.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	log := h.keys()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if c, err := log.Checkpoint(signed()); err == nil && c.Size >= 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the bucket has no checkpoint of the records: " + signed())
		}
	}
	export := h.mustExport("vera", &auditv1.ExportRequest{})
	h.holds(export, signed())
	lines := strings.SplitAfter(string(export), "\n")
	without := strings.Join(append(lines[:1:1], lines[2:]...), "")
	if report, err := base.Verify(strings.NewReader(without), h.keys(), signed()); err != nil || report.Holds() {
		t.Errorf("a record was taken away, and the export holds: %+v, %v", report, err)
	}
}
