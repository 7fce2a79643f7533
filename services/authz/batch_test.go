package authz_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
)

func TestABatchSaysWhatDecideSays(t *testing.T) {
	const requests = 400
	c := newCorpus(7)
	id := newIdentity()
	id.apply(t, c.yaml.String())
	h := start(t, id)
	if _, err := h.as("acme", "root", "admin").Apply(t.Context(), connect.NewRequest(applying(t, corpusPolicies))); err != nil {
		t.Fatal(err)
	}
	batch := &authzv1.BatchDecideRequest{Tenant: "acme"}
	effects := map[string]int{}
	for range requests {
		one := c.request()
		one.Tenant = ""
		batch.Calls = append(batch.Calls, one)
	}
	app := h.as("acme", "desk", "app")
	var decisions []*authzv1.Decision
	for some := range slices.Chunk(batch.GetCalls(), 40) { // each within its time also on a machine that has little of it
		resp, err := app.BatchDecide(t.Context(), connect.NewRequest(&authzv1.BatchDecideRequest{Tenant: "acme", Calls: some}))
		if err != nil {
			t.Fatal(err)
		}
		decisions = append(decisions, resp.Msg.GetDecisions()...)
	}
	if len(decisions) != requests {
		t.Fatalf("%d decisions", len(decisions))
	}
	ids := map[string]bool{}
	for i, got := range decisions {
		want, err := app.Decide(t.Context(), connect.NewRequest(batch.GetCalls()[i]))
		if err != nil {
			t.Fatal(err)
		}
		ids[got.GetId()] = true
		got.Id, want.Msg.GetDecision().Id = "", ""
		if !proto.Equal(got, want.Msg.GetDecision()) {
			t.Fatalf("%v:\n got %v\nwant %v", batch.GetCalls()[i], got, want.Msg.GetDecision())
		}
		effects[got.GetEffect()]++
	}
	if len(ids) != requests || effects["allow"] == 0 || effects["block"] == 0 || effects["escalate"] == 0 {
		t.Errorf("%d names of decisions, %v", len(ids), effects)
	}
}

// ownOnly is a policy by which everybody closes their own tickets.
const ownOnly = `
apiVersion: headgate/v1
kind: Policy
metadata: {name: own, tenant: acme}
spec:
  match: {server: tickets}
  rules:
    - {name: own-tickets-only, when: 'related("resource:ticket/" + args.id, "owner")', effect: allow}
`

func TestABatchAsksForEachRelationOnce(t *testing.T) {
	const calls, tickets = 1000, 20
	fga := newFaulty(t)
	h := start(t, newAcme(t), fga.option)
	if _, err := h.as("acme", "root", "admin").Apply(t.Context(), connect.NewRequest(applying(t, ownOnly))); err != nil {
		t.Fatal(err)
	}
	var owners []string
	for i := range tickets {
		owners = append(owners, fmt.Sprintf("resource:ticket/%d#owner@person:%s", i, []string{"ana", "ben"}[i%2]))
	}
	h.mustPut("acme", owners...)
	batch := &authzv1.BatchDecideRequest{}
	for i := range calls {
		one := call([]string{"ana", "ben"}[i/tickets%2], "", "tickets", "close_ticket")
		one.Arguments = fmt.Appendf(nil, `{"id":"%d"}`, i%tickets)
		batch.Calls = append(batch.Calls, one)
	}
	app := h.as("acme", "desk", "app")
	eventually(t, 20*time.Second, func() bool { // until the rights of both are resolved
		_, err := app.BatchDecide(t.Context(), connect.NewRequest(batch))
		return err == nil
	})
	before := fga.checks.Load()
	resp, err := app.BatchDecide(t.Context(), connect.NewRequest(batch))
	if err != nil {
		t.Fatal(err)
	}
	if n := fga.checks.Load() - before; n == 0 || n > 2 {
		t.Errorf("OpenFGA was asked %d times about the tickets of two people", n)
	}
	for i, got := range resp.Msg.GetDecisions() {
		want := "block"
		if i%tickets%2 == i/tickets%2 {
			want = "allow"
		}
		if got.GetEffect() != want {
			t.Fatalf("call %d: %v", i, got)
		}
	}
	fga.mode.Store(down)
	resp, err = app.BatchDecide(t.Context(), connect.NewRequest(&authzv1.BatchDecideRequest{Calls: []*authzv1.DecideRequest{batch.GetCalls()[0], batch.GetCalls()[2]}}))
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range resp.Msg.GetDecisions() {
		if got.GetEffect() != "block" || got.GetReason() != faultv1.Reason_REASON_RELATION_UNAVAILABLE || !strings.Contains(got.GetSentence(), "is not known") {
			t.Errorf("call %d while OpenFGA is down: %v", i, got)
		}
	}
}

func TestABatchHasLimitsAndItsBadCallsAreBlocks(t *testing.T) {
	h := start(t, newAcme(t))
	app := h.as("acme", "desk", "app")
	ask := func(calls ...*authzv1.DecideRequest) ([]*authzv1.Decision, error) {
		resp, err := app.BatchDecide(t.Context(), connect.NewRequest(&authzv1.BatchDecideRequest{Calls: calls}))
		if err != nil {
			return nil, err
		}
		return resp.Msg.GetDecisions(), nil
	}
	twice := call("ana", "", "tickets", "close_ticket")
	twice.Arguments = []byte(`{"id":"T-1","id":"T-2"}`)
	got, err := ask(call("ana", "", "tickets", "close_ticket"), twice, call("ana", "scout", "crm", "read_customer"), call("carl", "", "tickets", "x"))
	if err != nil || len(got) != 4 {
		t.Fatalf("%v, %v", got, err)
	}
	for i, want := range []struct {
		effect string
		reason faultv1.Reason
	}{
		{"allow", faultv1.Reason_REASON_UNSPECIFIED}, {"block", faultv1.Reason_REASON_INVALID},
		{"block", faultv1.Reason_REASON_AGENT}, {"block", faultv1.Reason_REASON_NOT_GRANTED},
	} {
		if got[i].GetEffect() != want.effect || got[i].GetReason() != want.reason || got[i].GetSentence() == "" {
			t.Errorf("call %d: %v", i, got[i])
		}
	}
	big := call("ana", "", "tickets", "close_ticket")
	big.Arguments = []byte(`{"id":"` + strings.Repeat("x", 3<<20) + `"}`)
	foreign := proto.CloneOf(twice)
	foreign.Tenant = "globex"
	for name, c := range map[string]struct {
		calls  []*authzv1.DecideRequest
		reason faultv1.Reason
	}{
		"none":                  {nil, faultv1.Reason_REASON_INVALID},
		"too many":              {slices.Repeat([]*authzv1.DecideRequest{twice}, 1001), faultv1.Reason_REASON_INVALID},
		"too large":             {slices.Repeat([]*authzv1.DecideRequest{big}, 3), faultv1.Reason_REASON_TOO_LARGE},
		"one of another tenant": {[]*authzv1.DecideRequest{twice, foreign}, faultv1.Reason_REASON_WRONG_TENANT},
		"one without a person":  {[]*authzv1.DecideRequest{{Server: "tickets", Tool: "x"}}, faultv1.Reason_REASON_INVALID},
	} {
		if _, err := ask(c.calls...); !fault.Is(err, c.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h.trust.hush()
	eventually(t, 40*time.Second, func() bool {
		_, err := ask(call("ana", "", "tickets", "close_ticket"))
		return fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE)
	})
}

// BenchmarkBatchDecide asks 1,000 calls of 100 people with 20 rules that look at each, over the mux, as an application does.
func BenchmarkBatchDecide(b *testing.B) { batchDecide(b, "") }

// BenchmarkBatchDecideRelated also asks for each call whether its person owns the ticket, as everybody does.
func BenchmarkBatchDecideRelated(b *testing.B) {
	batchDecide(b, `    - {name: foreign, when: '!related("resource:ticket/" + args.id, "owner")', effect: alert}`+"\n")
}

func batchDecide(b *testing.B, also string) {
	b.Helper()
	id := newIdentity()
	var yaml strings.Builder
	yaml.WriteString(acme)
	for i := range 100 {
		fmt.Fprintf(&yaml, "---\n{apiVersion: headgate/v1, kind: Person, metadata: {name: p%d, tenant: acme}, spec: {roles: [support]}}\n", i)
	}
	id.apply(b, yaml.String())
	h := start(b, id)
	var rules strings.Builder
	for i := range 20 {
		fmt.Fprintf(&rules, "    - {name: r%d, when: 'args.id == \"T-%d\" && \"support\" in principal.roles', effect: block}\n", i, i)
	}
	policy := "apiVersion: headgate/v1\nkind: Policy\nmetadata: {name: tickets, tenant: acme}\nspec:\n  match: {server: tickets}\n  default: allow\n  rules:\n" + rules.String() + also
	if _, err := h.as("acme", "root", "admin").Apply(b.Context(), connect.NewRequest(applying(b, policy))); err != nil {
		b.Fatal(err)
	}
	batch := &authzv1.BatchDecideRequest{Tenant: "acme"}
	for i := range 1000 {
		if also != "" && i%100 == 0 {
			var owned []string
			for j := i; j < i+100; j++ {
				owned = append(owned, fmt.Sprintf("resource:ticket/T-%d#owner@person:p%d", j, j%100))
			}
			h.mustPut("acme", owned...)
		}
		one := call(fmt.Sprintf("p%d", i%100), "", "tickets", fmt.Sprintf("tool%d", i%10))
		one.Arguments = fmt.Appendf(nil, `{"id":"T-%d"}`, i)
		batch.Calls = append(batch.Calls, one)
	}
	app := h.as("acme", "desk", "app")
	ask := func() time.Duration {
		began := time.Now()
		resp, err := app.BatchDecide(b.Context(), connect.NewRequest(batch))
		if err != nil || len(resp.Msg.GetDecisions()) != 1000 || resp.Msg.GetDecisions()[5].GetEffect() != "block" || resp.Msg.GetDecisions()[500].GetEffect() != "allow" {
			b.Fatalf("%v", err)
		}
		return time.Since(began)
	}
	first := ask() // resolves 100 people
	fastest := ask()
	for b.Loop() {
		fastest = min(fastest, ask())
	}
	b.ReportMetric(float64(first.Microseconds())/1000, "ms/first")
	b.ReportMetric(float64(fastest.Microseconds())/1000, "ms/fastest")
}

// BenchmarkColdEntitlements resolves one person with 1,000 tools by name for the first time.
func BenchmarkColdEntitlements(b *testing.B) {
	const people, tools = 40, 1000
	var yaml, names strings.Builder
	yaml.WriteString("{apiVersion: headgate/v1, kind: Tenant, metadata: {name: acme}, spec: {}}\n")
	for i := range people {
		fmt.Fprintf(&yaml, "---\n{apiVersion: headgate/v1, kind: Person, metadata: {name: p%d, tenant: acme}, spec: {roles: [wide]}}\n", i)
	}
	for i := range tools {
		fmt.Fprintf(&names, "tool%d, ", i)
	}
	fmt.Fprintf(&yaml, "---\n{apiVersion: headgate/v1, kind: Role, metadata: {name: wide, tenant: acme}, spec: {grants: [{server: crm, tools: [%s], can: call}]}}\n", strings.TrimSuffix(names.String(), ", "))
	id := newIdentity()
	revision := id.apply(b, yaml.String())
	h := start(b, id)
	h.settled(revision)
	var took []time.Duration
	for i := range people { // each is cold once, however long the benchmark runs
		began := time.Now()
		found, err := h.entitlements("acme", fmt.Sprint("p", i), "")
		if err != nil || len(found.GetEntitlements()) != tools {
			b.Fatalf("%d entitlements, %v", len(found.GetEntitlements()), err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	for b.Loop() { // warm
		if _, err := h.entitlements("acme", "p0", ""); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(took[0].Microseconds())/1000, "ms/fastest")
	b.ReportMetric(float64(took[people/2].Microseconds())/1000, "ms/median")
}
