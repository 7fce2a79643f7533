package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"headgate.dev/libs/resource"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/headgate/internal/admin"
)

// ownerLabel says which source declares a resource, as the repository that it is applied from. What has one is changed by that source alone.
const ownerLabel = "headgate-owner"

// tenantKind is never pruned: with a tenant goes everything in it.
const tenantKind = "Tenant"

// identified names a resource among all.
type identified struct{ kind, tenant, name string }

func identify(o resource.Object) identified {
	return identified{o.GetKind(), o.GetMetadata().GetTenant(), o.GetMetadata().GetName()}
}

// leftovers are what the owner has in the tenants of the objects and does not declare any more, in the order in which they can go: what refers to
// others first.
func (s *session) leftovers(ctx context.Context, objects []resource.Object, owner string) ([]resource.Object, error) {
	declared, tenants := map[identified]bool{}, map[string]bool{}
	for _, object := range objects {
		declared[identify(object)] = true
		if tenant := object.GetMetadata().GetTenant(); tenant != "" {
			tenants[tenant] = true
		}
	}
	kinds := resource.Kinds()
	slices.SortStableFunc(kinds, func(a, b string) int {
		return slices.Index(admin.Order(), resource.Owner(b)) - slices.Index(admin.Order(), resource.Owner(a))
	})
	var out []resource.Object
	for _, kind := range kinds {
		if kind == tenantKind {
			continue
		}
		o, err := s.owner(resource.Owner(kind))
		if err != nil {
			return nil, err
		}
		for _, tenant := range slices.Sorted(maps.Keys(tenants)) {
			there, err := o.List(ctx, kind, tenant)
			if err != nil {
				return nil, err
			}
			for _, object := range there {
				if object.GetMetadata().GetLabels()[ownerLabel] == owner && !declared[identify(object)] {
					out = append(out, object)
				}
			}
		}
	}
	return out, nil
}

// prune removes what the owner does not declare any more.
func (s *session) prune(ctx context.Context, objects []resource.Object, owner string, dryRun bool) ([]*resourcev1.Change, error) {
	gone, err := s.leftovers(ctx, objects, owner)
	if err != nil {
		return nil, err
	}
	changes := make([]*resourcev1.Change, 0, len(gone))
	for _, object := range gone {
		meta := object.GetMetadata()
		if !dryRun {
			o, err := s.owner(resource.Owner(object.GetKind()))
			if err != nil {
				return changes, err
			}
			if err := o.Delete(ctx, object.GetKind(), meta.GetTenant(), meta.GetName(), admin.Claim{Owner: owner}); err != nil {
				return changes, fmt.Errorf("remove %s %s: %w", object.GetKind(), meta.GetName(), err)
			}
		}
		changes = append(changes, &resourcev1.Change{
			Kind: object.GetKind(), Tenant: meta.GetTenant(), Name: meta.GetName(), Version: meta.GetVersion(), Action: resourcev1.Action_ACTION_DELETED,
		})
	}
	return changes, nil
}
