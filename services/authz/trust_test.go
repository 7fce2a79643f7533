package authz_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	base "headgate.dev/libs/record"
	"headgate.dev/libs/replica"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
)

// trust tells of servers and their approved tools.
type trust struct {
	trustv1connect.UnimplementedTrustServiceHandler

	hub *replica.Hub[*trustv1.WatchResponse]

	mu       sync.Mutex
	revision int64
	servers  map[string]*trustv1.ServerState
	silent   bool
}

func newTrust() *trust {
	tr := &trust{servers: map[string]*trustv1.ServerState{}, revision: 1}
	tr.hub = replica.NewHub(replica.HubConfig[*trustv1.WatchResponse]{
		Snapshot: func(context.Context) (*trustv1.WatchResponse, error) {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			if tr.silent {
				return nil, errors.New("silent")
			}
			m := &trustv1.WatchResponse{Snapshot: true, Revision: tr.revision}
			for _, s := range tr.servers {
				m.Upserts = append(m.Upserts, s)
			}
			return m, nil
		},
		Heartbeat: func() (*trustv1.WatchResponse, bool) {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			return &trustv1.WatchResponse{Revision: tr.revision}, !tr.silent
		},
		Revision: func(m *trustv1.WatchResponse) int64 { return m.GetRevision() },
	})
	return tr
}

func (tr *trust) Watch(ctx context.Context, _ *connect.Request[trustv1.WatchRequest], out *connect.ServerStream[trustv1.WatchResponse]) error {
	return tr.hub.Serve(ctx, out.Send)
}

// hush stops the heartbeats.
func (tr *trust) hush() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.silent = true
}

// server tells of a server of acme with labels and approved definitions by name, raw JSON.
func (tr *trust) server(name string, labels []string, tools map[string]string) {
	state := &trustv1.ServerState{Server: &trustv1.Server{
		Metadata: &resourcev1.Metadata{Name: name, Tenant: "acme"}, Spec: &trustv1.ServerSpec{Labels: labels},
	}, Standing: trustv1.Standing_STANDING_APPROVED}
	for tool, raw := range tools {
		state.Definitions = append(state.Definitions, &trustv1.Definition{
			Name: tool, State: trustv1.DefinitionState_DEFINITION_STATE_APPROVED, Approved: []byte(raw), Labels: []string{"of-" + tool},
		})
	}
	tr.change(name, state)
}

// usual tells of the servers that most tests ask about.
func (tr *trust) usual() {
	for name, tools := range map[string]string{
		"tickets": "close_ticket get_ticket list_tickets anything x tool0 tool1 tool2 tool3 tool4 tool5 tool6 tool7 tool8 tool9",
		"crm":     "read_customer delete_customer", "docs": "x", "phone": "ring", "wiki": "page", "pay": "transfer quote balance other", "books": "entry",
		"s0": "t0 t1 t2 t3 t4 t5", "s1": "t0 t1 t2 t3 t4 t5 get_ticket", "s2": "t0 t1 t2 t3 t4 t5", "s3": "t0 t1 t2 t3 t4 t5", "s4": "t0 t1 t2 t3 t4 t5",
	} {
		defined := map[string]string{}
		for _, tool := range strings.Fields(tools) {
			defined[tool] = `{"inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`
		}
		tr.server(name, nil, defined)
	}
}

// change tells of a server of acme, or that it is gone.
func (tr *trust) change(name string, state *trustv1.ServerState) {
	tr.mu.Lock()
	tr.revision++
	m := &trustv1.WatchResponse{Revision: tr.revision}
	if state == nil {
		delete(tr.servers, name)
		m.Deletions = []*trustv1.ServerDeletion{{Tenant: "acme", Name: name}}
	} else {
		tr.servers[name] = state
		m.Upserts = []*trustv1.ServerState{state}
	}
	tr.mu.Unlock()
	tr.hub.Publish(m)
}

const closeTicket = `{"name":"close_ticket","inputSchema":{"type":"object","properties":{"id":{"type":"string"}}},"annotations":{"readOnlyHint":false}}`

func TestAPolicyIsHeldAgainstTheApprovedToolsOfItsServer(t *testing.T) {
	id := newIdentity()
	id.bare = true
	h := start(t, id)
	admin := h.as("acme", "root", "admin")
	apply := func(when string) error {
		spec := &authzv1.PolicySpec{
			Match: &authzv1.Match{Server: "tickets", Tools: []string{"close_ticket"}}, Rules: []*authzv1.Rule{{Name: "r", When: when, Effect: "block"}},
		}
		p := &authzv1.Policy{ApiVersion: "headgate/v1", Kind: "Policy", Metadata: &resourcev1.Metadata{Name: "p", Tenant: "acme"}, Spec: spec}
		_, err := admin.Apply(t.Context(), connect.NewRequest(&authzv1.ApplyRequest{
			Resources: []*authzv1.Resource{{Kind: &authzv1.Resource_Policy{Policy: p}}}, DryRun: true,
		}))
		return err
	}
	if err := apply(`args.idd == "x"`); err != nil {
		t.Fatalf("a policy for a server that is not known yet is refused: %v", err)
	}
	h.trust.server("tickets", nil, map[string]string{"close_ticket": closeTicket})
	eventually(t, 40*time.Second, func() bool {
		f := fault.From(apply(`args.idd == "x"`))
		return f != nil && f.Reason == faultv1.Reason_REASON_INVALID && f.About["line"] == "1" && f.About["column"] == "5"
	})
	if err := apply(`args.id == "x"`); err != nil {
		t.Error(err)
	}
}

// Threat T26: what a server is labelled as is not known, so nothing is decided by its labels.
func TestT26NothingIsDecidedOrAppliedWhileTrustIsSilent(t *testing.T) {
	h := start(t, newIdentity())
	h.trust.server("tickets", []string{"data:health"}, map[string]string{"close_ticket": closeTicket})
	app := h.as("acme", "bot", "app")
	decide := func() error {
		_, err := app.Decide(t.Context(), connect.NewRequest(&authzv1.DecideRequest{Tenant: "acme", Person: "nobody", Server: "tickets", Tool: "close_ticket"}))
		return err
	}
	unavailable := func() bool { return fault.Is(decide(), faultv1.Reason_REASON_UNAVAILABLE) }
	if unavailable() {
		t.Fatal("unavailable while trust is heard")
	}
	h.trust.hush()
	eventually(t, 40*time.Second, unavailable)
}

func TestRulesAreJudgedByWhatTrustSaysOfTheTool(t *testing.T) {
	id := newIdentity()
	id.bare = true
	id.apply(t, `
apiVersion: headgate/v1
kind: Person
metadata: {name: ana, tenant: acme}
spec: {roles: [support]}
---
apiVersion: headgate/v1
kind: Role
metadata: {name: support, tenant: acme}
spec: {grants: [{server: tickets, tools: ["*"], can: call}]}
`)
	h := start(t, id)
	admin := h.as("acme", "root", "admin")
	doc := func(when string) *authzv1.ApplyRequest {
		return applying(t, `
apiVersion: headgate/v1
kind: Policy
metadata: {name: known, tenant: acme}
spec:
  match: {server: tickets}
  rules: [{name: r, when: '`+when+`', effect: allow}]
  tests: [{name: carried, trust: {standing: approved, score: 7}, taint: {labels: [private]}, toolLabels: [of-close_ticket], expect: allow}]
`)
	}
	for _, when := range []string{"trust.score >= 0", `"private" in taint`} {
		_, err := admin.Apply(t.Context(), connect.NewRequest(doc(when)))
		if f := fault.From(err); f == nil || f.Reason != faultv1.Reason_REASON_INVALID || !strings.Contains(f.Sentence, "no service tells of t") {
			t.Errorf("%s: %v", when, err)
		}
	}
	if _, err := admin.Apply(t.Context(), connect.NewRequest(doc(`trust.standing == "approved" ? tool.labels == ["of-close_ticket"] : false`))); err != nil {
		t.Fatal(err)
	}
	effect := func(tool string) string {
		resp, err := h.edge.Decide(t.Context(), connect.NewRequest(call("ana", "", "tickets", tool)))
		if err != nil {
			t.Fatal(err)
		}
		return resp.Msg.GetDecision().GetEffect() + " " + resp.Msg.GetDecision().GetReason().String()
	}
	eventually(t, 40*time.Second, func() bool { return effect("close_ticket") == "block REASON_UNKNOWN_TOOL" }) // trust knows no such server
	h.trust.server("tickets", nil, map[string]string{"close_ticket": closeTicket})
	eventually(t, 40*time.Second, func() bool { return effect("close_ticket") == "allow REASON_UNSPECIFIED" })
	if got := effect("other"); got != "block REASON_UNKNOWN_TOOL" {
		t.Error(got)
	}
}

// What an edge does not serve is not allowed by anybody who is asked, whatever a grant of all tools covers.
func TestWhatAnEdgeDoesNotServeIsBlocked(t *testing.T) {
	id := newAcme(t)
	id.bare = true
	h := start(t, id)
	state := func(change func(*trustv1.ServerState)) *trustv1.ServerState {
		s := &trustv1.ServerState{
			Server:   &trustv1.Server{Metadata: &resourcev1.Metadata{Name: "tickets", Tenant: "acme"}, Spec: &trustv1.ServerSpec{}},
			Standing: trustv1.Standing_STANDING_APPROVED,
		}
		for name, state := range map[string]trustv1.DefinitionState{
			"close_ticket": trustv1.DefinitionState_DEFINITION_STATE_APPROVED, "new_tool": trustv1.DefinitionState_DEFINITION_STATE_PENDING,
			"changed": trustv1.DefinitionState_DEFINITION_STATE_CHANGED, "gone": trustv1.DefinitionState_DEFINITION_STATE_GONE,
		} {
			d := &trustv1.Definition{Name: name, State: state}
			if name != "new_tool" {
				d.Approved = []byte(closeTicket)
			}
			s.Definitions = append(s.Definitions, d)
		}
		if change != nil {
			change(s)
		}
		return s
	}
	app := h.as("acme", "desk", "app")
	reasonOf := func(d *authzv1.Decision) string {
		if d.GetEffect() == "allow" {
			return ""
		}
		return fault.Code(d.GetReason())
	}
	holds := func(person, server, tool, effect, reason, says string) {
		t.Helper()
		eventually(t, 40*time.Second, func() bool { // trust is heard
			d := h.decide(call(person, "", server, tool))
			return d.GetEffect() == effect && reasonOf(d) == reason
		})
		req := call(person, "", server, tool)
		explained, err := app.Explain(t.Context(), connect.NewRequest(&authzv1.ExplainRequest{Call: req}))
		if err != nil {
			t.Fatal(err)
		}
		for way, d := range map[string]*authzv1.Decision{"decide": h.decide(req), "batch": h.batch(req), "explain": explained.Msg.GetDecision()} {
			if d.GetEffect() != effect || reasonOf(d) != reason || !strings.Contains(d.GetSentence(), says) {
				t.Errorf("%s: %s %s.%s: %v", way, person, server, tool, d)
			}
		}
	}
	holds("ana", "tickets", "close_ticket", "block", "unknown-tool", `The server "tickets" is not known; there is none.`)
	h.trust.change("tickets", state(nil))
	holds("ana", "tickets", "close_ticket", "allow", "", "allowed")
	holds("ana", "tickets", "close_tickt", "block", "unknown-tool", `The tool "close_tickt" is not known; the nearest is "close_ticket".`)
	holds("ana", "tickts", "close_ticket", "block", "unknown-tool", `The server "tickts" is not known; the nearest is "tickets".`)
	holds("ana", "tickets", "new_tool", "block", "not-approved", "The definition of new_tool waits for approval.")
	holds("ana", "tickets", "changed", "block", "definition-changed", "changed since it was approved")
	holds("ana", "tickets", "gone", "block", "definition-changed", "changed since it was approved")
	holds("carl", "tickets", "new_tool", "block", "not-granted", "no relation lets carl call it")
	holds("carl", "tickets", "nope", "block", "unknown-tool", `The tool "nope" is not known`)
	for _, method := range []string{"resources/read", "prompts/get", "completion/complete"} {
		holds("ana", "tickets", method, "allow", "", "allowed")
		holds("ana", "crm", method, "block", "unknown-tool", `The server "crm" is not known`)
	}
	h.trust.change("tickets", state(func(s *trustv1.ServerState) { s.Standing = trustv1.Standing_STANDING_QUARANTINED }))
	holds("ana", "tickets", "close_ticket", "block", "quarantined", "The server tickets is quarantined.")
	holds("ana", "tickets", "resources/read", "block", "quarantined", "The server tickets is quarantined.")
	h.trust.change("tickets", state(func(s *trustv1.ServerState) { s.Standing = trustv1.Standing_STANDING_PENDING }))
	holds("ana", "tickets", "close_ticket", "block", "not-approved", "The server tickets waits for approval.")
	h.trust.change("tickets", nil)
	holds("ana", "tickets", "close_ticket", "block", "unknown-tool", "is not known")
}

func TestApplyingSaysWhatIsProbablyAMistake(t *testing.T) {
	id := newAcme(t)
	id.bare = true
	h := start(t, id)
	admin := h.as("acme", "root", "admin")
	h.trust.server("tickets", nil, map[string]string{"close_ticket": closeTicket})
	apply := func(yaml string, change func(*authzv1.ApplyRequest)) string {
		req := applying(t, yaml)
		req.DryRun = true
		if change != nil {
			change(req)
		}
		resp, err := admin.Apply(t.Context(), connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, w := range resp.Msg.GetWarnings() {
			all = append(all, w.GetTenant()+"/"+w.GetPolicy()+": "+w.GetSentence())
		}
		return strings.Join(all, "\n")
	}
	doc := func(name, match, rules string) string {
		return "\napiVersion: headgate/v1\nkind: Policy\nmetadata: {name: " + name + ", tenant: acme}\nspec:\n  match: " + match + "\n  default: allow\n  rules: [" + rules + "]\n"
	}
	eventually(t, 40*time.Second, func() bool {
		return strings.Contains(apply(doc("p", "{server: tickets, tools: [close_tikcet]}", `{name: r, when: "true", effect: block}`), nil),
			`acme/p: None of its rules holds for the tool that was meant: the tool "close_tikcet" is not known; the nearest is "close_ticket"`)
	})
	if _, err := admin.Apply(t.Context(), connect.NewRequest(applying(t, doc("stops", "{server: tickets}", `{name: stop, when: "args.id == \"x\"", effect: block}`)))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ match, rules, says string }{
		{"{server: tickts}", `{name: r, when: "true", effect: block}`, `acme/p: It matches nothing: the server "tickts" is not known; the nearest is "tickets".`},
		{`{server: "*"}`, `{name: r, when: "args.idd == 1", effect: block}`, `rule r, line 1, column 5: the argument "idd" is not known`},
		{"{server: tickets}", `{name: r, when: "\"suppport\" in principal.roles", effect: block}`, `acme/p: Rule r: the role "suppport" is not known; the nearest is "support".`},
		{"{server: tickets}", `{name: r, when: "args.id == \"y\"", effect: escalate, approval: {by: "role:no-such-role"}}`, `Rule r: the role "no-such-role" is not known`},
		{"{server: tickets}", `{name: r, when: "\"carre\" in principal.groups", effect: block}`, `acme/p: Rule r: the group "carre" is not known; the nearest is "care".`},
		{"{server: tickets}", `{name: r, when: "args.id == \"y\"", effect: escalate, approval: {by: "group:care", quorum: 2}}`, `Rule r is never approved: it wants 2 approvals of group care, and 1 can give one today.`},
		{"{server: tickets}", `{name: r, when: "args.id == \"y\"", effect: escalate, approval: {by: "person:ana", quorum: 2}}`, `Rule r is never approved: it wants 2 approvals of person ana`},
		{"{server: tickets}", `{name: r, when: "args.id == \"y\"", effect: escalate, approval: {by: "person:nobody"}}`, `Rule r: the person "nobody" is not known`},
		{"{server: tickets}", `{name: r, when: "args.id == \"y\"", effect: allow}, {name: b, when: "true", effect: block}`, "Rule r never decides: rule b (block)"},
		{"{server: tickets}", `{name: r, when: "args.id == \"x\"", effect: allow}`, "acme/: Policies p and stops fight: what rule p/r lets pass (allow), rule stops/stop always refuses"},
	} {
		if got := apply(doc("p", c.match, c.rules), nil); !strings.Contains(got, c.says) {
			t.Errorf("%s %s: %s", c.match, c.rules, got)
		}
	}
	dated := doc("p", "{server: tickets}", `{name: off, when: "holiday(request.time, \"UTC\", \"feasts\")", effect: allow}, {name: b, when: "true", effect: block}`) + feasts("20251225")
	if got := apply(dated, nil); !strings.Contains(got, "Rule off never decides: rule b (block)") {
		t.Errorf("a policy with a calendar of the tenant: %s", got)
	}
	got := apply(doc("p", "{server: crm2}", `{name: r, when: "\"new\" in principal.roles || \"newer\" in principal.groups", effect: block}`), func(r *authzv1.ApplyRequest) {
		r.Roles, r.Servers, r.Groups = []string{"new"}, []string{"crm2"}, []string{"newer"}
	})
	if strings.Contains(got, "not known") {
		t.Errorf("what is declared along is not there: %s", got)
	}
	_, err := admin.Apply(t.Context(), connect.NewRequest(applying(t, strings.Replace(doc("p", `{server: "*"}`, `{name: r, when: "facts.f.x == 1", effect: block}`),
		"  rules:", "  facts: {f: {tool: nosuch_tool}}\n  rules:", 1))))
	if f := fault.From(err); f == nil || !strings.Contains(f.Sentence, `fact f: the approved tool "nosuch_tool" is not known; the nearest is`) {
		t.Error(err)
	}
}

// TestAPolicyThatNoLongerFitsIsAnAlert approves a tool in another shape than the one for which a policy was applied, before two processes with one database
// and one that is started later.
func TestAPolicyThatNoLongerFitsIsAnAlert(t *testing.T) {
	id, dir := newAcme(t), t.TempDir()
	id.trust = newTrust()
	fga := newFaulty(t)
	houses := []*harness{start(t, id, on(dir), fga.option), start(t, id, on(dir), fga.option)}
	shape := func(argument string) {
		id.trust.server("tickets", nil, map[string]string{"close_ticket": `{"name":"close_ticket","inputSchema":{"type":"object","additionalProperties":false,"properties":{"` +
			argument + `":{"type":"string"}}}}`})
	}
	about := func(argument string, dry bool) func(h *harness) bool {
		doc := applying(t, "apiVersion: headgate/v1\nkind: Policy\nmetadata: {name: p, tenant: acme}\nspec:\n  match: {server: tickets, tools: [close_ticket]}\n"+
			"  default: allow\n  rules: [{name: r, when: \"args."+argument+" == 'x'\", effect: block}]\n")
		doc.DryRun = dry
		return func(h *harness) bool {
			_, err := h.as("acme", "root", "admin").Apply(t.Context(), connect.NewRequest(doc))
			return err == nil
		}
	}
	misfits := func(of ...*harness) (found []string) {
		for _, h := range of {
			found = append(found, h.journal.of(base.PolicyMisfit)...)
		}
		return found
	}
	all := func(holds func(h *harness) bool) {
		t.Helper()
		for _, h := range houses {
			eventually(t, 40*time.Second, func() bool { return holds(h) })
		}
	}
	shape("id")
	all(about("id", true))
	about("id", false)(houses[0])
	for _, step := range []struct {
		argument string
		alerts   int
	}{{"number", 1}, {"number", 1}, {"idd", 2}} { // what does not fit is said once, and again when it is something else
		shape(step.argument)
		all(about(step.argument, true))
		eventually(t, 40*time.Second, func() bool { return len(misfits(houses...)) >= step.alerts })
	}
	for _, h := range houses {
		h.stop()
	}
	if got := misfits(houses...); len(got) != 2 || !strings.HasPrefix(got[0], "misfit Policy acme/p by ") {
		t.Errorf("recorded as %q", got)
	}
	again := start(t, id, on(dir), fga.option)
	houses = []*harness{again}
	all(about("idd", true))
	if !about("idd", false)(again) { // it fits, and no longer does afterwards: that is another alert
		t.Fatal("not applied")
	}
	shape("number")
	eventually(t, 40*time.Second, func() bool { return len(misfits(again)) >= 1 })
	again.stop()
	if got := misfits(again); len(got) != 1 {
		t.Errorf("after a restart recorded as %q", got)
	}
}
