package policy

import (
	"cmp"
	"slices"
	"sync"
)

// AnyServer is the server name of a policy that matches every server.
const AnyServer = "*"

// Bundle holds the policies of one tenant, ready to be found by server and tool. It never changes and is safe to share.
type Bundle struct {
	servers map[string]*shelf
	others  *shelf // for servers that no policy names
	counts  bool   // some policy is judged by a sum
	// evaluations are kept for the next request: what one needs is made once.
	evaluations sync.Pool
}

// shelf has the policies about one server in order of their names: those about a tool that some policy names, and those about any other.
type shelf struct {
	tools  map[string][]*Compiled
	others []*Compiled
}

// NewBundle indexes the policies of one tenant. Of two with one name, the later replaces the earlier.
func NewBundle(ps []*Compiled) *Bundle {
	byName := map[string]*Compiled{}
	for _, p := range ps {
		if p != nil {
			byName[p.name] = p
		}
	}
	all := make([]*Compiled, 0, len(byName))
	for _, p := range byName {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *Compiled) int { return cmp.Compare(a.name, b.name) })
	b := &Bundle{servers: map[string]*shelf{}, others: &shelf{tools: map[string][]*Compiled{}}}
	about := map[string][]*Compiled{}
	for _, p := range all {
		b.counts = b.counts || p.counting
		server := p.source.GetSpec().GetMatch().GetServer()
		about[server] = append(about[server], p)
	}
	b.others.put(about[AnyServer])
	for server, own := range about {
		if server == AnyServer {
			continue
		}
		s := &shelf{tools: map[string][]*Compiled{}}
		both := slices.Concat(own, about[AnyServer])
		slices.SortFunc(both, func(a, b *Compiled) int { return cmp.Compare(a.name, b.name) })
		s.put(both)
		b.servers[server] = s
	}
	return b
}

// put places the policies about one server, in order of their names.
func (s *shelf) put(ps []*Compiled) {
	for _, p := range ps {
		for _, tool := range p.source.GetSpec().GetMatch().GetTools() {
			if tool != anyTool {
				s.tools[tool] = nil
			}
		}
	}
	for _, p := range ps {
		tools := p.source.GetSpec().GetMatch().GetTools()
		if len(tools) == 0 || slices.Contains(tools, anyTool) {
			s.others = append(s.others, p)
			for tool := range s.tools {
				s.tools[tool] = append(s.tools[tool], p)
			}
			continue
		}
		for _, tool := range slices.Compact(slices.Sorted(slices.Values(tools))) {
			s.tools[tool] = append(s.tools[tool], p)
		}
	}
}

// matching are the policies that are about a tool, in order of their names. Nobody may change the list.
func (b *Bundle) matching(server, tool string) []*Compiled {
	if b == nil {
		return nil
	}
	s := b.servers[server]
	if s == nil {
		s = b.others
	}
	if found, named := s.tools[tool]; named {
		return found
	}
	return s.others
}

// Wants is what the rules about a tool look at beyond the request itself.
type Wants struct {
	// Any says that some policy is about the tool.
	Any bool
	// Country is request.country; Relations are those of Settle, without which Evaluate alone does not decide.
	Country, Relations bool
}

// Wants says what must be brought to decide about a tool.
func (b *Bundle) Wants(server, tool string) Wants {
	var w Wants
	for _, c := range b.matching(server, tool) {
		w.Any, w.Country, w.Relations = true, w.Country || c.locates, w.Relations || c.relates
	}
	return w
}

// Matches says whether any policy is about the tool; where none is, the relation alone decides.
func (b *Bundle) Matches(server, tool string) bool {
	return len(b.matching(server, tool)) > 0
}
