package policy

import (
	"slices"
	"time"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// anyTool is the tool name that stands for all tools of a server.
const anyTool = "*"

// Entitlements are the relations of one principal, ready to be looked up. They never change and are safe to share.
type Entitlements struct {
	servers map[string]map[string][]grant
	names   []string
}

type grant struct {
	see, call bool
	via       string
	until     time.Time // zero: without end
}

func (g grant) holds(now time.Time) bool { return g.until.IsZero() || now.Before(g.until) }

// NewEntitlements indexes what authz resolved for one principal. Who may call a tool may see it.
func NewEntitlements(es []*authzv1.Entitlement) *Entitlements {
	e := &Entitlements{servers: map[string]map[string][]grant{}}
	for _, one := range es {
		if !one.GetCanSee() && !one.GetCanCall() {
			continue
		}
		tools := e.servers[one.GetServer()]
		if tools == nil {
			tools = map[string][]grant{}
			e.servers[one.GetServer()] = tools
			e.names = append(e.names, one.GetServer())
		}
		g := grant{see: true, call: one.GetCanCall(), via: one.GetVia()}
		if one.GetUntil() != nil {
			g.until = one.GetUntil().AsTime()
		}
		tools[one.GetTool()] = append(tools[one.GetTool()], g)
	}
	slices.Sort(e.names)
	return e
}

// Lookup is the strongest relation to the tool that holds at now: one that lets it be called before one that only shows it, one for the
// tool by name before one for all tools, and the earlier resolved first.
func (e *Entitlements) Lookup(server, tool string, now time.Time) Relation {
	none := Relation{Reason: faultv1.Reason_REASON_NOT_GRANTED}
	if e == nil {
		return none
	}
	tools := e.servers[server]
	if tools == nil {
		return none
	}
	best := none
	for _, name := range [2]string{tool, anyTool} {
		for _, g := range tools[name] {
			if !g.holds(now) || (best.Known && (best.Call || !g.call)) {
				continue
			}
			best = Relation{Known: true, See: g.see, Call: g.call, Via: g.via}
			if !g.call {
				best.Reason = faultv1.Reason_REASON_NOT_GRANTED
			}
		}
		if tool == anyTool {
			break
		}
	}
	return best
}

// Servers names, in order, the servers that the principal has a relation to at now.
func (e *Entitlements) Servers(now time.Time) []string {
	if e == nil {
		return nil
	}
	var names []string
	for _, name := range e.names {
		if holdsAny(e.servers[name], now) {
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
// REASON_AGENT. Via names both.
func Smaller(person, agent Relation) Relation {
	both := Relation{
		Known: person.Known && agent.Known,
		See:   person.See && agent.See,
		Call:  person.Call && agent.Call,
		Via:   joinVia(person.Via, agent.Via),
	}
	switch {
	case both.Call:
	case !person.Call:
		both.Reason = orNotGranted(person.Reason)
	case agent.Reason != faultv1.Reason_REASON_UNSPECIFIED && agent.Reason != faultv1.Reason_REASON_NOT_GRANTED:
		both.Reason = agent.Reason
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
