package entitlement

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/relations"
	"headgate.dev/services/authz/internal/tenants"
)

// question is one bulk question: to which objects of a type the principal has a relation.
type question struct{ kind, relation string }

type answer struct {
	question
	ids []string
}

// lists are OpenFGA's answers; empty for who is not a member of the tenant.
type lists map[question]map[string]bool

// list asks what the paths need, all at once.
func list(ctx context.Context, s tenants.Snapshot, who principal, paths []relations.Path, now time.Time) (lists, error) {
	questions := map[question]bool{}
	for _, p := range paths {
		questions[about(p)] = true
	}
	if len(questions) == 0 {
		return nil, nil
	}
	found := make(chan answer, len(questions))
	member := false
	asking, ctx := errgroup.WithContext(ctx)
	asking.Go(func() error {
		yes, err := s.Store.Check(ctx, []openfga.Question{{User: who.object(), Relation: relations.Member, Object: relations.Organization(who.tenant)}}, now)
		member = err == nil && yes[0]
		return err
	})
	for q := range questions {
		asking.Go(func() error {
			ids, err := s.Store.Objects(ctx, who.object(), q.relation, q.kind, now)
			found <- answer{q, ids}
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	close(found)
	answers := lists{}
	for f := range found {
		set := make(map[string]bool, len(f.ids))
		for _, id := range f.ids {
			set[id] = member
		}
		answers[f.question] = set
	}
	return answers, nil
}

// about is the bulk question whose answer confirms a path.
func about(p relations.Path) question {
	q := question{relations.TypeTool, relations.Viewer}
	if p.Tool == relations.AllTools {
		q.kind = relations.TypeServer
	}
	switch {
	case p.Call:
		q.relation = relations.Caller
	case p.If != nil:
		q.relation = relations.Conditional
	}
	return q
}

// object is the id of the object that a path leads to.
func object(p relations.Path) string {
	if p.Tool == relations.AllTools {
		return p.Server
	}
	return p.Server + "/" + p.Tool
}

func (l lists) hold(p relations.Path) bool { return l[about(p)][object(p)] }
