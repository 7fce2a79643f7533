package ledger_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	base "headgate.dev/libs/ledger"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/ledger"
)

// objects is an object store as its owner sees it: beside the ledger, which only has a bucket's name.
type objects struct {
	*s3.Client

	t   *testing.T
	url string
}

// with is the store at that URL, and the credentials that the ledger finds for it.
func with(t *testing.T, url string) *objects {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "ledger", "AWS_SECRET_ACCESS_KEY": "not-a-secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &objects{t: t, url: url, Client: s3.New(s3.Options{
		BaseEndpoint: &url, UsePathStyle: true, Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("owner", "not-a-secret", ""),
		HTTPClient: &http.Client{Transport: transport}, DisableLogOutputChecksumValidationSkipped: true, RetryMaxAttempts: 1,
	})}
}

// bucket makes one.
func (o *objects) bucket(locked bool) ledger.BucketConfig {
	o.t.Helper()
	name := fmt.Sprintf("b-%d", time.Now().UnixNano())
	if _, err := o.CreateBucket(o.t.Context(), &s3.CreateBucketInput{Bucket: &name, ObjectLockEnabledForBucket: &locked}); err != nil {
		o.t.Fatal(err)
	}
	return ledger.BucketConfig{Name: name, Prefix: "acme/log", Endpoint: o.url, LockDays: 30}
}

// fetched is the bucket's log in a folder, as anybody who may read it has it.
func (o *objects) fetched(cfg ledger.BucketConfig, names ...string) string {
	o.t.Helper()
	dir := o.t.TempDir()
	for _, name := range names {
		got, err := o.GetObject(o.t.Context(), &s3.GetObjectInput{Bucket: &cfg.Name, Key: aws.String(cfg.Prefix + "/" + name)})
		if err != nil {
			o.t.Fatal(name, err)
		}
		data, err := io.ReadAll(got.Body)
		_ = got.Body.Close()
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			o.t.Fatal(err)
		}
	}
	return dir
}

// until waits until the bucket's checkpoint is of that size.
func (o *objects) until(cfg ledger.BucketConfig, size int64) string {
	o.t.Helper()
	last := "none"
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		got, err := o.GetObject(o.t.Context(), &s3.GetObjectInput{Bucket: &cfg.Name, Key: aws.String(cfg.Prefix + "/checkpoint")})
		if err != nil {
			last = err.Error()
			continue
		}
		data, _ := io.ReadAll(got.Body)
		_ = got.Body.Close()
		last = string(data)
		if c, err := base.UncheckedCheckpoint(last); err == nil && c.Size == size {
			return last
		}
	}
	o.t.Fatalf("the bucket never had %d records; its last checkpoint: %s", size, last)
	return ""
}

// The log in the bucket is whole: each leaf of the last checkpoint is found by its tiles.
func theLogIsInTheBucket(t *testing.T, o *objects) {
	bucket := o.bucket(true)
	cfg := ledger.Config{Dir: t.TempDir(), CheckpointEvery: 5 * time.Millisecond, Bucket: bucket}
	l := open(t, cfg)
	w := &writer{name: "edge"}
	grown(t, l, w, 300)
	showing(t, l)
	o.until(bucket, 300)
	grown(t, l, w, 300)
	o.until(bucket, 600)
	dir := o.fetched(bucket, "checkpoint", "key.pub", "tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/000", "tile/entries/001", "tile/entries/002.p/88")
	public, _ := l.PublicKey()
	if kept, err := os.ReadFile(filepath.Join(dir, "key.pub")); err != nil || strings.TrimSpace(string(kept)) != public {
		t.Errorf("the key: %s, %v", kept, err)
	}
	keys, err := base.NewKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := keys.Checkpoint(string(signed))
	if err != nil {
		t.Fatal(err)
	}
	leavesAreFound(t, l, c, dir)
}

// Somebody puts something else there: what was there before cannot be taken away, and the ledger tells of it and does not write over it.
func whatIsLockedStays(t *testing.T, o *objects) {
	bucket := o.bucket(true)
	cfg := ledger.Config{Dir: t.TempDir(), CheckpointEvery: 5 * time.Millisecond, Bucket: bucket}
	l := open(t, cfg)
	w := &writer{name: "edge"}
	grown(t, l, w, 5)
	told := showing(t, l)
	seen := o.until(bucket, 5)
	key := aws.String(bucket.Prefix + "/checkpoint")
	before, err := o.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket.Name, Key: key})
	if err != nil || before.ObjectLockMode != types.ObjectLockModeCompliance {
		t.Fatal(before, err)
	}
	if days := before.ObjectLockRetainUntilDate.Sub(noon).Hours() / 24; days != 30 {
		t.Errorf("locked for %v days", days)
	}
	if _, err := o.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket.Name, Key: key, Body: strings.NewReader("another")}); err != nil {
		t.Fatal(err)
	}
	if _, err := o.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket.Name, Key: key, VersionId: before.VersionId, BypassGovernanceRetention: aws.Bool(true)}); err == nil {
		t.Error("a locked checkpoint could be deleted")
	}
	kept, err := o.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket.Name, Key: key, VersionId: before.VersionId})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Body.Close() }()
	if data, err := io.ReadAll(kept.Body); err != nil || string(data) != seen {
		t.Errorf("%s, %v", data, err)
	}
	grown(t, l, w, 1) // the ledger does not write over the other
	another(t, told, "another log is published there")
}

// another wants one alert that somebody outside knows another log, for that reason.
func another(t *testing.T, told alerts, why string) {
	t.Helper()
	select {
	case ev := <-told:
		if !ev.GetAlert() || ev.GetAction() != "ledger-witness" || !strings.Contains(ev.GetDecision().GetSentence(), "it knows another log: ") || !strings.Contains(ev.GetDecision().GetSentence(), why) {
			t.Errorf("%v, want %q", ev, why)
		}
	case <-time.After(time.Minute):
		t.Fatalf("nobody was told: %s", why)
	}
}

// A bucket without object lock takes nothing for granted: the ledger says so, and no checkpoint counts as published there.
func aBucketWithoutLockIsRefused(t *testing.T, o *objects) {
	bucket := o.bucket(false)
	var said said
	l := openSaying(t, ledger.Config{Dir: t.TempDir(), CheckpointEvery: 5 * time.Millisecond, Bucket: bucket}, &said)
	grown(t, l, &writer{name: "edge"}, 5)
	showing(t, l)
	said.wait(t, "Bucket is missing Object", "s3://"+bucket.Name+"/acme/log")
}

// Another log of the same name, or a log put back to an older state, is not written over the evidence; there is an alert.
func theBucketKnowsAnotherLog(t *testing.T, o *objects) {
	bucket := o.bucket(true)
	cfg := ledger.Config{Dir: t.TempDir(), CheckpointEvery: 5 * time.Millisecond, Bucket: bucket}
	l := open(t, cfg)
	w := &writer{name: "edge"}
	grown(t, l, w, 5)
	older := t.TempDir()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(older, os.DirFS(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(older, "key"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, cfg)
	grown(t, l, w, 5)
	showing(t, l)
	seen := o.until(bucket, 10)

	cfg.Dir = older
	other := open(t, cfg)
	told := showing(t, other)
	another(t, told, "s3://"+bucket.Name+"/acme/log: it knows another log: it has a checkpoint of 10 records and this ledger has 5")
	grown(t, other, &writer{name: "forger"}, 6) // ahead of it by now, and of other records
	other.ShowLast(t.Context())                 // once more, to its end
	if now := o.until(bucket, 10); now != seen {
		t.Errorf("the evidence was written over: %s", now)
	}
	if len(told) > 0 {
		t.Errorf("told once more: %v", <-told)
	}
}

// said is what a ledger logs.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// wait waits until all of these words were logged.
func (s *said) wait(t *testing.T, words ...string) {
	t.Helper()
	var all string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		all = s.String()
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(all, word) }) {
			return
		}
	}
	t.Fatalf("not all of %q were logged: %s", words, all)
}

func openSaying(t *testing.T, cfg ledger.Config, to *said) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(cfg, slog.New(slog.NewTextHandler(to, nil)), func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// bucketSuite is what holds for each store that speaks S3.
var bucketSuite = map[string]func(*testing.T, *objects){
	"the log is in the bucket": theLogIsInTheBucket, "what is locked stays": whatIsLockedStays,
	"a bucket without lock is refused": aBucketWithoutLockIsRefused, "the bucket knows another log": theBucketKnowsAnotherLog,
}

func TestBuckets(t *testing.T) {
	for name, holds := range bucketSuite {
		t.Run(name, func(t *testing.T) { holds(t, with(t, newShelf(t).server.URL)) })
	}
}

// A deletion without a version leaves a mark, as the store says with its answer (moto does not): the ledger tells of it and does not begin anew below it.
func TestACheckpointThatWasDeletedIsAnAlert(t *testing.T) {
	o := with(t, newShelf(t).server.URL)
	bucket := o.bucket(true)
	l := open(t, ledger.Config{Dir: t.TempDir(), CheckpointEvery: 5 * time.Millisecond, Bucket: bucket})
	grown(t, l, &writer{name: "edge"}, 5)
	told := showing(t, l)
	o.until(bucket, 5)
	if _, err := o.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket.Name, Key: aws.String(bucket.Prefix + "/checkpoint")}); err != nil {
		t.Fatal(err)
	}
	another(t, told, "was deleted")
}

func TestABucketGetsWhatItMissedWhileItWasAway(t *testing.T) {
	shelf := newShelf(t)
	o := with(t, shelf.server.URL)
	bucket := o.bucket(true)
	var said said
	l := openSaying(t, ledger.Config{Dir: t.TempDir(), CheckpointEvery: 5 * time.Millisecond, Bucket: bucket}, &said)
	w := &writer{name: "edge"}
	grown(t, l, w, 3)
	showing(t, l)
	o.until(bucket, 3)
	shelf.set(func() { shelf.down = true })
	grown(t, l, w, 300)
	said.wait(t, "SlowDown", "is tried again")
	shelf.set(func() { shelf.down = false })
	o.until(bucket, 303)
	said.wait(t, "is taken again")
	counted := prometheus.NewPedanticRegistry()
	if err := l.Register(counted); err != nil {
		t.Fatal(err)
	}
	if err := testutil.GatherAndCompare(counted, strings.NewReader(fmt.Sprintf(`# HELP headgate_audit_checkpoint_outside_records Records below the last checkpoint that a witness or bucket took.
# TYPE headgate_audit_checkpoint_outside_records gauge
headgate_audit_checkpoint_outside_records{by="the bucket s3://%s/acme/log"} 303
# HELP headgate_audit_checkpoint_records Records below the ledger's last checkpoint.
# TYPE headgate_audit_checkpoint_records gauge
headgate_audit_checkpoint_records 303
`, bucket.Name))); err != nil {
		t.Error(err)
	}
	o.fetched(bucket, "tile/0/000", "tile/entries/000", "tile/0/001.p/47")
}

func TestTheEndOfTheServiceWaitsForTheBucketButNotForever(t *testing.T) {
	shelf := newShelf(t)
	o := with(t, shelf.server.URL)
	bucket := o.bucket(true)
	l := open(t, ledger.Config{Dir: t.TempDir(), Bucket: bucket})
	w := &writer{name: "edge"}
	grown(t, l, w, 3)
	l.ShowLast(t.Context())
	o.until(bucket, 3)
	shelf.hang(true)
	defer shelf.hang(false)
	grown(t, l, w, 3)
	began := time.Now()
	l.ShowLast(t.Context())
	if took := time.Since(began); took > 15*time.Second { // one request alone has 20
		t.Errorf("it waited for %v", took)
	}
}

// A folder that knows another log is an alert, too, once.
func TestAFolderThatKnowsAnotherLogIsAnAlert(t *testing.T) {
	second := t.TempDir()
	grown(t, open(t, ledger.Config{Dir: t.TempDir(), Publish: second, Origin: "bank.example/audit"}), &writer{name: "edge"}, 5)
	var said said
	l := openSaying(t, ledger.Config{Dir: t.TempDir(), Publish: second, Origin: "bank.example/audit", CheckpointEvery: 5 * time.Millisecond}, &said)
	add(t, l, (&writer{name: "forger"}).many(7)...)
	told := make(alerts, 10)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(ctx) })
	running.Go(func() { _ = l.Watch(ctx, told) })
	defer running.Wait()
	defer cancel()
	select {
	case ev := <-told:
		if !ev.GetAlert() || !strings.Contains(ev.GetDecision().GetSentence(), second+": it knows another log: its checkpoint of 5 records") {
			t.Errorf("%v", ev)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody was told")
	}
	for i := range int64(5) { // five more tries, each after a signature
		add(t, l, (&writer{name: ids.New()}).many(1)...)
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if signed, _ := l.Signed(); signed.Size == 8+i {
				break
			}
		}
	}
	if len(told) > 0 || strings.Count(said.String(), "another log") != 1 {
		t.Errorf("said more than once: %d alerts, %s", len(told), said.String())
	}
}

// A store that takes a lock without a word and does not hold it is found out by asking.
func TestALockThatAStoreLeavesOutIsNoticed(t *testing.T) {
	shelf := newShelf(t)
	o := with(t, shelf.server.URL)
	bucket := o.bucket(true)
	shelf.set(func() { shelf.forgetsLocks = true })
	var said said
	l := openSaying(t, ledger.Config{Dir: t.TempDir(), CheckpointEvery: 5 * time.Millisecond, Bucket: bucket}, &said)
	grown(t, l, &writer{name: "edge"}, 3)
	showing(t, l)
	said.wait(t, "not locked for 30 days")
}

func TestABucketsConfigurationIsChecked(t *testing.T) {
	good := ledger.BucketConfig{Name: "acme-ledger", Region: "eu-central-1", LockDays: 30}
	for want, change := range map[string]func(*ledger.BucketConfig){
		"":         func(*ledger.BucketConfig) {},
		"name":     func(c *ledger.BucketConfig) { c.Name = "Acme Ledger" },
		"prefix":   func(c *ledger.BucketConfig) { c.Prefix = "../other" },
		"region":   func(c *ledger.BucketConfig) { c.Region = "" },
		"endpoint": func(c *ledger.BucketConfig) { c.Endpoint = "https://user:word@s3.example" },
		"lock:":    func(c *ledger.BucketConfig) { c.Lock = "yes" },
		"lockDays": func(c *ledger.BucketConfig) { c.LockDays = 0 },
		"lock is none": func(c *ledger.BucketConfig) {
			c.Lock = "none"
		},
	} {
		c := good
		change(&c)
		err := ledger.Config{Dir: t.TempDir(), Bucket: c}.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
		if err != nil && !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%v", err)
		}
	}
}
