package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/kafka/kafkatest"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/services/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// people can sign in with their names as tokens.
func people(_ context.Context, token string) (*identityv1.Caller, error) {
	member, auditor, platform := optionsv1.Role_ROLE_MEMBER, optionsv1.Role_ROLE_AUDITOR, optionsv1.Role_ROLE_PLATFORM
	security, admin := optionsv1.Role_ROLE_SECURITY, optionsv1.Role_ROLE_ADMIN
	known := map[string]*identityv1.Caller{
		"ana":   {Tenant: "acme", Name: "ana", Rights: []optionsv1.Role{member}},
		"bob":   {Tenant: "acme", Name: "bob", Rights: []optionsv1.Role{member}},
		"vera":  {Tenant: "acme", Name: "vera", Rights: []optionsv1.Role{member, auditor}},
		"gus":   {Tenant: "globex", Name: "gus", Rights: []optionsv1.Role{member, auditor}},
		"sofia": {Tenant: "acme", Name: "sofia", Rights: []optionsv1.Role{member, security}},
		"stan":  {Tenant: "globex", Name: "stan", Rights: []optionsv1.Role{member, security}},
		"alma":  {Tenant: "acme", Name: "alma", Rights: []optionsv1.Role{member, admin}},
		"greta": {Tenant: "globex", Name: "greta", Rights: []optionsv1.Role{member, admin}},
		"desk":  {Tenant: "acme", Name: "vera", Agent: "desk", Rights: []optionsv1.Role{member}}, // vera's agent, as identity tells of it
		"admin": {Tenant: "system", Name: "admin", Rights: []optionsv1.Role{member, platform}},
	}
	if c := known[token]; c != nil {
		return c, nil
	}
	return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "Unknown token.")
}

// house is a broker, a journal that ships to it, and the audit service that reads from it.
type house struct {
	t       testing.TB
	broker  *kafkatest.Broker
	journal *journal.Writer
	service *audit.Audit
	client  auditv1connect.AuditServiceClient
	edge    auditv1connect.AuditServiceClient // as an edge calls it
	trust   auditv1connect.AuditServiceClient // as a service calls it that has nothing to ask here
	calls   calls                             // what was recorded of calls
	stop    func()
	config  audit.Config
	hold    string                                                              // the id of a hold of acme's
	people  func(ctx context.Context, token string) (*identityv1.Caller, error) // nil for those who are always the same
}

func start(t testing.TB) *house {
	t.Helper()
	return startOn(t, kafkatest.Start(t))
}

func startOn(t testing.TB, b *kafkatest.Broker) *house {
	t.Helper()
	h := &house{t: t, broker: b, config: config(t, b)}
	h.ship()
	h.open()
	return h
}

// calls keeps what is recorded of calls of the API.
type calls struct {
	mu  sync.Mutex
	all []*eventsv1.Event
}

func (c *calls) record(ev *eventsv1.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, ev)
	return nil
}

// take returns what was recorded since it was asked last.
func (c *calls) take() []*eventsv1.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.all
	c.all = nil
	return out
}

// config is an audit service with the embedded index.
func config(t testing.TB, b *kafkatest.Broker) audit.Config {
	t.Helper()
	return audit.Config{Kafka: b.Config(), Database: sqlstore.Config{Path: filepath.Join(t.TempDir(), "index.db")}}
}

// ship opens the journal with its defaults, as a service has it, and moves its records to Kafka until the test ends.
func (h *house) ship() {
	h.t.Helper()
	log := slog.New(slog.DiscardHandler)
	w, err := journal.Open(journal.Config{Dir: h.t.TempDir()}, "edge", log, clock.System)
	if err != nil {
		h.t.Fatal(err)
	}
	p, err := kafka.NewPublisher(h.config.Kafka)
	if err != nil {
		h.t.Fatal(err)
	}
	h.journal = w
	stop := background(h.t, w.Run, journal.NewShipper(w, p, log).Run)
	h.t.Cleanup(func() {
		stop()
		p.Close()
		if err := w.Close(); err != nil {
			h.t.Error(err)
		}
	})
}

// open makes the service and runs it until stop or the test's end.
func (h *house) open() {
	h.t.Helper()
	log := slog.New(slog.DiscardHandler)
	service, err := audit.New(h.config, audit.Deps{Journal: h.journal, Log: log, Now: clock.System})
	if err != nil {
		h.t.Fatal(err)
	}
	mux := rpc.NewMux(rpc.MuxConfig{
		Self: optionsv1.Service_SERVICE_AUDIT, Log: log, Now: clock.System, Record: h.calls.record,
		Authenticate: h.authenticate,
	})
	service.Register(mux)
	if err := mux.Check(); err != nil {
		h.t.Fatal(err)
	}
	h.service = service
	h.client = rpc.Client(rpc.InProcess(mux, optionsv1.Service_SERVICE_UNSPECIFIED), auditv1connect.NewAuditServiceClient)
	h.edge = rpc.Client(rpc.InProcess(mux, optionsv1.Service_SERVICE_EDGE), auditv1connect.NewAuditServiceClient)
	h.trust = rpc.Client(rpc.InProcess(mux, optionsv1.Service_SERVICE_TRUST), auditv1connect.NewAuditServiceClient)
	h.stop = background(h.t, service.Run)
	h.t.Cleanup(h.stop)
}

func (h *house) authenticate(ctx context.Context, token string) (*identityv1.Caller, error) {
	if h.people != nil {
		return h.people(ctx, token)
	}
	return people(ctx, token)
}

func background(t testing.TB, runs ...func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range runs {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	return sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
}

func (h *house) record(id, tenant, person string, change ...func(ev *eventsv1.Event)) {
	h.t.Helper()
	ev := &eventsv1.Event{
		Id: id, Action: "tool-call", Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Tenant: tenant,
		Principal: &eventsv1.Principal{Person: person},
		Target:    &eventsv1.Target{Server: "tickets", Tool: "close_ticket"}, Decision: &eventsv1.Decision{Effect: "allow", Rule: "tickets/support"},
	}
	for _, c := range change {
		c(ev)
	}
	if err := h.journal.Append(ev, journal.Spool); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) search(as string, r *auditv1.SearchRequest) (*auditv1.SearchResponse, error) {
	request := connect.NewRequest(r)
	request.Header().Set("Authorization", "Bearer "+as)
	answer, err := h.client.Search(context.Background(), request)
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

func (h *house) ids(as string, r *auditv1.SearchRequest) []string {
	h.t.Helper()
	answer, err := h.search(as, r)
	if err != nil {
		h.t.Fatal(err)
	}
	var out []string
	for _, ev := range answer.GetEvents() {
		out = append(out, ev.GetId())
	}
	return out
}

func (h *house) eventually(as string, r *auditv1.SearchRequest, want ...string) time.Duration {
	h.t.Helper()
	begun := time.Now()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !slices.Equal(h.ids(as, r), want) {
		select {
		case <-deadline:
			h.t.Fatalf("%s finds %v, want %v", as, h.ids(as, r), want)
		case <-tick.C:
		}
	}
	return time.Since(begun)
}

// await searches until what is found is as it should be.
func (h *house) await(as string, r *auditv1.SearchRequest, fits func([]*eventsv1.Event) bool) {
	h.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := h.search(as, r)
		if err == nil && fits(answer.GetEvents()) {
			return
		}
		select {
		case <-deadline:
			h.t.Fatalf("%s finds %v, %v", as, answer.GetEvents(), err)
		case <-tick.C:
		}
	}
}

func TestRecordIsFoundWellWithinTwoSecondsOfItsJournaling(t *testing.T) {
	h := start(t)
	h.record("first", "acme", "ana")
	h.eventually("vera", &auditv1.SearchRequest{}, "first")
	want := []string{"first"}
	for i := range 5 {
		id := fmt.Sprint("r", i)
		want = append([]string{id}, want...)
		h.record(id, "acme", "ana")
		took := h.eventually("vera", &auditv1.SearchRequest{}, want...)
		t.Logf("found after %s", took)
		if took > 2*time.Second {
			t.Errorf("found after %s", took)
		}
	}
}

func TestEveryoneSeesWhatTheyMay(t *testing.T) {
	h := start(t)
	h.record("1", "acme", "ana")
	h.record("2", "acme", "bob")
	h.record("3", "globex", "ana")
	all := &auditv1.SearchRequest{}
	h.eventually("admin", &auditv1.SearchRequest{Action: "tool-call"}, "3", "2", "1")
	for name, c := range map[string]struct {
		as      string
		request *auditv1.SearchRequest
		want    []string
	}{
		"an auditor, the whole tenant":        {"vera", all, []string{"2", "1"}},
		"an auditor, one person":              {"vera", &auditv1.SearchRequest{Person: "bob"}, []string{"2"}},
		"an auditor of another tenant":        {"gus", all, []string{"3"}},
		"a member, their own":                 {"ana", all, []string{"1"}},
		"a member who names themselves":       {"ana", &auditv1.SearchRequest{Person: "ana", Tenant: "acme"}, []string{"1"}},
		"the platform, one tenant":            {"admin", &auditv1.SearchRequest{Tenant: "globex"}, []string{"3"}},
		"a member, words that others' hold":   {"ana", &auditv1.SearchRequest{Text: "bob"}, nil},
		"an auditor, words of another tenant": {"vera", &auditv1.SearchRequest{Text: "globex"}, nil},
	} {
		if got := h.ids(c.as, c.request); !slices.Equal(got, c.want) {
			t.Errorf("%s: found %v, want %v", name, got, c.want)
		}
	}
	for name, c := range map[string]struct {
		as      string
		request *auditv1.SearchRequest
		want    faultv1.Reason
	}{
		"a member asks for another":    {"ana", &auditv1.SearchRequest{Person: "bob"}, faultv1.Reason_REASON_ROLE_REQUIRED},
		"an auditor of another tenant": {"gus", &auditv1.SearchRequest{Tenant: "acme"}, faultv1.Reason_REASON_WRONG_TENANT},
		"nobody":                       {"mallory", all, faultv1.Reason_REASON_UNAUTHENTICATED},
		"an effect that is none":       {"vera", &auditv1.SearchRequest{Effect: "deny"}, faultv1.Reason_REASON_INVALID},
		"text without a word":          {"vera", &auditv1.SearchRequest{Text: `"*"`}, faultv1.Reason_REASON_INVALID},
		"an interval that is none": {"vera", &auditv1.SearchRequest{Since: timestamppb.New(time.Unix(2, 0)), Until: timestamppb.New(time.Unix(1, 0))},
			faultv1.Reason_REASON_INVALID},
		"a token that is none": {"vera", &auditv1.SearchRequest{PageToken: "nonsense"}, faultv1.Reason_REASON_INVALID},
	} {
		if _, err := h.search(c.as, c.request); !fault.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(time.Now().Add(-d)) }

func TestSearchNarrowsAndPages(t *testing.T) {
	h := start(t)
	var want []string
	for i := range 25 {
		want = append([]string{fmt.Sprint(i)}, want...)
		h.record(fmt.Sprint(i), "acme", "ana", func(ev *eventsv1.Event) {
			if i == 7 {
				ev.Decision = &eventsv1.Decision{Effect: "block", Rule: "tickets/no", Sentence: "Never on a Sunday."}
			}
		})
	}
	h.record("s", "acme", "ana", func(ev *eventsv1.Event) { ev.Phase = eventsv1.Phase_PHASE_STARTED })
	h.record("old", "acme", "ana", func(ev *eventsv1.Event) { ev.Time = ago(25 * time.Hour) })
	h.eventually("vera", &auditv1.SearchRequest{}, want...)
	h.eventually("vera", &auditv1.SearchRequest{Started: true}, append([]string{"s"}, want...)...)
	for name, c := range map[string]struct {
		request *auditv1.SearchRequest
		want    []string
	}{
		"effect": {&auditv1.SearchRequest{Effect: "block"}, []string{"7"}},
		"words":  {&auditv1.SearchRequest{Text: "sunday NEVER"}, []string{"7"}},
		"tool":   {&auditv1.SearchRequest{Tool: "get_ticket"}, nil},
		"rule":   {&auditv1.SearchRequest{Rule: "tickets/no"}, []string{"7"}},
		"code":   {&auditv1.SearchRequest{Code: "block"}, []string{"7"}},
		"call":   {&auditv1.SearchRequest{CallId: "no-such-call"}, nil},
		"trace":  {&auditv1.SearchRequest{TraceId: "4bf92f3577b34da6a3ce929d0e0e4736"}, nil},
		"since":  {&auditv1.SearchRequest{Since: ago(48 * time.Hour), Until: ago(time.Hour)}, []string{"old"}},
	} {
		if got := h.ids("vera", c.request); !slices.Equal(got, c.want) {
			t.Errorf("%s: found %v, want %v", name, got, c.want)
		}
	}
	var got []string
	request := &auditv1.SearchRequest{PageSize: 10, Server: "tickets"}
	for range 3 {
		answer, err := h.search("vera", request)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range answer.GetEvents() {
			got = append(got, ev.GetId())
		}
		request.PageToken = answer.GetNextPageToken()
	}
	if !slices.Equal(got, want) || request.GetPageToken() != "" {
		t.Errorf("the pages hold %v and end with %q", got, request.GetPageToken())
	}
	first, err := h.search("vera", &auditv1.SearchRequest{PageSize: 10})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.search("ana", &auditv1.SearchRequest{PageSize: 10, PageToken: first.GetNextPageToken()}); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("a token of another's search: %v", err)
	}
}

func TestServiceContinuesAfterARestartAndABrokerThatWasAway(t *testing.T) {
	kafkatest.Each(t, serviceContinuesAfterARestartAndABrokerThatWasAway)
}

func serviceContinuesAfterARestartAndABrokerThatWasAway(t *testing.T, b *kafkatest.Broker) {
	t.Helper()
	h := startOn(t, b)
	h.record("1", "acme", "ana")
	h.eventually("vera", &auditv1.SearchRequest{}, "1")
	h.stop()
	h.record("2", "acme", "ana")
	h.broker.Down()
	h.record("3", "acme", "ana")
	h.open() // while Kafka is away, what is known is found
	if got := h.ids("vera", &auditv1.SearchRequest{}); !slices.Equal(got, []string{"1"}) {
		t.Errorf("found %v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := h.service.Ready(ctx); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || !strings.Contains(err.Error(), "Kafka") {
		t.Errorf("ready without Kafka: %v", err)
	}
	h.broker.Up()
	h.eventually("vera", &auditv1.SearchRequest{}, "3", "2", "1")
	if err := h.service.Ready(t.Context()); err != nil {
		t.Errorf("not ready: %v", err)
	}
}

func search(address string) audit.Elasticsearch {
	return audit.Elasticsearch{Addresses: []string{address}}
}

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	database := sqlstore.Config{Path: filepath.Join(t.TempDir(), "index.db")}
	broker := kafka.Config{Brokers: []string{"127.0.0.1:9092"}}
	deps := audit.Deps{Journal: (*journal.Writer)(nil), Log: slog.New(slog.DiscardHandler), Now: clock.System}
	for name, cfg := range map[string]audit.Config{
		"no broker":      {Database: database},
		"no database":    {Kafka: broker},
		"PostgreSQL":     {Kafka: broker, Database: sqlstore.Config{Driver: sqlstore.Postgres}},
		"two indexes":    {Kafka: broker, Database: database, Elasticsearch: search("https://elastic:9200")},
		"no URL":         {Kafka: broker, Elasticsearch: search("elastic:9200")},
		"negative share": {Kafka: broker, Database: database, Share: -1},
		"share above 1":  {Kafka: broker, Database: database, Share: 2},
	} {
		if _, err := audit.New(cfg, deps); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := audit.New(audit.Config{Kafka: broker, Database: database}, audit.Deps{}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("without dependencies: %v", err)
	}
}
