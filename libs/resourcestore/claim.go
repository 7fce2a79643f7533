package resourcestore

import (
	"context"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// ownerLabel says which source declares a resource, as the repository that it is applied from. What has one is read only for everybody else.
const ownerLabel = "headgate-owner"

// unowned is the kind that no source owns: with a tenant goes everything in it.
const unowned = "Tenant"

// Claim is which source the caller acts for. The zero Claim is a person's own hands.
type Claim struct {
	Owner string
	// TakeOver changes what another source declares, which is then declared by Owner, or by nobody.
	TakeOver bool
}

type claimKey struct{}

// Acting says in the context of a caller which source they act for, as the request said it. Apply and Delete hold their changes against it.
func Acting(ctx context.Context, c Claim) context.Context {
	return context.WithValue(ctx, claimKey{}, c)
}

func claimOf(ctx context.Context) Claim {
	c, _ := ctx.Value(claimKey{}).(Claim)
	return c
}

// take checks that a resource may be changed, and labels its next state, which is nil for its end. current is nil for one that is not there yet.
func (c Claim) take(current, next resource.Object) error {
	object := next
	if object == nil {
		object = current
	}
	if object.GetKind() == unowned {
		return nil
	}
	if current != nil {
		if has := current.GetMetadata().GetLabels()[ownerLabel]; has != "" && has != c.Owner && !c.TakeOver {
			return fault.New(faultv1.Reason_REASON_CONFLICT, "%s is declared by %s, so nothing else changes it. Change it there, act for it with --owner %s, or take it over with --take-over.",
				resource.Key(current), has, has).With("owner", has)
		}
	}
	if next == nil {
		return nil
	}
	m := next.GetMetadata()
	if said := m.GetLabels()[ownerLabel]; said != "" && said != c.Owner && !c.TakeOver {
		return fault.New(faultv1.Reason_REASON_CONFLICT, "%s says that %s declares it. Apply it with --owner %s, or without the label %s.", resource.Key(next), said, said, ownerLabel)
	}
	delete(m.GetLabels(), ownerLabel)
	if c.Owner != "" {
		if m.Labels == nil {
			m.Labels = map[string]string{}
		}
		m.Labels[ownerLabel] = c.Owner
	}
	return nil
}
