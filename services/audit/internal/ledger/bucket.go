package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"headgate.dev/libs/fault"
	base "headgate.dev/libs/ledger"
)

const (
	// bucketPatience bounds one request to an object store.
	bucketPatience = 20 * time.Second
	// largestObject is the most that is read of an object.
	largestObject = 1 << 20

	// clocksApart is how much the store's dates may differ from ours.
	clocksApart = time.Hour

	lockNone = "none"
)

var (
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	keyPrefix  = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
	lockModes  = map[string]types.ObjectLockMode{"compliance": types.ObjectLockModeCompliance, "governance": types.ObjectLockModeGovernance, lockNone: ""}
)

// BucketConfig is a bucket of S3, or of a store that speaks it. Credentials are those that AWS's own clients find: environment, web identity, file, the machine's role.
type BucketConfig struct {
	Name string `yaml:"name"`
	// Prefix is what the keys begin with, as acme/headgate; empty means nothing.
	Prefix string `yaml:"prefix"`
	// Region is the bucket's; with Endpoint it may be empty.
	Region string `yaml:"region"`
	// Endpoint is the URL of a store that is not AWS's.
	Endpoint string `yaml:"endpoint"`
	// Lock is compliance (nobody can shorten it), governance (who has a right of its own can) or none. Empty means compliance.
	Lock string `yaml:"lock"`
	// LockDays is how long an object can be neither changed nor deleted, from when it is written.
	LockDays int `yaml:"lockDays"`
}

func (c BucketConfig) used() bool { return c != BucketConfig{} }

func (c BucketConfig) withDefaults() BucketConfig {
	if c.Lock == "" {
		c.Lock = "compliance"
	}
	if c.Region == "" && c.Endpoint != "" {
		c.Region = "us-east-1"
	}
	return c
}

func (c BucketConfig) check() error {
	if !c.used() {
		return nil
	}
	c = c.withDefaults()
	_, known := lockModes[c.Lock]
	switch {
	case !bucketName.MatchString(c.Name):
		return fault.Invalid("ledger.bucket.name: must be the name of a bucket, is %q", c.Name)
	case c.Prefix != "" && !keyPrefix.MatchString(c.Prefix):
		return fault.Invalid("ledger.bucket.prefix: must be words of letters, digits, _, - and . with / between them, as acme/headgate, is %q", c.Prefix)
	case c.Region == "":
		return fault.Invalid("ledger.bucket.region: name the bucket's region, as eu-central-1")
	case !known:
		return fault.Invalid("ledger.bucket.lock: must be compliance, governance or none, is %q", c.Lock)
	case c.Lock == lockNone && c.LockDays != 0:
		return fault.Invalid("ledger.bucket.lockDays: says for how long objects are locked, and ledger.bucket.lock is none; leave one of them out")
	case c.Lock != lockNone && (c.LockDays < 1 || c.LockDays > 36500):
		return fault.Invalid("ledger.bucket.lockDays: say for how many days objects are locked, 1 to 36500, as 2192 for six years; with lock: compliance nobody can shorten it, the bucket's owner neither")
	case c.Endpoint != "" && !plainURL(c.Endpoint):
		return fault.Invalid("ledger.bucket.endpoint: must be http or https with a host, as https://s3.example, is %q", c.Endpoint)
	}
	return nil
}

// bucket is a place in an object store.
type bucket struct {
	log    *Ledger
	cfg    BucketConfig
	client *s3.Client
	open   *http.Transport
	locked string // the checkpoint that is known to be locked there
}

func newBucket(log *Ledger, cfg BucketConfig) (*bucket, error) {
	cfg = cfg.withDefaults()
	dials := awshttp.NewBuildableClient().WithTimeout(bucketPatience)
	found, err := config.LoadDefaultConfig(context.Background(), config.WithRegion(cfg.Region), config.WithHTTPClient(dials), config.WithLogger(logging.Nop{}))
	if err != nil {
		return nil, fault.Invalid("ledger.bucket: what AWS's environment variables and files say cannot be used: %v", err)
	}
	if changed, is := found.HTTPClient.(*awshttp.BuildableClient); is { // with the authorities that the environment names
		dials = changed
	}
	b := &bucket{log: log, cfg: cfg, open: dials.GetTransport()} // one of our own, which can be closed
	b.client = s3.NewFromConfig(found, func(o *s3.Options) {
		o.HTTPClient = &http.Client{Transport: b.open, Timeout: bucketPatience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		o.DisableLogOutputChecksumValidationSkipped = true
		if cfg.Endpoint != "" {
			o.BaseEndpoint, o.UsePathStyle = aws.String(cfg.Endpoint), true
		}
	})
	return b, nil
}

func (b *bucket) String() string { return "the bucket s3://" + path.Join(b.cfg.Name, b.cfg.Prefix) }

func (b *bucket) close() { b.open.CloseIdleConnections() }

// show brings the log to the bucket, and makes sure that its checkpoint is locked there.
func (b *bucket) show(ctx context.Context) (int64, error) {
	log, is := b.log.published()
	if !is {
		return 0, nil
	}
	if err := log.bring(ctx, b); err != nil {
		return 0, err
	}
	if b.cfg.Lock != lockNone && b.locked != log.last.Note {
		if err := b.isLocked(ctx, log.last.At); err != nil {
			return 0, err
		}
		b.locked = log.last.Note
	}
	return log.last.Size, nil
}

// isLocked asks the store, since one that knows no locks takes an object without a word.
func (b *bucket) isLocked(ctx context.Context, signed time.Time) error {
	got, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.cfg.Name, Key: b.key(base.CheckpointFile)})
	if err != nil {
		return answered(err)
	}
	until := signed.AddDate(0, 0, b.cfg.LockDays).Add(-clocksApart)
	if got.ObjectLockMode != lockModes[b.cfg.Lock] || got.ObjectLockRetainUntilDate == nil || got.ObjectLockRetainUntilDate.Before(until) {
		return fmt.Errorf("the checkpoint is there, and not locked for %d days (%s): make the bucket with object lock and allow s3:PutObjectRetention and s3:GetObjectRetention, or set ledger.bucket.lock: none", b.cfg.LockDays, b.cfg.Lock)
	}
	return nil
}

func (b *bucket) key(name string) *string { return aws.String(path.Join(b.cfg.Prefix, name)) }

func (b *bucket) read(ctx context.Context, name string) ([]byte, error) {
	got, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.cfg.Name, Key: b.key(name)})
	if err != nil {
		return nil, answered(err)
	}
	data, err := io.ReadAll(io.LimitReader(got.Body, largestObject))
	return data, errors.Join(err, got.Body.Close())
}

func (b *bucket) write(ctx context.Context, name string, data []byte) error {
	in := &s3.PutObjectInput{Bucket: &b.cfg.Name, Key: b.key(name), Body: bytes.NewReader(data), ChecksumAlgorithm: types.ChecksumAlgorithmSha256} // a lock is taken with a checksum only
	if b.cfg.Lock != lockNone {
		in.ObjectLockMode, in.ObjectLockRetainUntilDate = lockModes[b.cfg.Lock], aws.Time(b.log.now().AddDate(0, 0, b.cfg.LockDays))
	}
	_, err := b.client.PutObject(ctx, in)
	return answered(err)
}

// dropParts drops nothing: what is locked stays.
func (b *bucket) dropParts(string) error { return nil }

// answered is what the store answered, without what differs each time. A key that is not there is fs.ErrNotExist.
func answered(err error) error {
	var answer smithy.APIError
	var response *smithyhttp.ResponseError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &response) && response.Response != nil && response.Response.Header.Get("X-Amz-Delete-Marker") == "true":
		return fmt.Errorf("%w: what lay there was deleted, and its versions stay below the mark; have the mark taken away", errOtherLog)
	case !errors.As(err, &answer):
		return fmt.Errorf("it cannot be reached: %w", err)
	case answer.ErrorCode() == "NoSuchKey":
		return fs.ErrNotExist
	}
	return fmt.Errorf("it answers %s %s", answer.ErrorCode(), strings.TrimSpace(answer.ErrorMessage()))
}
