package entitlement

import (
	"context"
	"time"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/policy"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/relations"
	"headgate.dev/services/authz/internal/tenants"
)

// Call is one call that somebody would make.
type Call struct {
	Person string
	// Agent is the agent in between; empty for none.
	Agent        string
	Server, Tool string
}

// Relation asks OpenFGA about one call: the person's right and, with an agent, the smaller of both, if the agent may act for the person at all.
func Relation(ctx context.Context, s tenants.Snapshot, c Call, now time.Time) (policy.Relation, error) {
	q := inquiry{tool: c.Tool, server: c.Server, now: now}
	mine := q.add(relations.User(c.Person), relations.PersonPaths(s.Directory, c.Person))
	var theirs []candidate
	delegated := -1
	if c.Agent != "" {
		theirs = q.add(relations.Agent(c.Agent), relations.AgentPaths(s.Directory, c.Agent))
		if relations.Delegated(s.Directory, c.Agent, c.Person) {
			delegated = q.ask(relations.User(c.Person), relations.CanActFor, relations.Agent(c.Agent))
		}
	}
	answers, err := q.answers(ctx, s.Store)
	if err != nil {
		return policy.Relation{}, err
	}
	person := q.relation(mine, relations.PersonBlocks(s.Directory, c.Person), answers)
	switch {
	case c.Agent == "":
		return person, nil
	case delegated < 0 || !answers[delegated]:
		return policy.Smaller(person, policy.Relation{Reason: faultv1.Reason_REASON_AGENT}), nil
	}
	return policy.Smaller(person, q.relation(theirs, relations.AgentBlocks(s.Directory, c.Agent), answers)), nil
}

// inquiry gathers the questions about one tool, to ask them together.
type inquiry struct {
	server, tool string
	now          time.Time
	questions    []openfga.Question
}

// candidate is a path that would give the right, and the question that confirms it.
type candidate struct {
	path relations.Path
	at   int
}

// add asks about the paths that lead to the tool.
func (q *inquiry) add(who string, paths []relations.Path) []candidate {
	var found []candidate
	for _, p := range unexpired(paths, q.now) {
		if p.Server == q.server && (p.Tool == q.tool || p.Tool == relations.AllTools) {
			found = append(found, candidate{p, q.ask(who, confirming(p), about(p).kind+":"+object(p))})
		}
	}
	return found
}

// confirming is the relation that a path gives to who is a member of the tenant.
func confirming(p relations.Path) string {
	switch {
	case p.Tool == relations.AllTools && p.Call:
		return relations.CanCallAll
	case p.Tool == relations.AllTools && p.If != nil:
		return relations.ConditionalAll
	case p.Tool == relations.AllTools:
		return relations.CanSeeAll
	case p.Call:
		return relations.CallGranted
	case p.If != nil:
		return relations.ConditionalGranted
	}
	return relations.SeeGranted
}

func (q *inquiry) ask(user, relation, object string) int {
	q.questions = append(q.questions, openfga.Question{User: user, Relation: relation, Object: object})
	return len(q.questions) - 1
}

// answers asks OpenFGA, unless the directory leaves nothing to ask: then nothing is granted, whatever OpenFGA would say.
func (q *inquiry) answers(ctx context.Context, store *openfga.Store) ([]bool, error) {
	if len(q.questions) == 0 {
		return nil, nil
	}
	return store.Check(ctx, q.questions, q.now)
}

// relation is the strongest of the paths that OpenFGA holds, unless a block list wins over them, found as the edge finds it.
func (q *inquiry) relation(candidates []candidate, blocks []relations.Block, answers []bool) policy.Relation {
	var held []relations.Path
	for _, c := range candidates {
		if answers[c.at] {
			held = append(held, c.path)
		}
	}
	return policy.NewEntitlements(entitlements(held, blocks)).Lookup(q.server, q.tool, q.now)
}
