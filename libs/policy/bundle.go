package policy

import (
	"cmp"
	"slices"
)

// anyServer is the server name of a policy that matches every server.
const anyServer = "*"

// Bundle holds the policies of one tenant, ready to be found by server and tool. It never changes and is safe to share.
type Bundle struct {
	byTool map[toolKey][]ranked
}

type toolKey struct{ server, tool string }

// ranked is a policy and its place in the order of names.
type ranked struct {
	rank   int
	policy *Compiled
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
	b := &Bundle{byTool: map[toolKey][]ranked{}}
	for rank, p := range all {
		match := p.source.GetSpec().GetMatch()
		tools := match.GetTools()
		if len(tools) == 0 || slices.Contains(tools, anyTool) {
			tools = []string{anyTool}
		}
		for _, tool := range slices.Compact(slices.Sorted(slices.Values(tools))) {
			key := toolKey{match.GetServer(), tool}
			b.byTool[key] = append(b.byTool[key], ranked{rank, p})
		}
	}
	return b
}

// matching appends to into the policies that are about a tool, in order of their names.
func (b *Bundle) matching(into []*Compiled, server, tool string) []*Compiled {
	if b == nil {
		return into
	}
	lists := [4][]ranked{
		b.byTool[toolKey{server, tool}],
		b.byTool[toolKey{server, anyTool}],
		b.byTool[toolKey{anyServer, tool}],
		b.byTool[toolKey{anyServer, anyTool}],
	}
	if tool == anyTool { // no tool has this name; it would find the same lists twice
		lists[0], lists[2] = nil, nil
	}
	if server == anyServer {
		lists[0], lists[1] = nil, nil
	}
	for {
		least := -1
		for i, list := range lists {
			if len(list) > 0 && (least < 0 || list[0].rank < lists[least][0].rank) {
				least = i
			}
		}
		if least < 0 {
			return into
		}
		into = append(into, lists[least][0].policy)
		lists[least] = lists[least][1:]
	}
}

// Matches says whether any policy is about the tool; where none is, the relation alone decides.
func (b *Bundle) Matches(server, tool string) bool {
	var few [4]*Compiled
	return len(b.matching(few[:0], server, tool)) > 0
}
