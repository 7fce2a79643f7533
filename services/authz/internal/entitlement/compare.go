package entitlement

import (
	"context"
	"fmt"
	"slices"
	"time"

	"headgate.dev/libs/fault"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/relations"
	"headgate.dev/services/authz/internal/tenants"
)

// Compare resolves the rights of a tenant's people and agents, at most so many of both, as they are and as another store would have them. It says of how
// many, and in words what would differ and of whom that is not known because the store in use does not answer. That the other answers is needed of all.
func Compare(ctx context.Context, s tenants.Snapshot, other *openfga.Store, most int, now time.Time) (compared int, differences []string, err error) {
	then := s
	then.Store = other
	var all []principal
	for _, name := range s.Directory.Agents() {
		all = append(all, principal{s.Directory.Name(), relations.TypeAgent, name})
	}
	for _, name := range s.Directory.People() {
		all = append(all, principal{s.Directory.Name(), relations.TypeUser, name})
	}
	for _, who := range all[:min(most, len(all))] {
		after, _, err := ask(ctx, then, who, now)
		if err != nil {
			return 0, nil, err
		}
		before, _, err := ask(ctx, s, who, now)
		switch {
		case ctx.Err() != nil:
			return 0, nil, err
		case err != nil:
			differences = append(differences, called(who)+" cannot be compared: "+fault.From(err).Sentence)
		default:
			compared++
			differences = append(differences, differing(who, before, after)...)
		}
	}
	return compared, differences, nil
}

// called is a principal in the words of a difference.
func called(who principal) string {
	if who.kind == relations.TypeAgent {
		return "agent " + who.name
	}
	return who.name
}

func differing(who principal, before, after Rights) []string {
	name := called(who)
	var out []string
	lost := func(from, in []string, verb string) {
		for _, one := range from {
			if !slices.Contains(in, one) {
				out = append(out, name+" "+verb+" "+one)
			}
		}
	}
	lost(paths(before.Entitlements), paths(after.Entitlements), "loses")
	lost(paths(after.Entitlements), paths(before.Entitlements), "gains")
	lost(before.Delegators, after.Delegators, "may no longer act for")
	return out
}

func paths(of []*authzv1.Entitlement) []string {
	all := make([]string, len(of))
	for i, e := range of {
		all[i] = fmt.Sprintf("%s.%s (%s)", e.GetServer(), e.GetTool(), e.GetVia())
		if e.GetBlocked() != "" {
			all[i] = "what keeps from " + all[i]
		}
	}
	return all
}
