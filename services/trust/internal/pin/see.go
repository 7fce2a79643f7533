package pin

import "maps"

// Kind says how a definition drifted.
type Kind string

// How definitions drift.
const (
	KindAdded        Kind = "added"
	KindChanged      Kind = "changed"
	KindRemoved      Kind = "removed"
	KindRestored     Kind = "restored"
	KindInstructions Kind = "instructions-changed"
)

// Drift is one difference between a look and the one before, on a server of which something was approved.
type Drift struct {
	Tool     string // empty for the instructions
	Kind     Kind
	Old, New string // hashes; Old is the approved one where there is one
	// Alert is whether it touches what was approved or is served.
	Alert bool
}

// See is the server after a look, and what drifted. What a server shows is never approved by being seen.
func (s Server) See(l Listing) (Server, []Drift) {
	before := make(map[string]Definition, len(s.Definitions))
	for _, d := range s.Definitions {
		before[d.Name] = d
	}
	next := s
	next.Looked = true
	next.SeenInstructions, next.InstructionsProblem = l.Instructions, l.InstructionsProblem
	next.Definitions = make([]Definition, 0, len(l.Tools))
	missing := maps.Clone(before)
	for _, shown := range merged(l.Tools) {
		next.Definitions = append(next.Definitions, Definition{Name: shown.Name, Approved: before[shown.Name].Approved, Seen: &shown})
		delete(missing, shown.Name)
	}
	for _, d := range s.Definitions { // in their old order, so that the list stays stable
		if _, gone := missing[d.Name]; gone && d.Approved != nil {
			next.Definitions = append(next.Definitions, Definition{Name: d.Name, Approved: d.Approved})
		}
	}
	if !s.Ever {
		return next, nil
	}
	return next, drifts(s, next, before, missing)
}

// merged takes a name that was shown twice as one definition that can never be approved: neither is the right one.
func merged(tools []Shown) []Shown {
	at := make(map[string]int, len(tools))
	out := make([]Shown, 0, len(tools))
	for _, tool := range tools {
		first, twice := at[tool.Name]
		if !twice {
			at[tool.Name] = len(out)
			out = append(out, tool)
			continue
		}
		out[first].Hash = HashText(out[first].Hash + tool.Hash)
		out[first].Problem = "the server shows two tools of this name"
	}
	return out
}

func drifts(s, next Server, before, missing map[string]Definition) []Drift {
	var out []Drift
	for _, now := range next.Definitions {
		was, known := before[now.Name]
		if drift, any := drifted(s, next, was, known, now); any {
			out = append(out, drift)
		}
	}
	for _, d := range s.Definitions {
		if _, gone := missing[d.Name]; gone && d.Approved == nil {
			out = append(out, Drift{Tool: d.Name, Kind: KindRemoved, Old: d.Seen.Hash})
		}
	}
	if changed := s.SeenInstructions != next.SeenInstructions; s.Looked && changed || !s.Looked && next.SeenInstructions != next.Instructions {
		out = append(out, Drift{
			Kind: KindInstructions, Old: HashText(s.Instructions), New: HashText(next.SeenInstructions),
			Alert: next.SeenInstructions != next.Instructions,
		})
	}
	return out
}

// drifted compares one definition before and after a look.
func drifted(s, next Server, was Definition, known bool, now Definition) (Drift, bool) {
	if now.Seen == nil {
		return Drift{Tool: now.Name, Kind: KindRemoved, Old: now.Approved.Hash, Alert: true}, s.State(was) != Gone
	}
	if was.Seen != nil && was.Seen.Hash == now.Seen.Hash {
		return Drift{}, false
	}
	if now.Approved == nil {
		if !known {
			return Drift{Tool: now.Name, Kind: KindAdded, New: now.Seen.Hash, Alert: true}, true
		}
		return Drift{Tool: now.Name, Kind: KindChanged, Old: was.Seen.Hash, New: now.Seen.Hash}, true
	}
	if now.Seen.Hash != now.Approved.Hash {
		return Drift{Tool: now.Name, Kind: KindChanged, Old: now.Approved.Hash, New: now.Seen.Hash, Alert: true}, true
	}
	restored := Drift{Tool: now.Name, Kind: KindRestored, New: now.Seen.Hash}
	if was.Seen != nil {
		restored.Old = was.Seen.Hash
	}
	return restored, s.Looked && next.State(now) == OK
}
