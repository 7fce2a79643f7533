package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/kafka/kafkatest"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/audit"
	"headgate.dev/services/headgate/internal/cli"
)

// callsVariable says how many calls are stored, where it should be more than what every run can wait for: storing takes longer than replaying.
const callsVariable = "HEADGATE_REPLAY_CALLS"

// inForce and wouldBe are the policies of the replay, one for each tool: what is planted is that they differ for interns.
const inForce = `
{name: block, rules: [{name: all, when: 'true', effect: allow}]}
{name: allow, rules: [{name: interns, when: '"intern" in principal.roles', effect: block}, {name: all, when: 'true', effect: allow}]}
{name: escalate, rules: [{name: all, when: 'true', effect: allow}]}
{name: modify, rules: [{name: less, when: args.limit > 0, effect: modify, modify: [{path: /limit, clamp: {max: 100}}]}, {name: all, when: 'true', effect: allow}]}
{name: redact, rules: [{name: ssn, when: 'true', effect: redact, redact: [/structuredContent/ssn]}, {name: all, when: 'true', effect: allow}]}
{name: approval, rules: [{name: ask, when: '"intern" in principal.roles', effect: escalate, approval: {by: "role:a"}}, {name: all, when: 'true', effect: allow}]}
{name: sign-in, rules: [{name: again, when: '"intern" in principal.roles', effect: step-up, stepUp: {maxAge: 5m}}, {name: all, when: 'true', effect: allow}]}
{name: broken, rules: [{name: amount, when: '"intern" in principal.roles && args.amount > 1', effect: block}, {name: all, when: 'true', effect: allow}]}
{name: moved, rules: [{name: interns, when: '"intern" in principal.roles', effect: block}, {name: all, when: 'true', effect: allow}]}
{name: same, rules: [{name: big, when: args.limit > 100, effect: block}, {name: all, when: 'true', effect: allow}]}`

const wouldBe = `
{name: block, rules: [{name: interns, when: '"intern" in principal.roles', effect: block}, {name: all, when: 'true', effect: allow}]}
{name: allow, rules: [{name: all, when: 'true', effect: allow}]}
{name: escalate, rules: [{name: interns, when: '"intern" in principal.roles', effect: escalate, approval: {by: "role:a"}}, {name: all, when: 'true', effect: allow}]}
{name: modify, rules: [{name: less, when: args.limit > 0, effect: modify, modify: [{path: /limit, clamp: {max: 50}}]}, {name: all, when: 'true', effect: allow}]}
{name: redact, rules: [{name: ssn, when: 'true', effect: redact, redact: [/structuredContent/ssn]},
  {name: dob, when: '"intern" in principal.roles', effect: redact, redact: [/structuredContent/dob]}, {name: all, when: 'true', effect: allow}]}
{name: approval, rules: [{name: ask, when: '"intern" in principal.roles', effect: escalate, approval: {by: "role:b"}}, {name: all, when: 'true', effect: allow}]}
{name: sign-in, rules: [{name: all, when: 'true', effect: allow}]}
{name: broken, rules: [{name: all, when: 'true', effect: allow}]}`

// policies reads one policy a line (one that goes on is indented), each about the tool of its name.
func policies(lines string) string {
	var out strings.Builder
	for _, line := range strings.Split(strings.ReplaceAll(strings.TrimSpace(lines), "\n  ", " "), "\n") {
		name, rules, _ := strings.Cut(strings.TrimPrefix(line, "{name: "), ", rules: ")
		fmt.Fprintf(&out, "---\napiVersion: headgate/v1\nkind: Policy\nmetadata: {name: %s, tenant: acme}\nspec: {match: {server: desk, tools: [%s]}, rules: %s\n", name, name, rules)
	}
	return out.String()
}

// recordedCall is the record of the call of this number. Every 101st is made by an intern, which decides what is planted.
func recordedCall(i int, began time.Time) *eventsv1.Event {
	tools := [...]string{"block", "allow", "escalate", "modify", "redact", "approval", "sign-in", "broken", "moved", "same"}
	tool, person, roles := tools[i%len(tools)], fmt.Sprint("p", i%977), []string{"member"}
	intern := i/len(tools)%101 == 0
	if intern {
		roles = []string{"intern"}
	}
	ev := &eventsv1.Event{
		Action: "tool-call", Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Tenant: "acme", CallId: fmt.Sprintf("call-%06d", i),
		Time: timestamppb.New(began.Add(time.Duration(i) * time.Millisecond)), Principal: &eventsv1.Principal{Person: person, Roles: roles},
		Target: &eventsv1.Target{Server: "desk", Tool: tool}, Decision: &eventsv1.Decision{Via: person + " → role member → server desk", Policy: tool, PolicyVersion: 1},
	}
	d := ev.GetDecision()
	d.Effect, d.Rule = "allow", tool+"/all"
	say := func(effect, rule string, reason faultv1.Reason) {
		d.Effect, d.Rule, d.Reason = effect, tool+"/"+rule, reason
	}
	switch {
	case tool == "modify":
		limit := 7 // below both bounds
		if intern {
			limit = 70
		}
		document := fmt.Sprintf(`{"limit":%d}`, limit)
		ev.Arguments = &eventsv1.Payload{Hmac: "00", Bytes: int64(len(document)), Document: document}
		say("modify", "less", faultv1.Reason_REASON_UNSPECIFIED)
	case tool == "redact":
		say("modify", "ssn", faultv1.Reason_REASON_UNSPECIFIED)
	case tool == "same" && i%3 == 0:
		say("block", "big", faultv1.Reason_REASON_RULE)
	case !intern:
	case tool == "allow":
		say("block", "interns", faultv1.Reason_REASON_RULE)
	case tool == "approval":
		say("escalate", "ask", faultv1.Reason_REASON_APPROVAL_REQUIRED)
	case tool == "sign-in":
		say("block", "again", faultv1.Reason_REASON_STEP_UP)
	case tool == "broken":
		say("block", "amount", faultv1.Reason_REASON_RULE_ERROR)
	}
	return ev
}

// What replay asks of the other services.
type (
	deskAuthz struct {
		authzv1connect.UnimplementedAuthzServiceHandler
		policies []*authzv1.Resource
	}
	deskIdentity struct {
		identityv1connect.UnimplementedIdentityServiceHandler
	}
	deskTrust struct {
		trustv1connect.UnimplementedTrustServiceHandler
	}
)

func (d deskAuthz) List(_ context.Context, req *connect.Request[authzv1.ListRequest]) (*connect.Response[authzv1.ListResponse], error) {
	other := func(r *authzv1.Resource) bool { return (r.GetCalendar() != nil) != (req.Msg.GetKind() == "Calendar") }
	return connect.NewResponse(&authzv1.ListResponse{Resources: slices.DeleteFunc(slices.Clone(d.policies), other)}), nil
}

func (deskIdentity) List(context.Context, *connect.Request[identityv1.ListRequest]) (*connect.Response[identityv1.ListResponse], error) {
	return connect.NewResponse(&identityv1.ListResponse{}), nil
}

func (deskTrust) List(context.Context, *connect.Request[trustv1.ListRequest]) (*connect.Response[trustv1.ListResponse], error) {
	return connect.NewResponse(&trustv1.ListResponse{}), nil
}

// desk is the API as the command line sees it: the audit service with its store, fed through a journal and a broker, and the others.
type desk struct {
	t       *testing.T
	journal *journal.Writer
	audit   auditv1connect.AuditServiceClient // as authz asks it
	search  auditv1connect.AuditServiceClient
	url     string
	opened  *atomic.Int64 // how many records somebody asked to open
}

func openDesk(t *testing.T, policies []*authzv1.Resource) *desk {
	t.Helper()
	log, broker := slog.New(slog.DiscardHandler), kafkatest.Start(t)
	writer, err := journal.Open(journal.Config{Dir: t.TempDir()}, "edge", log, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	publisher, err := kafka.NewPublisher(broker.Config())
	if err != nil {
		t.Fatal(err)
	}
	service, err := audit.New(audit.Config{Kafka: broker.Config(), Database: sqlstore.Config{Path: filepath.Join(t.TempDir(), "index.db")}},
		audit.Deps{Journal: writer, Log: log, Now: clock.System})
	if err != nil {
		t.Fatal(err)
	}
	mux := rpc.NewMux(rpc.MuxConfig{
		Self: optionsv1.Service_SERVICE_AUDIT, Log: log, Now: clock.System, Record: func(*eventsv1.Event) error { return nil },
		Authenticate: func(context.Context, string) (*identityv1.Caller, error) {
			return &identityv1.Caller{Tenant: "acme", Name: "sofia", Rights: []optionsv1.Role{optionsv1.Role_ROLE_MEMBER, optionsv1.Role_ROLE_SECURITY}}, nil
		},
	})
	service.Register(mux)
	api := http.NewServeMux()
	opened := &atomic.Int64{}
	api.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == auditv1connect.AuditServiceRevealProcedure {
			opened.Add(1)
		}
		mux.ServeHTTP(w, r)
	})
	api.Handle(authzv1connect.NewAuthzServiceHandler(deskAuthz{policies: policies}))
	api.Handle(identityv1connect.NewIdentityServiceHandler(deskIdentity{}))
	api.Handle(trustv1connect.NewTrustServiceHandler(deskTrust{}))
	server := httptest.NewServer(api)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{writer.Run, journal.NewShipper(writer, publisher, log).Run, service.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		server.Close()
		cancel()
		running.Wait()
		publisher.Close()
		if err := writer.Close(); err != nil {
			t.Error(err)
		}
	})
	return &desk{
		t: t, journal: writer, url: server.URL, opened: opened, search: auditv1connect.NewAuditServiceClient(server.Client(), server.URL),
		audit: rpc.Client(rpc.InProcess(mux, optionsv1.Service_SERVICE_AUTHZ), auditv1connect.NewAuditServiceClient),
	}
}

// keep records calls, and waits until the store has them all.
func (d *desk) keep(events int, each func(int) *eventsv1.Event) {
	d.t.Helper()
	refused := map[string]int{}
	for i := range events {
		ev := each(i)
		refused[ev.GetDecision().GetEffect()]++
		if err := d.journal.Append(ev, journal.Spool); err != nil {
			d.t.Fatal(err)
		}
	}
	made := events - refused["block"] - refused["escalate"]
	d.until("calls that were made", made, d.uses)
	for _, effect := range []string{"block", "escalate"} {
		d.until("calls with effect "+effect, refused[effect], func() int {
			request := connect.NewRequest(&auditv1.SearchRequest{Tenant: "acme", Effect: effect, PageSize: 10_000})
			request.Header().Set("Authorization", "Bearer sofia")
			answer, err := d.search.Search(d.t.Context(), request)
			if err != nil {
				d.t.Fatal(err)
			}
			return len(answer.Msg.GetEvents())
		})
	}
}

// uses is how many calls that were made are stored.
func (d *desk) uses() (stored int) {
	stream, err := d.audit.ListUses(d.t.Context(), connect.NewRequest(&auditv1.ListUsesRequest{Tenant: "acme", Since: timestamppb.New(time.Now().Add(-48 * time.Hour))}))
	if err != nil {
		d.t.Fatal(err)
	}
	for stream.Receive() {
		for _, use := range stream.Msg().GetUses() {
			stored += int(use.GetCalls())
		}
	}
	if err := stream.Close(); err != nil {
		d.t.Fatal(err)
	}
	return stored
}

func (d *desk) until(what string, wanted int, count func() int) {
	d.t.Helper()
	deadline, tick := time.After(10*time.Minute), time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		found := count()
		if found == wanted {
			return
		}
		select {
		case <-deadline:
			d.t.Fatalf("the store has %d of %d %s", found, wanted, what)
		case <-tick.C:
		}
	}
}

func (d *desk) run(args ...string) (code int, out, words string) {
	var stdout, stderr bytes.Buffer
	env := map[string]string{"HEADGATE_TOKEN": "sofia", "HEADGATE_API": d.url}
	code = cli.Run(d.t.Context(), args, cli.IO{In: strings.NewReader(""), Out: &stdout, Err: &stderr, Env: func(key string) string { return env[key] }})
	return code, stdout.String(), stderr.String()
}

// applied are policies as they are in force, changed two hours ago.
func applied(t *testing.T, text string) []*authzv1.Resource {
	t.Helper()
	located, err := resource.Parse("now.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var out []*authzv1.Resource
	for _, one := range located {
		one.Object.GetMetadata().Version, one.Object.GetMetadata().UpdatedAt = 1, timestamppb.New(time.Now().Add(-2*time.Hour))
		if one.Object.GetMetadata().GetName() == "moved" {
			one.Object.GetMetadata().Version, one.Object.GetMetadata().UpdatedAt = 2, timestamppb.Now()
		}
		r := &authzv1.Resource{}
		if err := resource.Wrap(one.Object, r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func TestReplayFindsExactlyThePlantedDifferencesAmongStoredCalls(t *testing.T) {
	recordedCalls := 5_000
	if said := os.Getenv(callsVariable); said != "" {
		var err error
		if recordedCalls, err = strconv.Atoi(said); err != nil {
			t.Fatal(err)
		}
	}
	d := openDesk(t, applied(t, policies(inForce)))
	began, filled := time.Now().Add(-time.Hour), time.Now()
	d.keep(recordedCalls, func(i int) *eventsv1.Event { return recordedCall(i, began) })
	t.Logf("%d calls stored in %s", recordedCalls, time.Since(filled))
	file := filepath.Join(t.TempDir(), "candidate.yaml")
	if err := os.WriteFile(file, []byte(policies(wouldBe)), 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	code, out, words := d.run("policy", "replay", "-f", file, "--since", "24h", "-o", "json")
	t.Logf("%d recorded calls replayed in %s: %s", recordedCalls, time.Since(start), words)
	var groups []struct {
		Tool, Differs string
		Now, WouldBe  struct{ Effect, Rule, Open string }
		Calls         int
		Examples      []string
	}
	if err := json.Unmarshal([]byte(out), &groups); err != nil || code != 3 {
		t.Fatalf("exit %d: %v %s%s", code, err, out, words)
	}
	planted := recordedCalls / 10 / 101
	if recordedCalls/10%101 > 0 {
		planted++
	}
	got, want := map[string]int{}, map[string]int{
		"block: allow > block (effect)": planted, "allow: block > allow (effect)": planted, "escalate: allow > escalate (effect)": planted,
		"modify: modify > modify (arguments)": planted, "redact: modify > modify (redactions)": planted, "approval: escalate > escalate (approval)": planted,
		"sign-in: step-up > allow (effect)": planted, "broken: block > allow (effect)": planted,
	}
	for _, g := range groups {
		got[fmt.Sprintf("%s: %s > %s (%s)%s", g.Tool, g.Now.Effect, g.WouldBe.Effect, g.Differs, g.WouldBe.Open)] += g.Calls
	}
	if !maps.Equal(got, want) {
		t.Errorf("found %v, planted %v", got, want)
	}
	if says := fmt.Sprintf("%d recorded calls were decided anew", recordedCalls); !strings.Contains(words, says) || !strings.Contains(words, fmt.Sprintf("%d of them are decided otherwise today", planted)) {
		t.Errorf("%s", words)
	}
	if took := time.Since(start); took > 5*time.Minute {
		t.Errorf("it took %s", took)
	}
}

// What is opened is recorded as seen, so replay opens what can change its answer and nothing else.
func TestReplayOpensOnlyWhatMatters(t *testing.T) {
	d := openDesk(t, applied(t, policies(inForce)))
	d.keep(40, func(i int) *eventsv1.Event {
		ev := recordedCall(10*102+i, time.Now().Add(-time.Minute)) // nobody is an intern
		ev.Arguments = &eventsv1.Payload{Hmac: "00", Bytes: 9, Sealed: &eventsv1.Sealed{Key: "gone", Box: []byte("box")}}
		return ev
	})
	file := filepath.Join(t.TempDir(), "candidate.yaml")
	if err := os.WriteFile(file, []byte(policies(wouldBe)), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, words := d.run("policy", "replay", "-f", file, "--reveal", "a trial", "-o", "json")
	if code != 3 || !strings.Contains(out, `"differs": "arguments"`) && !strings.Contains(out, `"differs":"arguments"`) {
		t.Errorf("exit %d: %s%s", code, out, words)
	}
	if opened := d.opened.Load(); opened != 4 { // the calls of modify, four of forty
		t.Errorf("%d records were opened", opened)
	}
}

// A gate must not pass because nothing could be said of the calls.
func TestReplayDoesNotPassWhatItCannotJudge(t *testing.T) {
	d := openDesk(t, applied(t, policies(inForce)))
	d.keep(60, func(i int) *eventsv1.Event { return recordedCall(10*102+i, time.Now().Add(-time.Minute)) }) // nobody is an intern
	file := filepath.Join(t.TempDir(), "candidate.yaml")
	lower := `{name: same, rules: [{name: big, when: args.limit > 50, effect: block}, {name: all, when: 'true', effect: allow}]}`
	if err := os.WriteFile(file, []byte(policies(lower)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, try := range []struct {
		more []string
		code int
	}{{nil, 5}, {[]string{"--allow-open"}, 0}} {
		code, out, words := d.run(append([]string{"policy", "replay", "-f", file}, try.more...)...)
		if code != try.code || !strings.Contains(out, "recorded as allow") || !strings.Contains(out, "recorded as block") || !strings.Contains(words, "6 of them are open") {
			t.Errorf("%v: exit %d\n%s%s", try.more, code, out, words)
		}
	}
}
