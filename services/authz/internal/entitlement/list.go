package entitlement

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/relations"
)

// question is one bulk question: to which objects of a type the principal has a relation.
type question struct{ kind, relation string }

type answer struct {
	question
	ids []string
}

// lists are OpenFGA's answers.
type lists map[question]map[string]bool

// list asks what the paths need, at once.
func list(ctx context.Context, store *openfga.Store, who principal, paths []relations.Path, now time.Time) (lists, error) {
	answers := lists{}
	for _, p := range paths {
		answers[about(p)] = nil
	}
	found := make(chan answer, len(answers))
	asking, ctx := errgroup.WithContext(ctx)
	for q := range answers {
		asking.Go(func() error {
			ids, err := store.Objects(ctx, who.kind+":"+who.name, q.relation, q.kind, now)
			found <- answer{q, ids}
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	close(found)
	for f := range found {
		set := make(map[string]bool, len(f.ids))
		for _, id := range f.ids {
			set[id] = true
		}
		answers[f.question] = set
	}
	return answers, nil
}

// about is the question whose answer confirms a path.
func about(p relations.Path) question {
	switch {
	case p.Tool == relations.AllTools && p.Call:
		return question{relations.TypeServer, relations.CanCallAll}
	case p.Tool == relations.AllTools:
		return question{relations.TypeServer, relations.CanSeeAll}
	case p.Call:
		return question{relations.TypeTool, relations.CallGranted}
	}
	return question{relations.TypeTool, relations.SeeGranted}
}

// object is the id of the object that a path leads to.
func object(p relations.Path) string {
	if p.Tool == relations.AllTools {
		return p.Server
	}
	return p.Server + "/" + p.Tool
}

func (l lists) hold(p relations.Path) bool { return l[about(p)][object(p)] }
