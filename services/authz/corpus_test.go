package authz_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/policy"
)

// corpus is a generated tenant and what it means, worked out in the plainest way.
type corpus struct {
	random  *rand.Rand
	yaml    strings.Builder
	people  map[string]*someone
	groups  map[string]*band
	roles   map[string][]gift
	agents  map[string]*helper
	lists   []refusal
	ended   string
	holding string
	began   time.Time
}

type someone struct {
	roles    []string
	disabled bool
}

type band struct{ members, roles []string }

type gift struct {
	server, can, until string
	tools              []string
	network            string // calls come from it; empty for anywhere
	most               int    // the largest amount in EUR; 0 for any
}

// meets reports whether a call meets a gift's condition.
func (g gift) meets(req *authzv1.DecideRequest) bool {
	if g.network != "" && (req.GetSourceIp() == "" || !netip.MustParsePrefix(g.network).Contains(netip.MustParseAddr(req.GetSourceIp()))) {
		return false
	}
	var args struct{ Amount *int }
	if g.most == 0 {
		return true
	}
	return json.Unmarshal(req.GetArguments(), &args) == nil && args.Amount != nil && *args.Amount <= g.most
}

type helper struct {
	disabled      bool
	people, roles []string
	gifts         []gift
}

// refusal is a block list.
type refusal struct {
	people, groups, agents, tools []string
	server                        string
	ended                         bool
}

func newCorpus(seed uint64) *corpus {
	c := &corpus{
		random: rand.New(rand.NewPCG(seed, 26)), people: map[string]*someone{}, groups: map[string]*band{}, roles: map[string][]gift{}, agents: map[string]*helper{},
		began: time.Now(), ended: time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), holding: time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	}
	for i := range 12 {
		name := fmt.Sprintf("role%d", i)
		c.roles[name] = c.gifts()
		c.declare("Role", name, map[string]any{"grants": written(c.roles[name])})
	}
	for i := range 20 {
		name := fmt.Sprintf("person%d", i)
		c.people[name] = &someone{roles: c.some("role", 14, 5), disabled: c.random.IntN(8) == 0}
		c.declare("Person", name, map[string]any{"roles": c.people[name].roles, "disabled": c.people[name].disabled, "department": fmt.Sprintf("d%d", i%3)})
	}
	for i := range 6 {
		name := fmt.Sprintf("group%d", i)
		c.groups[name] = &band{members: c.some("person", 22, 6), roles: c.some("role", 14, 2)}
		c.declare("Group", name, map[string]any{"members": c.groups[name].members, "roles": c.groups[name].roles})
	}
	for i := range 8 {
		name := fmt.Sprintf("agent%d", i)
		a := &helper{disabled: c.random.IntN(8) == 0, people: c.some("person", 22, 6), roles: c.some("role", 14, 6), gifts: append(c.gifts(), c.gifts()...)}
		c.agents[name] = a
		delegators := map[string]any{"people": a.people, "roles": a.roles}
		c.declare("Agent", name, map[string]any{"disabled": a.disabled, "delegators": delegators, "grants": written(a.gifts)})
	}
	for i := range 4 {
		b := refusal{
			people: c.some("person", 22, 2), groups: c.some("group", 8, 1), agents: c.some("agent", 10, 2), tools: []string{"*"},
			server: fmt.Sprintf("s%d", i), ended: c.random.IntN(4) == 0,
		}
		if c.random.IntN(3) > 0 {
			b.tools = []string{"t0", "t3"}
		} else if c.random.IntN(2) == 0 {
			b.server = "*"
		}
		spec := map[string]any{"people": b.people, "groups": b.groups, "agents": b.agents, "targets": []any{
			map[string]any{"server": b.server, "tools": b.tools, "cannot": []string{"see", "call"}[c.random.IntN(2)]},
		}}
		if b.ended {
			spec["until"] = c.ended
		}
		c.lists = append(c.lists, b)
		c.declare("BlockList", fmt.Sprintf("list%d", i), spec)
	}
	return c
}

// kept reports whether a block list keeps a caller from a tool.
func (c *corpus) kept(req *authzv1.DecideRequest) bool {
	return slices.ContainsFunc(c.lists, func(b refusal) bool {
		about := (b.server == "*" || b.server == req.GetServer()) && (slices.Contains(b.tools, "*") || slices.Contains(b.tools, req.GetTool()))
		named := slices.Contains(b.people, req.GetPerson()) || req.GetAgent() != "" && slices.Contains(b.agents, req.GetAgent()) ||
			slices.ContainsFunc(b.groups, func(g string) bool {
				return c.groups[g] != nil && slices.Contains(c.groups[g].members, req.GetPerson())
			})
		return about && named && !b.ended
	})
}

func (c *corpus) declare(kind, name string, spec map[string]any) {
	text, err := json.Marshal(map[string]any{"apiVersion": "headgate/v1", "kind": kind, "metadata": map[string]any{"name": name, "tenant": "acme"}, "spec": spec})
	if err != nil {
		panic(err)
	}
	c.yaml.WriteString("---\n" + string(text) + "\n")
}

// some draws up to most distinct names; those beyond what is declared do not exist.
func (c *corpus) some(kind string, of, most int) []string {
	names := []string{}
	for range c.random.IntN(most + 1) {
		if name := fmt.Sprintf("%s%d", kind, c.random.IntN(of)); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (c *corpus) gifts() []gift {
	var all []gift
	for range 1 + c.random.IntN(5) {
		g := gift{server: fmt.Sprintf("s%d", c.random.IntN(4)), can: []string{"see", "call", "call"}[c.random.IntN(3)], tools: []string{"*"}}
		if c.random.IntN(2) == 0 {
			g.tools = append(c.some("t", 5, 3), "t0")
			slices.Sort(g.tools)
			g.tools = slices.Compact(g.tools)
		}
		g.until = []string{"", "", c.ended, c.holding}[c.random.IntN(4)]
		if g.can == "call" {
			g.network = []string{"", "", "192.0.2.0/24"}[c.random.IntN(3)]
			g.most = []int{0, 0, 120}[c.random.IntN(3)]
		}
		all = append(all, g)
	}
	return all
}

func written(gifts []gift) []map[string]any {
	all := []map[string]any{}
	for _, g := range gifts {
		one := map[string]any{"server": g.server, "can": g.can, "tools": g.tools}
		if g.until != "" {
			one["until"] = g.until
		}
		if g.network != "" {
			one["networks"] = []string{g.network}
		}
		if g.most > 0 {
			one["amount"] = map[string]any{"argument": "/amount", "max": strconv.Itoa(g.most), "currency": "EUR"}
		}
		all = append(all, one)
	}
	return all
}

// rolesOf are a person's roles, their own and those of their groups.
func (c *corpus) rolesOf(person string) []string {
	p := c.people[person]
	if p == nil || p.disabled {
		return nil
	}
	roles := slices.Clone(p.roles)
	for _, g := range c.groups {
		if slices.Contains(g.members, person) {
			roles = append(roles, g.roles...)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

func (c *corpus) given(gifts []gift, req *authzv1.DecideRequest) bool {
	return slices.ContainsFunc(gifts, func(g gift) bool {
		about := g.server == req.GetServer() && (slices.Contains(g.tools, "*") || slices.Contains(g.tools, req.GetTool()))
		return about && g.can == "call" && g.until != c.ended && g.meets(req)
	})
}

// may works out who may call what, without paths and tuples.
func (c *corpus) may(req *authzv1.DecideRequest) bool {
	if c.kept(req) {
		return false
	}
	roles := c.rolesOf(req.GetPerson())
	mine := slices.ContainsFunc(roles, func(r string) bool { return c.given(c.roles[r], req) })
	if req.GetAgent() == "" || !mine {
		return mine
	}
	a := c.agents[req.GetAgent()]
	if a == nil || a.disabled || !c.given(a.gifts, req) {
		return false
	}
	return slices.Contains(a.people, req.GetPerson()) || slices.ContainsFunc(a.roles, func(r string) bool { return slices.Contains(roles, r) })
}

func (c *corpus) request() *authzv1.DecideRequest {
	r := c.random
	req := call(fmt.Sprintf("person%d", r.IntN(21)), "", fmt.Sprintf("s%d", r.IntN(5)), fmt.Sprintf("t%d", r.IntN(6)))
	if r.IntN(2) == 0 {
		req.Agent = fmt.Sprintf("agent%d", r.IntN(9))
	}
	if r.IntN(4) > 0 {
		req.Arguments = fmt.Appendf(nil, `{"amount":%d,"id":"T-%d","force":%v}`, r.IntN(200), r.IntN(9), r.IntN(2) == 0)
	}
	if r.IntN(2) == 0 {
		req.Facts = &structpb.Struct{Fields: map[string]*structpb.Value{"ticket": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"priority": structpb.NewStringValue([]string{"high", "normal"}[r.IntN(2)]),
		}})}}
	}
	req.SourceIp = []string{"", "192.0.2.7", "198.51.100.1"}[r.IntN(3)]
	if r.IntN(2) == 0 {
		req.Session = &authzv1.Session{Acr: []string{"", "mfa"}[r.IntN(2)], Client: []string{"", "claude"}[r.IntN(2)], Purpose: []string{"", "", "audit"}[r.IntN(3)]}
		if r.IntN(2) == 0 {
			req.Session.AuthTime = timestamppb.New(c.began.Add(-time.Duration(r.IntN(4)) * time.Hour))
			req.Session.Started = timestamppb.New(c.began.Add(-time.Duration(1+r.IntN(12)) * time.Hour))
		}
	}
	if r.IntN(2) == 0 {
		req.Device = &authzv1.Device{Managed: [](*bool){nil, proto.Bool(true), proto.Bool(false)}[r.IntN(3)]}
	}
	req.Purpose, req.Country = []string{"", "support", "research"}[r.IntN(3)], []string{"", "DE", "US"}[r.IntN(3)]
	return req
}

const corpusPolicies = `
apiVersion: headgate/v1
kind: Policy
metadata: {name: amounts, tenant: acme}
spec:
  match: {server: s0}
  default: allow
  rules:
    - {name: large, when: "args.amount > 150", effect: block, alert: true}
    - {name: middling, when: "args.amount > 100", effect: modify, modify: [{path: /amount, clamp: {max: 100}}, {path: /force, remove: true}]}
    - {name: forced, when: "has(args.force) && args.force", effect: escalate, approval: {by: "role:role1"}}
    - {name: tried, when: 'principal.department == "d1"', effect: block, shadow: true}
---
apiVersion: headgate/v1
kind: Policy
metadata: {name: tickets, tenant: acme}
spec:
  match: {server: s1, tools: [t0, t1]}
  facts: {ticket: {tool: get_ticket, args: {id: args.id}}}
  rules:
    - {name: urgent, when: 'facts.ticket.priority == "high"', effect: escalate, approval: {by: "role:role2"}}
    - {name: held, when: '"role3" in principal.roles || "role4" in principal.roles || "group1" in principal.groups', effect: allow}
---
apiVersion: headgate/v1
kind: Policy
metadata: {name: everywhere, tenant: acme}
spec:
  match: {server: "*", tools: [t2]}
  default: allow
  rules:
    - {name: unmanaged, when: "device.managed == false || device.managed && purpose == 'research'", effect: block}
    - {name: long, when: 'has(session.started) && session.age > duration("8h")', effect: block}
    - {name: fresh, when: 'request.ip == "192.0.2.7"', effect: step-up, stepUp: {acrValues: [mfa], maxAge: 90m}}
    - {name: abroad, when: 'has(request.country) && !inRegion(request.country, "EEA")', effect: escalate, approval: {by: "role:role1"}}
    - {name: claude, when: 'session.client == "claude" && session.purpose == "audit"', effect: block, shadow: true}
    - {name: related, when: 'related("role:role1", "assignee") && !related("group:group2", "member")', effect: alert}
    - {name: agents-not, when: 'agent.name == "agent1"', effect: block}
    - {name: not-from-there, when: 'request.ip == "198.51.100.1"', effect: block, reason: "Not from that network."}
`

// mirror decides as an edge does: on entitlements and policies that were pulled once.
type mirror struct {
	corpus *corpus
	bundle *policy.Bundle
	people map[string]*policy.Entitlements
	agents map[string]*policy.Entitlements
	acts   map[string][]string
}

func newMirror(t *testing.T, h *harness, c *corpus, policies []*authzv1.Policy) *mirror {
	t.Helper()
	m := &mirror{corpus: c, people: map[string]*policy.Entitlements{}, agents: map[string]*policy.Entitlements{}, acts: map[string][]string{}}
	var compiled []*policy.Compiled
	for _, p := range policies {
		one, err := policy.Compile(p)
		if err != nil {
			t.Fatal(err)
		}
		compiled = append(compiled, one)
	}
	m.bundle = policy.NewBundle(compiled)
	for i := range 21 {
		name := fmt.Sprintf("person%d", i)
		e, err := h.entitlements("acme", name, "")
		if err != nil {
			t.Fatal(err)
		}
		m.people[name] = policy.NewEntitlements(e.GetEntitlements())
	}
	for i := range 9 {
		name := fmt.Sprintf("agent%d", i)
		e, err := h.entitlements("acme", "", name)
		if err != nil {
			t.Fatal(err)
		}
		m.agents[name], m.acts[name] = policy.NewEntitlements(e.GetEntitlements()), e.GetDelegators()
	}
	return m
}

// related works out a person's relations without OpenFGA.
func (m *mirror) related(person string) func([]policy.Relationship) ([]bool, error) {
	return func(asked []policy.Relationship) ([]bool, error) {
		held := make([]bool, len(asked))
		for i, one := range asked {
			kind, name, _ := strings.Cut(one.Object, ":")
			p := m.corpus.people[person]
			switch {
			case p == nil || p.disabled:
			case kind == "role":
				held[i] = slices.Contains(m.corpus.rolesOf(person), name)
			case kind == "group":
				held[i] = m.corpus.groups[name] != nil && slices.Contains(m.corpus.groups[name].members, person)
			}
		}
		return held, nil
	}
}

func (m *mirror) decide(req *authzv1.DecideRequest) *authzv1.Decision {
	now := time.Now()
	relation := m.people[req.GetPerson()].Lookup(req.GetServer(), req.GetTool(), now)
	if req.GetAgent() != "" {
		theirs := policy.Relation{Reason: faultv1.Reason_REASON_AGENT}
		if slices.Contains(m.acts[req.GetAgent()], req.GetPerson()) {
			theirs = m.agents[req.GetAgent()].Lookup(req.GetServer(), req.GetTool(), now)
		}
		relation = policy.Smaller(relation, theirs)
	}
	who := policy.Principal{Name: req.GetPerson(), Roles: m.corpus.rolesOf(req.GetPerson())}
	if p := m.corpus.people[req.GetPerson()]; p != nil && !p.disabled {
		var n int
		if _, err := fmt.Sscanf(req.GetPerson(), "person%d", &n); err == nil {
			who.Department = fmt.Sprintf("d%d", n%3)
		}
		for name, g := range m.corpus.groups {
			if slices.Contains(g.members, req.GetPerson()) {
				who.Groups = append(who.Groups, name)
			}
		}
		slices.Sort(who.Groups)
	}
	asked := &policy.Request{
		Tenant: "acme", Principal: who, Agent: policy.Agent{Name: req.GetAgent()}, Server: policy.Server{Name: req.GetServer()},
		Tool: policy.Tool{Name: req.GetTool()}, Args: req.GetArguments(), Facts: req.GetFacts().AsMap(), At: now, SourceIP: req.GetSourceIp(),
		Session: policy.SessionOf(req.GetSession()), Device: policy.DeviceOf(req.GetDevice()), Country: req.GetCountry(),
		Purpose: cmp.Or(req.GetSession().GetPurpose(), req.GetPurpose()),
	}
	asked.Relation = relation.For(asked)
	d := m.bundle.Settle(asked, m.related(req.GetPerson()))
	d.Near = m.bundle.Near(asked, d)
	return d.Proto()
}

func TestDecideSaysWhatAnEdgeSaysOnItsReplica(t *testing.T) {
	const requests = 2400
	c := newCorpus(2026)
	id := newIdentity()
	id.apply(t, c.yaml.String())
	h := start(t, id)
	if _, err := h.as("acme", "root", "admin").Apply(t.Context(), connect.NewRequest(applying(t, corpusPolicies))); err != nil {
		t.Fatal(err)
	}
	edge := h.follow()
	m := newMirror(t, h, c, edge.until(time.Second, (*authzv1.WatchResponse).GetSnapshot).GetUpserts())
	all := make([]*authzv1.DecideRequest, requests)
	for i := range all {
		all[i] = c.request()
	}
	got := make([]*authzv1.Decision, requests)
	asking, ctx := errgroup.WithContext(t.Context())
	asking.SetLimit(4)
	began := time.Now()
	for i, req := range all {
		asking.Go(func() error {
			resp, err := h.edge.Decide(ctx, connect.NewRequest(req))
			if err == nil {
				got[i] = resp.Msg.GetDecision()
			}
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d decisions in %s", requests, time.Since(began))
	outcomes := map[string]int{}
	for i, req := range all {
		got[i].Id = ""
		if want := m.decide(req); !proto.Equal(got[i], want) {
			t.Fatalf("%v:\n got %v\nwant %v", req, got[i], want)
		}
		related := !slices.Contains([]faultv1.Reason{
			faultv1.Reason_REASON_NOT_GRANTED, faultv1.Reason_REASON_AGENT, faultv1.Reason_REASON_BLOCK_LISTED, faultv1.Reason_REASON_CONDITION,
		}, got[i].GetReason())
		if related != c.may(req) {
			t.Fatalf("%v: %v, but may: %v", req, got[i], c.may(req))
		}
		outcomes[got[i].GetEffect()+" "+got[i].GetReason().String()]++
	}
	t.Log(outcomes)
	for _, outcome := range []string{
		"allow REASON_UNSPECIFIED", "modify REASON_UNSPECIFIED", "escalate REASON_APPROVAL_REQUIRED", "block REASON_RULE", "block REASON_RULE_ERROR",
		"block REASON_FACT_UNAVAILABLE", "block REASON_NOT_GRANTED", "block REASON_AGENT", "block REASON_BLOCK_LISTED", "block REASON_CONDITION",
	} {
		if outcomes[outcome] == 0 {
			t.Errorf("the corpus has no %s", outcome)
		}
	}
}
