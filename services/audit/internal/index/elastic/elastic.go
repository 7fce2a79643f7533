package elastic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/elastic/go-elasticsearch/v8"
	"github.com/elastic/go-elasticsearch/v8/esapi"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
)

// largestAnswer bounds what is read of an answer: a page of the largest size has far less.
const largestAnswer = 256 << 20

// Index keeps records in the data streams of one cluster.
type Index struct {
	cfg    Config
	client *elasticsearch.BaseClient
	wire   *http.Transport
	now    func() time.Time
	ready  atomic.Bool // the templates were seen to be installed

	mu   sync.Mutex
	last int64 // the highest order that was given
}

var _ index.Index = (*Index)(nil)

// Open checks the configuration; it connects with the first call.
func Open(cfg Config, now func() time.Time) (*Index, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	client, wire, err := cfg.client()
	if err != nil {
		return nil, err
	}
	return &Index{cfg: cfg, client: client, wire: wire, now: now}, nil
}

// OpenAlerts is Open for the data streams of alerts, which hold nothing else.
func OpenAlerts(cfg Config, now func() time.Time) (*Index, error) {
	return Open(cfg.anomalies(), now)
}

// Close gives the connections back.
func (x *Index) Close() error {
	x.wire.CloseIdleConnections()
	return nil
}

// Ping implements index.Index. An index whose templates are missing or older than this program does not answer: what it would store would be mapped by
// guessing.
func (x *Index) Ping(ctx context.Context) error {
	x.ready.Store(false)
	return x.installed(ctx)
}

// Refresh makes everything that was added found at once, instead of within a second. Tests need it.
func (x *Index) Refresh(ctx context.Context) error {
	yes := true
	_, err := x.do(ctx, esapi.IndicesRefreshRequest{Index: []string{x.cfg.every()}, IgnoreUnavailable: &yes, AllowNoIndices: &yes})
	return err
}

// every is a pattern for all data streams of the installation's records.
func (c Config) every() string { return "logs-" + c.dataset() + "-*" }

// installed looks whether headgate audit install was run for this version. It asks for the mapping of the data streams, because a key that may write
// them may read that, and may not read templates.
func (x *Index) installed(ctx context.Context) error {
	if x.ready.Load() {
		return nil
	}
	yes := true
	body, err := x.do(ctx, esapi.IndicesGetMappingRequest{
		Index: []string{x.cfg.stream("")}, IgnoreUnavailable: &yes, AllowNoIndices: &yes, FilterPath: []string{"*.mappings._meta"},
	})
	if err != nil {
		return err
	}
	var found map[string]struct {
		Mappings struct {
			Meta struct {
				Version int `json:"version"`
			} `json:"_meta"`
		} `json:"mappings"`
	}
	if err := json.Unmarshal(body, &found); err != nil {
		return fmt.Errorf("elasticsearch: the mapping is not JSON: %w", err)
	}
	newest := 0
	for _, m := range found {
		newest = max(newest, m.Mappings.Meta.Version)
	}
	if newest < schemaVersion {
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"Elasticsearch has the mapping of version %d for %s and this version of Headgate needs %d. Run headgate audit install.",
			newest, x.cfg.every(), schemaVersion)
	}
	x.ready.Store(true)
	return nil
}

// order gives n numbers that rise with every call, and across processes with the clock; it returns the first.
func (x *Index) order(n int) int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	first := max(x.last+1, x.now().UnixNano())
	x.last = first + int64(n) - 1
	return first
}

// refusal is an answer that is not success.
type refusal struct {
	status int
	kind   string
	reason string
}

// Error implements error.
func (r *refusal) Error() string {
	return fmt.Sprintf("elasticsearch answered %d %s: %s", r.status, r.kind, r.reason)
}

// told is the refusal with a sentence for the person who can do something about it.
func (r *refusal) told() error {
	switch {
	case r.status == http.StatusUnauthorized || r.status == http.StatusForbidden:
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"Elasticsearch refuses the API key. Check elasticsearch.apiKeyFile and the key's privileges (deployments/elasticsearch).").Because(r)
	case passing(r.status):
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Elasticsearch is there but cannot answer now (%d). Try again, and look at its health.", r.status).Because(r)
	default:
		return r
	}
}

// do sends a request and returns the body of its answer.
func (x *Index) do(ctx context.Context, request esapi.Request) ([]byte, error) {
	return perform(ctx, x.client, request)
}

func perform(ctx context.Context, client *elasticsearch.BaseClient, request esapi.Request) ([]byte, error) {
	answer, err := request.Do(ctx, client)
	if err != nil {
		return nil, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Elasticsearch cannot be reached. Check elasticsearch.addresses and that the nodes answer.").Because(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, largestAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("elasticsearch: read the answer: %w", err)
	case len(body) > largestAnswer:
		return nil, errors.New("elasticsearch: the answer is too large")
	case answer.IsError():
		return nil, refused(answer.StatusCode, body).told()
	default:
		return body, nil
	}
}

func refused(status int, body []byte) *refusal {
	var said struct {
		Error json.RawMessage `json:"error"`
	}
	r := &refusal{status: status, kind: http.StatusText(status)}
	if json.Unmarshal(body, &said) != nil {
		return r
	}
	var why cause
	if json.Unmarshal(said.Error, &why) == nil && why.Type != "" {
		r.kind, r.reason = why.Type, why.Reason
	}
	_ = json.Unmarshal(said.Error, &r.reason) // what is no part of the cluster at all is refused with a sentence alone
	return r
}

// cause is why Elasticsearch refused.
type cause struct {
	Type   string `json:"type"`
	Reason string `json:"reason"`
}
