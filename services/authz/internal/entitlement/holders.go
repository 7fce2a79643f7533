package entitlement

import (
	"context"
	"time"

	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/relations"
	"headgate.dev/services/authz/internal/tenants"
)

// Holder is a principal and one path to tools of a server.
type Holder struct {
	Kind, Name string // relations.TypeUser or TypeAgent
	Path       relations.Path
}

// After says where a page of holders begins: after a principal, or with the first when Kind is empty. All paths of one principal are on one page.
type After struct {
	Kind, Name string
	// Most is how many paths end the page.
	Most int
}

// Holders lists, by the directory, who has a path to a server or to one of its tools: people by name, then agents. more says that there are others behind.
func Holders(s tenants.Snapshot, server, tool string, after After, now time.Time) (page []Holder, more bool) {
	add := func(kind, name string, paths []relations.Path) bool {
		var found []Holder
		for _, p := range unexpired(paths, now) {
			if p.Server == server && (tool == "" || p.Tool == tool || p.Tool == relations.AllTools) {
				found = append(found, Holder{kind, name, p})
			}
		}
		if len(found) > 0 && len(page) >= after.Most {
			return false
		}
		page = append(page, found...)
		return true
	}
	unblocked := func(paths []relations.Path, blocks []relations.Block) []relations.Path {
		return relations.Unblocked(paths, tool, blocks, now)
	}
	if after.Kind != relations.TypeAgent {
		for _, name := range s.Directory.People() {
			if name > after.Name && !add(relations.TypeUser, name, unblocked(relations.PersonPaths(s.Directory, name), relations.PersonBlocks(s.Directory, name))) {
				return page, true
			}
		}
		after.Name = ""
	}
	for _, name := range s.Directory.Agents() {
		if name > after.Name && !add(relations.TypeAgent, name, unblocked(relations.AgentPaths(s.Directory, name), relations.AgentBlocks(s.Directory, name))) {
			return page, true
		}
	}
	return page, false
}

// Confirm leaves out what OpenFGA does not hold.
func Confirm(ctx context.Context, s tenants.Snapshot, page []Holder, now time.Time) ([]Holder, error) {
	if len(page) == 0 {
		return nil, nil
	}
	questions := make([]openfga.Question, 0, len(page))
	for _, h := range page {
		questions = append(questions, openfga.Question{
			User: h.Kind + ":" + h.Name, Relation: confirming(h.Path), Object: about(h.Path).kind + ":" + object(h.Path),
		})
	}
	answers, err := s.Store.Check(ctx, questions, now)
	if err != nil {
		return nil, err
	}
	var held []Holder
	for i, h := range page {
		if answers[i] {
			held = append(held, h)
		}
	}
	return held, nil
}
