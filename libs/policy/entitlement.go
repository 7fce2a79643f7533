package policy

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/policy/terms"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// anyTool is the tool name that stands for all tools of a server.
const anyTool = "*"

// anyServer is the server name by which a block list means all of them.
const anyServer = "*"

// Entitlements are the relations of one principal, ready to be looked up. They never change and are safe to share.
type Entitlements struct {
	// head is how every path begins, as "ana"; what follows is the same for all who hold the same.
	head    string
	holding *holding
}

// holding is what many principals have alike.
type holding struct {
	servers map[string]map[string][]grant
	blocks  map[string]map[string][]grant // what wins over all of these; see is false where it hides
	names   []string
	all     []granted // in the order in which they were resolved
}

type grant struct {
	see, call bool
	via       string     // without the head
	until     time.Time  // zero: without end
	condition *callTerms // calls that meet it may be made; nil for none
}

// stronger reports whether a grant gives more than another.
func (g grant) stronger(than grant) bool {
	return g.call && !than.call || g.call == than.call && g.condition != nil && than.condition == nil
}

type granted struct {
	server, tool string
	blocked      string
	grant
}

// What a block list keeps somebody from.
const (
	blockedCall = "call"
	blockedSee  = "see"
)

func (g grant) holds(now time.Time) bool { return g.until.IsZero() || now.Before(g.until) }

const viaArrow = " → "

// NewEntitlements indexes what authz resolved for one principal. Who may call a tool may see it.
func NewEntitlements(es []*authzv1.Entitlement) *Entitlements {
	head := commonHead(es)
	return &Entitlements{head: head, holding: newHolding(es, head)}
}

func newHolding(es []*authzv1.Entitlement, head string) *holding {
	e := &holding{servers: map[string]map[string][]grant{}}
	read := map[string]*callTerms{} // by their key
	for _, one := range es {
		if one.GetBlocked() != "" {
			e.block(one, head)
			continue
		}
		if !one.GetCanSee() && !one.GetCanCall() && one.GetCallIf() == nil {
			continue
		}
		tools := e.servers[one.GetServer()]
		if tools == nil {
			tools = map[string][]grant{}
			e.servers[one.GetServer()] = tools
			e.names = append(e.names, one.GetServer())
		}
		g := grant{see: true, call: one.GetCanCall() && one.GetCallIf() == nil, via: strings.Clone(one.GetVia()[len(head):]), until: ending(one)}
		if one.GetCallIf() != nil {
			key := terms.Key(one.GetCallIf())
			if read[key] == nil {
				read[key] = newCallTerms(one.GetCallIf())
			}
			g.condition = read[key]
		}
		tools[one.GetTool()] = append(tools[one.GetTool()], g)
		e.all = append(e.all, granted{one.GetServer(), one.GetTool(), "", g})
	}
	slices.Sort(e.names)
	return e
}

// block notes what a block list keeps the principal from. A word that is not known hides: that is the stronger one.
func (e *holding) block(one *authzv1.Entitlement, head string) {
	if e.blocks == nil {
		e.blocks = map[string]map[string][]grant{}
	}
	if e.blocks[one.GetServer()] == nil {
		e.blocks[one.GetServer()] = map[string][]grant{}
	}
	g := grant{see: one.GetBlocked() == blockedCall, via: strings.Clone(one.GetVia()[len(head):]), until: ending(one)}
	e.blocks[one.GetServer()][one.GetTool()] = append(e.blocks[one.GetServer()][one.GetTool()], g)
	e.all = append(e.all, granted{one.GetServer(), one.GetTool(), strings.Clone(one.GetBlocked()), g})
}

func ending(one *authzv1.Entitlement) time.Time {
	if one.GetUntil() == nil {
		return time.Time{}
	}
	return one.GetUntil().AsTime()
}

// blocked is the strongest block of a tool that holds at now: one that hides it before one that only keeps it from being called.
func (e *Entitlements) blocked(server, tool string, now time.Time) (strongest grant, found bool) {
	if e == nil || e.holding.blocks == nil {
		return strongest, false
	}
	for _, name := range [2]string{server, anyServer} {
		for _, of := range [2]string{tool, anyTool} {
			for _, g := range e.holding.blocks[name][of] {
				if g.holds(now) && (!found || strongest.see && !g.see) {
					strongest, found = g, true
				}
			}
		}
	}
	return strongest, found
}

// commonHead is what stands before the first arrow of every path; empty where they differ.
func commonHead(es []*authzv1.Entitlement) string {
	if len(es) == 0 {
		return ""
	}
	head, _, found := strings.Cut(es[0].GetVia(), viaArrow)
	for _, one := range es {
		if !found || !strings.HasPrefix(one.GetVia(), head+viaArrow) {
			return ""
		}
	}
	return strings.Clone(head)
}

// List is what was resolved, in its order, as far as it has not ended.
func (e *Entitlements) List(now time.Time) []*authzv1.Entitlement {
	es := make([]*authzv1.Entitlement, 0, len(e.holding.all))
	for _, g := range e.holding.all {
		if !g.holds(now) {
			continue
		}
		one := &authzv1.Entitlement{Server: g.server, Tool: g.tool, CanSee: g.see, CanCall: g.call, Via: e.head + g.via, Blocked: g.blocked}
		if g.blocked != "" {
			one.CanSee = false
		}
		if g.condition != nil {
			one.CallIf = g.condition.source
		}
		if !g.until.IsZero() {
			one.Until = timestamppb.New(g.until)
		}
		es = append(es, one)
	}
	return es
}

// Lookup is the strongest relation to the tool that holds at now: one that lets it be called before one with conditions, which For decides for each call,
// and that before one that only shows it; one for the tool by name before one for all tools, and the earlier resolved first. What a block list keeps the
// principal from wins over all of them.
func (e *Entitlements) Lookup(server, tool string, now time.Time) Relation {
	g, found := e.best(server, tool, now)
	if !found {
		return Relation{Reason: faultv1.Reason_REASON_NOT_GRANTED}
	}
	if b, blocked := e.blocked(server, tool, now); blocked {
		return Relation{Known: b.see, See: b.see, Via: e.head + b.via, Reason: faultv1.Reason_REASON_BLOCK_LISTED}
	}
	r := Relation{Known: true, See: g.see, Call: g.call, Via: e.head + g.via}
	switch {
	case g.call:
	case g.condition != nil:
		r.Reason, r.pending = faultv1.Reason_REASON_CONDITION, &pending{any: e.conditional(server, tool, now)}
	default:
		r.Reason = faultv1.Reason_REASON_NOT_GRANTED
	}
	return r
}

// conditional are the grants of a tool that have conditions.
func (e *Entitlements) conditional(server, tool string, now time.Time) []conditional {
	var all []conditional
	for _, name := range namesOf(tool) {
		for _, g := range e.holding.servers[server][name] {
			if g.condition != nil && g.holds(now) {
				all = append(all, conditional{g.condition, e.head + g.via})
			}
		}
	}
	return all
}

// namesOf are the names that grants of a tool have: its own and that of all tools.
func namesOf(tool string) []string {
	if tool == anyTool {
		return []string{anyTool}
	}
	return []string{tool, anyTool}
}

// Until is when the relation that Lookup finds ends by itself; zero means never.
func (e *Entitlements) Until(server, tool string, now time.Time) time.Time {
	g, _ := e.best(server, tool, now)
	return g.until
}

func (e *Entitlements) best(server, tool string, now time.Time) (best grant, found bool) {
	if e == nil {
		return best, false
	}
	tools := e.holding.servers[server]
	if tools == nil {
		return best, false
	}
	for _, name := range namesOf(tool) {
		for _, g := range tools[name] {
			if g.holds(now) && (!found || g.stronger(best)) {
				best, found = g, true
			}
		}
	}
	return best, found
}

// Servers names, in order, the servers that the principal has a relation to at now.
func (e *Entitlements) Servers(now time.Time) []string {
	if e == nil {
		return nil
	}
	var names []string
	for _, name := range e.holding.names {
		hidden, blocked := e.blocked(name, anyTool, now)
		if holdsAny(e.holding.servers[name], now) && (!blocked || hidden.see) {
			names = append(names, name)
		}
	}
	return names
}

func holdsAny(tools map[string][]grant, now time.Time) bool {
	for _, grants := range tools {
		for _, g := range grants {
			if g.holds(now) {
				return true
			}
		}
	}
	return false
}

// Smaller is the right of an agent that acts for a person: what both have. Where the person may and the agent may not, the reason is
// REASON_AGENT. Via names both. Where a grant of either has conditions, For decides.
func Smaller(person, agent Relation) Relation {
	both := Relation{
		Known: person.Known && agent.Known,
		See:   person.See && agent.See,
		Call:  person.Call && agent.Call,
		Via:   joinVia(person.Via, agent.Via),
	}
	switch {
	case both.Call:
	case person.May() && agent.May():
		both.Reason, both.pending = faultv1.Reason_REASON_CONDITION, &pending{both: &[2]Relation{person, agent}}
	case !person.May():
		both.Reason, both.unmet = orNotGranted(person.Reason), person.unmet
	case agent.Reason != faultv1.Reason_REASON_UNSPECIFIED && agent.Reason != faultv1.Reason_REASON_NOT_GRANTED:
		both.Reason, both.unmet = agent.Reason, agent.unmet
	default:
		both.Reason = faultv1.Reason_REASON_AGENT
	}
	return both
}

func joinVia(person, agent string) string {
	switch {
	case person == "":
		return agent
	case agent == "":
		return person
	}
	return person + " and " + agent
}

func orNotGranted(r faultv1.Reason) faultv1.Reason {
	if r == faultv1.Reason_REASON_UNSPECIFIED {
		return faultv1.Reason_REASON_NOT_GRANTED
	}
	return r
}
