// Package pin decides what of a server may be served: it holds what was approved against what the server shows now. It is pure: it takes values
// and the time, and returns values; looking, storing and telling are done around it.
package pin

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"
)

// Standing is what a server is allowed as a whole. The values are those of the API.
type Standing int

// The standings of a server.
const (
	Pending     Standing = 1 // nothing that it shows at its present address was approved
	Approved    Standing = 2
	Quarantined Standing = 3
)

// State is what one definition is allowed. The values are those of the API.
type State int

// The states of a definition. Only OK is served.
const (
	New     State = 1 // shown, never approved
	OK      State = 2 // shown as it was approved
	Changed State = 3 // shown otherwise than it was approved, or from another address
	Gone    State = 4 // approved, but not shown any more
)

// Shown is one definition as a server showed it.
type Shown struct {
	Name string
	Hash string
	Raw  []byte
	// Problem says why it can never be approved as it is, in words; empty when nothing stands against it.
	Problem string
}

// Listing is all that a server showed at one look.
type Listing struct {
	Tools        []Shown
	Instructions string
	// InstructionsProblem is Problem for the instructions.
	InstructionsProblem string
}

// Approval is one definition as it was approved.
type Approval struct {
	Hash string
	Raw  []byte
	By   string
	At   time.Time
}

// Definition is one tool: what was approved of it and what is shown of it, one of them at least.
type Definition struct {
	Name     string
	Approved *Approval
	Seen     *Shown
}

// Server is what is known of one server. Its methods return changed copies; what they share is never written to.
type Server struct {
	// URL is where it is declared to be now, ApprovedURL where it was when its pins were made. Pins hold for one address only.
	URL, ApprovedURL string
	// Ever is whether anything was ever approved; from then on nothing is approved by itself.
	Ever       bool
	Quarantine *Quarantine
	// Looked is whether the server was seen at URL.
	Looked              bool
	Definitions         []Definition // in the server's order, then what is gone
	Instructions        string       // as approved
	SeenInstructions    string
	InstructionsProblem string
}

// Quarantine stops a whole server.
type Quarantine struct{ Reason, By string }

// Standing is what the server is allowed as a whole.
func (s Server) Standing() Standing {
	switch {
	case s.Quarantine != nil:
		return Quarantined
	case s.Ever && s.ApprovedURL == s.URL:
		return Approved
	}
	return Pending
}

// State is what a definition of this server is allowed. What was not seen where the server is now counts as changed.
func (s Server) State(d Definition) State {
	switch {
	case d.Approved == nil:
		return New
	case s.Looked && d.Seen == nil:
		return Gone
	case !s.Looked, s.ApprovedURL != s.URL, d.Seen.Problem != "", d.Seen.Hash != d.Approved.Hash:
		return Changed
	}
	return OK
}

// Moved is the server declared at another address: nothing was seen there yet.
func (s Server) Moved(url string) Server {
	if s.URL == url {
		return s
	}
	s.URL = url
	s.Looked = false
	s.SeenInstructions, s.InstructionsProblem = "", ""
	kept := make([]Definition, 0, len(s.Definitions))
	for _, d := range s.Definitions {
		if d.Approved != nil {
			kept = append(kept, Definition{Name: d.Name, Approved: d.Approved})
		}
	}
	s.Definitions = kept
	return s
}

// Quarantined is the server stopped until it is approved again.
func (s Server) Quarantined(reason, by string) Server {
	s.Quarantine = &Quarantine{Reason: reason, By: by}
	return s
}

// SeenHash is the hash over all that the server shows now, the same for the same definitions in any order; empty before the first look.
func (s Server) SeenHash() string {
	if !s.Looked {
		return ""
	}
	var lines []string
	for _, d := range s.Definitions {
		if d.Seen != nil {
			lines = append(lines, d.Name+"\x00"+d.Seen.Hash+"\n")
		}
	}
	slices.Sort(lines)
	if s.SeenInstructions != "" {
		lines = append(lines, "\x00"+HashText(s.SeenInstructions)+"\n")
	}
	return HashText(strings.Join(lines, ""))
}

// HashText is the hash of a text in the form that definitions' hashes have.
func HashText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Find returns the definition of that name.
func (s Server) Find(name string) (Definition, bool) {
	for _, d := range s.Definitions {
		if d.Name == name {
			return d, true
		}
	}
	return Definition{}, false
}

// Same reports whether two states are the same to everyone who decides by them or looks at them.
func Same(a, b Server) bool {
	if len(a.Definitions) != len(b.Definitions) || (a.Quarantine == nil) != (b.Quarantine == nil) || a.Quarantine != nil && *a.Quarantine != *b.Quarantine {
		return false
	}
	for i := range a.Definitions {
		if !a.Definitions[i].same(b.Definitions[i]) {
			return false
		}
	}
	return a.URL == b.URL && a.ApprovedURL == b.ApprovedURL && a.Ever == b.Ever && a.Looked == b.Looked &&
		a.Instructions == b.Instructions && a.SeenInstructions == b.SeenInstructions && a.InstructionsProblem == b.InstructionsProblem
}

func (d Definition) same(o Definition) bool {
	if d.Name != o.Name || (d.Approved == nil) != (o.Approved == nil) || (d.Seen == nil) != (o.Seen == nil) {
		return false
	}
	if d.Approved != nil && (d.Approved.Hash != o.Approved.Hash || d.Approved.By != o.Approved.By || !d.Approved.At.Equal(o.Approved.At)) {
		return false
	}
	return d.Seen == nil || d.Seen.Hash == o.Seen.Hash && d.Seen.Problem == o.Seen.Problem
}
