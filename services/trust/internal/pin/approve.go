package pin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Initially is the name under which a server that says "approve: initial" approves itself, once.
const Initially = "initial"

// named is how many definitions a sentence lists before it only counts.
const named = 5

// Request asks to approve what a server shows.
type Request struct {
	Tools []string // none means all that it shows
	Seen  string   // the SeenHash that the person looked at; empty asks for no guard
	By    string
	At    time.Time
}

// Approve pins what the server shows now, or refuses all of it. It lifts a quarantine and accepts a new address; then only what this approval
// names stays approved.
func (s Server) Approve(server string, r Request) (Server, []Drift, error) {
	if !s.Looked {
		return s, nil, fault.New(faultv1.Reason_REASON_CONFLICT,
			"Server %s has not shown anything yet, so there is nothing to approve. Look at its note, and try again when it answers.", server)
	}
	if r.Seen != "" && r.Seen != s.SeenHash() {
		return s, nil, fault.New(faultv1.Reason_REASON_CONFLICT,
			"Server %s shows something else than what you looked at, so nothing was approved. Look at it again.", server).
			With("seen", s.SeenHash())
	}
	chosen, err := s.choose(server, r.Tools)
	if err != nil {
		return s, nil, err
	}
	if err := s.approvable(server, chosen, len(r.Tools) == 0); err != nil {
		return s, nil, err
	}
	next, changes := s.pinned(chosen, len(r.Tools) == 0, r)
	return next, changes, nil
}

// Initial pins what a server shows first, if nothing of it was ever approved. What can never be approved stays out.
func (s Server) Initial(at time.Time) (Server, []Drift, bool) {
	if s.Ever || !s.Looked || s.Quarantine != nil {
		return s, nil, false
	}
	chosen := map[string]bool{}
	for _, d := range s.Definitions {
		if d.Seen != nil && d.Seen.Problem == "" {
			chosen[d.Name] = true
		}
	}
	next, changes := s.pinned(chosen, true, Request{By: Initially, At: at})
	return next, changes, true
}

// choose names the definitions to approve: those asked for, or all.
func (s Server) choose(server string, tools []string) (map[string]bool, error) {
	chosen := map[string]bool{}
	if len(tools) == 0 {
		for _, d := range s.Definitions {
			chosen[d.Name] = true
		}
		return chosen, nil
	}
	var unknown []string
	for _, tool := range tools {
		if _, known := s.Find(tool); !known {
			unknown = append(unknown, tool)
		}
		chosen[tool] = true
	}
	if len(unknown) > 0 {
		return nil, fault.NotFound("Server %s shows no tool %s. Nothing was approved.", server, list(unknown))
	}
	return chosen, nil
}

// approvable refuses definitions with a problem, and with everything the instructions.
func (s Server) approvable(server string, chosen map[string]bool, all bool) error {
	var bad []string
	for _, d := range s.Definitions {
		if chosen[d.Name] && d.Seen != nil && d.Seen.Problem != "" {
			bad = append(bad, fmt.Sprintf("%q (%s)", d.Name, d.Seen.Problem))
		}
	}
	if len(bad) > 0 {
		hint := "Have the server's owner change them."
		if all {
			hint = "Have the server's owner change them, or name the other tools to approve only those."
		}
		return fault.New(faultv1.Reason_REASON_INSPECTION, "Server %s shows tools that can never be approved: %s. Nothing was approved. %s", server, list(bad), hint)
	}
	return nil
}

// pinned makes the pins. Instructions are approved with everything, never with single tools.
func (s Server) pinned(chosen map[string]bool, all bool, r Request) (Server, []Drift) {
	keep := s.Quarantine == nil && s.ApprovedURL == s.URL
	next := s
	next.Ever, next.ApprovedURL, next.Quarantine = true, s.URL, nil
	switch {
	case all && s.InstructionsProblem == "":
		next.Instructions = s.SeenInstructions
	case !keep:
		next.Instructions = ""
	}
	next.Definitions = make([]Definition, 0, len(s.Definitions))
	var changes []Drift
	for _, d := range s.Definitions {
		now := d
		switch {
		case chosen[d.Name] && d.Seen != nil:
			now.Approved = &Approval{Hash: d.Seen.Hash, Raw: d.Seen.Raw, By: r.By, At: r.At}
			if keep && s.State(d) == OK {
				now.Approved = d.Approved // approved as it is: who did it first stays on the record
			}
		case chosen[d.Name], !keep:
			now.Approved = nil
		}
		if change, any := repinned(d, now); any {
			changes = append(changes, change)
		}
		if now.Seen != nil || now.Approved != nil {
			next.Definitions = append(next.Definitions, now)
		}
	}
	return next, changes
}

func repinned(was, now Definition) (Drift, bool) {
	var old, pinned string
	if was.Approved != nil {
		old = was.Approved.Hash
	}
	if now.Approved != nil {
		pinned = now.Approved.Hash
	}
	return Drift{Tool: was.Name, Kind: KindChanged, Old: old, New: pinned}, was.Approved != now.Approved
}

// Note says in words what stands against the server or waits for a person; empty when all is well.
func (s Server) Note() string {
	var notes []string
	if s.Quarantine != nil {
		reason := s.Quarantine.Reason
		if reason == "" {
			reason = "no reason given"
		}
		notes = append(notes, fmt.Sprintf("Quarantined by %s: %s.", s.Quarantine.By, strings.TrimSuffix(reason, ".")))
	}
	if s.Ever && s.ApprovedURL != s.URL {
		notes = append(notes, fmt.Sprintf("Its address changed from %s to %s since it was approved: approve it again.", s.ApprovedURL, s.URL))
	}
	var bad []string
	for _, d := range s.Definitions {
		if d.Seen != nil && d.Seen.Problem != "" {
			bad = append(bad, fmt.Sprintf("%q (%s)", d.Name, d.Seen.Problem))
		}
	}
	if len(bad) > 0 {
		notes = append(notes, fmt.Sprintf("Tools that can never be approved: %s.", list(bad)))
	}
	switch {
	case !s.Looked:
	case s.InstructionsProblem != "":
		notes = append(notes, fmt.Sprintf("Its instructions can never be approved: %s.", s.InstructionsProblem))
	case s.Ever && s.SeenInstructions != s.Instructions:
		notes = append(notes, fmt.Sprintf("Its instructions differ from the approved ones and wait for approval; it shows %s.", excerpt(s.SeenInstructions)))
	}
	return strings.Join(notes, " ")
}

func list(items []string) string {
	if len(items) > named {
		return strings.Join(items[:named], ", ") + fmt.Sprintf(" and %d more", len(items)-named)
	}
	return strings.Join(slices.Clone(items), ", ")
}

// excerpt quotes a text of the server so that it cannot be taken for ours.
func excerpt(text string) string {
	const most = 400
	runes := []rune(text)
	if len(runes) > most {
		return fmt.Sprintf("%+q and %d more characters", string(runes[:most]), len(runes)-most)
	}
	return fmt.Sprintf("%+q", text)
}
