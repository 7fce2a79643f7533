package credentials_test

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/sqlstore"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/credentials"
)

const apiKey = "sk-live-7Zq0PLmN4vX9"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a journal that keeps what it is given and can be told to fail.
type recorder struct {
	mu     sync.Mutex
	events []*eventsv1.Event
	broken bool
}

func (r *recorder) Append(ev *eventsv1.Event, _ journal.Mode) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return fault.New(faultv1.Reason_REASON_JOURNAL, "The journal is full.")
	}
	r.events = append(r.events, proto.CloneOf(ev))
	return nil
}

func (r *recorder) fail(broken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken = broken
}

func (r *recorder) of(action string) []*eventsv1.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.events), func(ev *eventsv1.Event) bool { return ev.GetAction() != action })
}

type harness struct {
	t       *testing.T
	dir     string
	journal *recorder
	now     time.Time
	mux     *rpc.Mux
}

// start runs the service on the databases of dir, which outlive it.
func start(t *testing.T, dir string) *harness {
	t.Helper()
	h := &harness{t: t, dir: dir, journal: &recorder{}, now: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}
	service, err := credentials.New(config(dir), credentials.Deps{Journal: h.journal, Log: slog.New(slog.DiscardHandler), Now: clock.Fixed(h.now)})
	if err != nil {
		t.Fatal(err)
	}
	h.mux = rpc.NewMux(rpc.MuxConfig{Self: optionsv1.Service_SERVICE_CREDENTIALS, Authenticate: people, Record: func(ev *eventsv1.Event) error { return h.journal.Append(ev, journal.Spool) }})
	service.Register(h.mux)
	if err := h.mux.Check(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := service.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return h
}

func config(dir string) credentials.Config {
	return credentials.Config{Database: sqlstore.Config{Path: filepath.Join(dir, "credentials.db")}, KeyFile: filepath.Join(dir, "key", "kek.json")}
}

// people takes "tenant/name" as the token of an administrator.
func people(_ context.Context, token string) (*identityv1.Caller, error) {
	tenant, name, _ := strings.Cut(token, "/")
	return &identityv1.Caller{Tenant: tenant, Name: name, Rights: []optionsv1.Role{optionsv1.Role_ROLE_MEMBER, optionsv1.Role_ROLE_ADMIN}}, nil
}

func (h *harness) as(person string) credentialsv1connect.CredentialsServiceClient {
	conn := rpc.InProcess(h.mux, optionsv1.Service_SERVICE_UNSPECIFIED).As(secret.New(person))
	return rpc.Client(conn, credentialsv1connect.NewCredentialsServiceClient)
}

func (h *harness) service(s optionsv1.Service) credentialsv1connect.CredentialsServiceClient {
	return rpc.Client(rpc.InProcess(h.mux, s), credentialsv1connect.NewCredentialsServiceClient)
}

func (h *harness) apply(dryRun bool, connections ...*credentialsv1.Connection) (*credentialsv1.ApplyResponse, error) {
	h.t.Helper()
	req := &credentialsv1.ApplyRequest{DryRun: dryRun}
	for _, c := range connections {
		req.Resources = append(req.Resources, &credentialsv1.Resource{Kind: &credentialsv1.Resource_Connection{Connection: c}})
	}
	res, err := h.as("acme/adam").Apply(h.t.Context(), connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func (h *harness) mustApply(connections ...*credentialsv1.Connection) []*resourcev1.Change {
	h.t.Helper()
	res, err := h.apply(false, connections...)
	if err != nil {
		h.t.Fatal(err)
	}
	return res.GetChanges()
}

func (h *harness) lease(tenant, server, host string) (*credentialsv1.LeaseResponse, error) {
	h.t.Helper()
	res, err := h.service(optionsv1.Service_SERVICE_EDGE).Lease(h.t.Context(), connect.NewRequest(&credentialsv1.LeaseRequest{
		Tenant: tenant, Person: "ana", Agent: "claude", Server: server, Tool: "read", Host: host, CallId: "call-1",
	}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func crm(change ...func(*credentialsv1.Connection)) *credentialsv1.Connection {
	c := &credentialsv1.Connection{
		ApiVersion: "headgate/v1", Kind: "Connection", Metadata: &resourcev1.Metadata{Name: "crm", Tenant: "acme"},
		Spec: &credentialsv1.ConnectionSpec{
			Server: "crm", Inject: &credentialsv1.Inject{In: "header", Name: "Authorization", Template: "Bearer {secret}"},
			AllowHosts: []string{"crm.example:443"}, Secret: apiKey,
		},
	}
	for _, each := range change {
		each(c)
	}
	return c
}

func without(c *credentialsv1.Connection) { c.Spec.Secret = "" }

func TestALeaseCarriesTheCredentialForItsHostsForMinutes(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	lease, err := h.lease("acme", "crm", "crm.example:443")
	if err != nil {
		t.Fatal(err)
	}
	if got := lease.GetHeaders(); len(got) != 1 || got[0].GetName() != "Authorization" || got[0].GetValue() != "Bearer "+apiKey {
		t.Errorf("headers: %v", got)
	}
	if !slices.Equal(lease.GetSecrets(), []string{apiKey}) || !slices.Equal(lease.GetAllowHosts(), []string{"crm.example:443"}) || lease.GetConnection() != "crm" {
		t.Error("the lease does not name its secret, its hosts and its connection")
	}
	if got := lease.GetExpiresAt().AsTime(); !got.Equal(h.now.Add(5 * time.Minute)) {
		t.Errorf("it is good until %s", got)
	}
	events := h.journal.of("credential-leased")
	if len(events) != 1 {
		t.Fatalf("%d records of one lease", len(events))
	}
	ev := events[0]
	if ev.GetTenant() != "acme" || ev.GetPrincipal().GetPerson() != "ana" || ev.GetPrincipal().GetAgent() != "claude" || ev.GetTarget().GetServer() != "crm" ||
		ev.GetTarget().GetAddress() != "crm.example:443" || ev.GetCredential().GetLeaseId() != lease.GetLeaseId() || ev.GetCredential().GetConnection() != "crm" || ev.GetCallId() != "call-1" {
		t.Errorf("the record: %v", ev)
	}
}

func TestEveryLeaseHasItsOwnName(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	seen := map[string]bool{}
	for range 10 {
		lease, err := h.lease("acme", "crm", "crm.example:443")
		if err != nil || seen[lease.GetLeaseId()] || lease.GetLeaseId() == "" {
			t.Fatalf("%v, %v", lease.GetLeaseId(), err)
		}
		seen[lease.GetLeaseId()] = true
	}
}

func TestAServerWithoutAConnectionNeedsNoCredential(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	for tenant, server := range map[string]string{"acme": "wiki", "rival": "crm"} {
		lease, err := h.lease(tenant, server, "crm.example:443")
		if err != nil || lease.GetLeaseId() != "" || len(lease.GetHeaders()) != 0 || len(lease.GetSecrets()) != 0 {
			t.Errorf("%s/%s: %v, %v", tenant, server, lease, err)
		}
	}
	if n := len(h.journal.of("credential-leased")); n != 0 {
		t.Errorf("%d records of leases that were none", n)
	}
}

func TestT11ACredentialGoesToNoOtherHost(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	for _, host := range []string{"evil.example:443", "crm.example:8443", "crm.example", "crm.example.evil.example:443", "127.0.0.1:443"} {
		lease, err := h.lease("acme", "crm", host)
		if !fault.Is(err, faultv1.Reason_REASON_CREDENTIAL) || lease != nil {
			t.Errorf("%s: %v, %v", host, lease, err)
		}
		if err != nil && !strings.Contains(err.Error(), "allow_hosts") {
			t.Errorf("the sentence does not say what to do: %s", err)
		}
	}
	for _, ev := range h.journal.of("credential-leased") {
		if ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || ev.GetDecision().GetReason() != faultv1.Reason_REASON_CREDENTIAL || ev.GetCredential().GetLeaseId() != "" {
			t.Errorf("the refusal's record: %v", ev)
		}
	}
}

func TestOnlyTheEdgeAndTrustLease(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	ask := func(c credentialsv1connect.CredentialsServiceClient) error {
		_, err := c.Lease(t.Context(), connect.NewRequest(&credentialsv1.LeaseRequest{Tenant: "acme", Server: "crm", Host: "crm.example:443"}))
		return err
	}
	for s, good := range map[optionsv1.Service]bool{
		optionsv1.Service_SERVICE_EDGE: true, optionsv1.Service_SERVICE_TRUST: true, optionsv1.Service_SERVICE_AUTHZ: false, optionsv1.Service_SERVICE_CONSOLE: false,
	} {
		if err := ask(h.service(s)); (err == nil) != good {
			t.Errorf("%s: %v", s, err)
		}
	}
	if err := ask(h.as("acme/adam")); !fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) {
		t.Errorf("an administrator: %v", err)
	}
}

func TestNoRecordNoLease(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	h.journal.fail(true)
	if _, err := h.lease("acme", "crm", "crm.example:443"); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("lease: %v", err)
	}
	if _, err := h.apply(false, crm(func(c *credentialsv1.Connection) { c.Spec.Server = "erp" })); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("apply: %v", err)
	}
	h.journal.fail(false)
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetLeaseId() == "" {
		t.Errorf("the change that could not be recorded was made: %v", err)
	}
}

func TestTheSecretIsTakenInAndNeverShown(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	got, err := h.as("acme/adam").Get(t.Context(), connect.NewRequest(&credentialsv1.GetRequest{Kind: "Connection", Name: "crm"}))
	if err != nil {
		t.Fatal(err)
	}
	list, err := h.as("acme/adam").List(t.Context(), connect.NewRequest(&credentialsv1.ListRequest{Kind: "Connection"}))
	if err != nil || len(list.Msg.GetResources()) != 1 {
		t.Fatal(list, err)
	}
	for _, c := range []*credentialsv1.Connection{got.Msg.GetResource().GetConnection(), list.Msg.GetResources()[0].GetConnection()} {
		if c.GetSpec().GetSecret() != "" || c.GetSpec().GetServer() != "crm" || c.GetMetadata().GetVersion() != 1 {
			t.Errorf("shown: %v", c)
		}
	}
}

func TestAConnectionKeepsItsSecretWhenTheRestChanges(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	changes := h.mustApply(crm(without, func(c *credentialsv1.Connection) {
		c.Spec.Server, c.Spec.AllowHosts, c.Spec.Inject = "erp", []string{"erp.example"}, &credentialsv1.Inject{In: "header", Name: "X-Api-Key"}
	}))
	if changes[0].GetAction() != resourcev1.Action_ACTION_UPDATED || changes[0].GetVersion() != 2 {
		t.Errorf("the change: %v", changes)
	}
	lease, err := h.lease("acme", "erp", "erp.example:443")
	if err != nil || lease.GetHeaders()[0].GetName() != "X-Api-Key" || lease.GetHeaders()[0].GetValue() != apiKey {
		t.Errorf("%v, %v", lease.GetHeaders(), err)
	}
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetLeaseId() != "" {
		t.Errorf("the old server still has it: %v", err)
	}
}

func TestASecretAloneIsReplaced(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	if got := h.mustApply(crm())[0].GetAction(); got != resourcev1.Action_ACTION_UNCHANGED {
		t.Errorf("the same again: %s", got)
	}
	if got := h.mustApply(crm(without))[0].GetAction(); got != resourcev1.Action_ACTION_UNCHANGED {
		t.Errorf("the same without the secret: %s", got)
	}
	rotated := crm(func(c *credentialsv1.Connection) { c.Spec.Secret = "sk-live-another" })
	if dry, err := h.apply(true, rotated); err != nil || dry.GetChanges()[0].GetAction() != resourcev1.Action_ACTION_UPDATED {
		t.Errorf("the dry run of a rotation: %v, %v", dry, err)
	}
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetSecrets()[0] != apiKey {
		t.Error("the dry run changed the secret", err)
	}
	if got := h.mustApply(rotated)[0].GetAction(); got != resourcev1.Action_ACTION_UPDATED {
		t.Errorf("a rotation: %s", got)
	}
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetSecrets()[0] != "sk-live-another" {
		t.Error("the old secret is still lent", err)
	}
	applied := h.journal.of("resource-applied")
	if last := applied[len(applied)-1]; len(applied) != 2 || last.GetChange().GetReason() != "the secret was replaced" {
		t.Errorf("the records: %v", applied)
	}
}

func TestAConnectionThatCannotBeIsRefusedWhole(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	other := func(change func(*credentialsv1.Connection)) *credentialsv1.Connection {
		return crm(func(c *credentialsv1.Connection) { c.Metadata.Name, c.Spec.Server = "erp", "erp" }, change)
	}
	for name, c := range map[string]struct {
		connection *credentialsv1.Connection
		reason     faultv1.Reason
		says       string
	}{
		"new without a secret":      {other(without), faultv1.Reason_REASON_INVALID, "spec.secret"},
		"a second one for a server": {other(func(c *credentialsv1.Connection) { c.Spec.Server = "crm" }), faultv1.Reason_REASON_CONFLICT, "connection crm does already"},
		"a protocol header":         {other(func(c *credentialsv1.Connection) { c.Spec.Inject.Name = "Mcp-Session-Id" }), faultv1.Reason_REASON_INVALID, "Mcp-Session-Id"},
		"no placeholder":            {other(func(c *credentialsv1.Connection) { c.Spec.Inject.Template = "Bearer" }), faultv1.Reason_REASON_INVALID, "{secret}"},
		"a line break":              {other(func(c *credentialsv1.Connection) { c.Spec.Secret = "sk-one\r\nX-Evil: 1" }), faultv1.Reason_REASON_INVALID, "line break"},
		"another tenant":            {other(func(c *credentialsv1.Connection) { c.Metadata.Tenant = "rival" }), faultv1.Reason_REASON_WRONG_TENANT, "rival"},
		"not a header":              {other(func(c *credentialsv1.Connection) { c.Spec.Inject.In = "query" }), faultv1.Reason_REASON_INVALID, "in"},
	} {
		t.Run(name, func(t *testing.T) {
			third := crm(func(c *credentialsv1.Connection) { c.Metadata.Name, c.Spec.Server = "wiki", "wiki" })
			_, err := h.apply(false, third, c.connection)
			if !fault.Is(err, c.reason) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "sk-") {
				t.Errorf("%v", err)
			}
			if lease, err := h.lease("acme", "wiki", "crm.example:443"); err != nil || lease.GetLeaseId() != "" {
				t.Errorf("the other one was applied: %v", err)
			}
		})
	}
}

func TestTwoConnectionsMayTradeServersInOneApply(t *testing.T) {
	h := start(t, t.TempDir())
	named := func(name, server, value string) *credentialsv1.Connection {
		return crm(func(c *credentialsv1.Connection) { c.Metadata.Name, c.Spec.Server, c.Spec.Secret = name, server, value })
	}
	h.mustApply(named("a", "crm", "secret-a"), named("b", "erp", "secret-b"))
	h.mustApply(named("a", "erp", ""), named("b", "crm", ""))
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetSecrets()[0] != "secret-b" {
		t.Error(err)
	}
}

func TestDeleteDestroysTheSecret(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	remove := func(person string) error {
		_, err := h.as(person).Delete(t.Context(), connect.NewRequest(&credentialsv1.DeleteRequest{Kind: "Connection", Name: "crm"}))
		return err
	}
	if err := remove("rival/rita"); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("another tenant's administrator: %v", err)
	}
	if err := remove("acme/adam"); err != nil {
		t.Fatal(err)
	}
	if lease, err := h.lease("acme", "crm", "crm.example:443"); err != nil || lease.GetLeaseId() != "" {
		t.Errorf("it is still lent: %v", err)
	}
	if _, err := h.apply(false, crm(without)); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("the secret came back with the name: %v", err)
	}
	if n := len(h.journal.of("resource-deleted")); n != 1 {
		t.Errorf("%d records", n)
	}
}

func TestTenantsDoNotSeeEachOthersConnections(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(crm())
	if _, err := h.as("rival/rita").Get(t.Context(), connect.NewRequest(&credentialsv1.GetRequest{Kind: "Connection", Name: "crm"})); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("get: %v", err)
	}
	if _, err := h.as("rival/rita").Get(t.Context(), connect.NewRequest(&credentialsv1.GetRequest{Kind: "Connection", Name: "crm", Tenant: "acme"})); !fault.Is(err, faultv1.Reason_REASON_WRONG_TENANT) {
		t.Errorf("get by name of the tenant: %v", err)
	}
	list, err := h.as("rival/rita").List(t.Context(), connect.NewRequest(&credentialsv1.ListRequest{Kind: "Connection"}))
	if err != nil || len(list.Msg.GetResources()) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
}

func TestASecretSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	t.Run("before", func(t *testing.T) { start(t, dir).mustApply(crm()) })
	t.Run("after", func(t *testing.T) {
		if lease, err := start(t, dir).lease("acme", "crm", "crm.example:443"); err != nil || lease.GetSecrets()[0] != apiKey {
			t.Error(err)
		}
	})
}

func TestADatabaseWithoutItsKeyFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	t.Run("first", func(t *testing.T) { start(t, dir).mustApply(crm()) })
	refused := func(t *testing.T, says string) {
		t.Helper()
		_, err := credentials.New(config(dir), credentials.Deps{Journal: &recorder{}, Log: slog.New(slog.DiscardHandler), Now: clock.System})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v", err)
		}
	}
	key := config(dir).KeyFile
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, "chmod 600")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	refused(t, "Put the key file back")
	if _, err := os.Stat(key); !os.IsNotExist(err) {
		t.Error("a new key file was made over secrets that it does not open")
	}
	t.Run("another key", func(t *testing.T) { start(t, filepath.Join(dir, "other")) })
	if err := os.Rename(config(filepath.Join(dir, "other")).KeyFile, key); err != nil {
		t.Fatal(err)
	}
	refused(t, "the key of another")
}

func TestT18TheSecretIsNowhereOnTheDiskAndInNoRecord(t *testing.T) {
	dir := t.TempDir()
	log := &bytes.Buffer{}
	t.Run("use", func(t *testing.T) {
		writer, err := journal.Open(journal.Config{Dir: filepath.Join(dir, "journal")}, "credentials", slog.New(slog.NewJSONHandler(log, nil)), clock.System)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := writer.Close(); err != nil {
				t.Error(err)
			}
		}()
		service, err := credentials.New(config(dir), credentials.Deps{Journal: writer, Log: slog.New(slog.NewJSONHandler(log, nil)), Now: clock.System})
		if err != nil {
			t.Fatal(err)
		}
		h := &harness{t: t, dir: dir, mux: rpc.NewMux(rpc.MuxConfig{
			Self: optionsv1.Service_SERVICE_CREDENTIALS, Authenticate: people, Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Record: func(ev *eventsv1.Event) error { return writer.Append(ev, journal.Strict) },
		})}
		service.Register(h.mux)
		h.mustApply(crm())
		for _, host := range []string{"crm.example:443", "evil.example"} {
			_, _ = h.lease("acme", "crm", host) // the second is refused; what matters is what it leaves behind
		}
		_, _ = h.apply(false, crm(func(c *credentialsv1.Connection) { c.Spec.Secret = apiKey + "\n" }))
		_, _ = h.apply(false, crm(func(c *credentialsv1.Connection) { c.Metadata.Name = "twin" }))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := service.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files++
		if bytes.Contains(content, []byte(apiKey)) || bytes.Contains(content, []byte(apiKey[3:])) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("%d files were looked at, %v", files, err)
	}
	if strings.Contains(log.String(), apiKey) {
		t.Error("the log holds the secret")
	}
}
