package rpc

import (
	"slices"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/services/authz/internal/directory"
)

// mostWarnings is how many of them an answer has.
const mostWarnings = 1000

// warnings holds policies against the directory, the servers and the policies in force, and against what is declared along with them.
func (h *Handler) warnings(given []*policy.Compiled, inForce []*authzv1.Policy, asked *authzv1.ApplyRequest) []*authzv1.Warning {
	fresh := map[string][]*policy.Compiled{}
	var tenants []string
	for _, c := range given {
		if fresh[c.Tenant()] == nil {
			tenants = append(tenants, c.Tenant())
		}
		fresh[c.Tenant()] = append(fresh[c.Tenant()], c)
	}
	var out []*authzv1.Warning
	for _, tenant := range tenants {
		out = append(out, policy.Warnings(fresh[tenant], h.surroundings(tenant, inForce, asked))...)
	}
	return out[:min(len(out), mostWarnings)]
}

func (h *Handler) surroundings(tenant string, inForce []*authzv1.Policy, asked *authzv1.ApplyRequest) policy.Surroundings {
	around := policy.Surroundings{Roles: asked.GetRoles(), Groups: asked.GetGroups(), Servers: h.Catalogue.Servers(tenant)}
	if known, ok := h.Tenants.View().Tenant(tenant); ok {
		around.Roles = append(known.Roles(), around.Roles...)
		around.Groups, around.People = append(known.Groups(), around.Groups...), known.People()
		around.Approvers = approvers(known, asked)
	}
	if state, err := h.Tenants.Get(tenant); err == nil && state.Store != nil {
		around.Knows = state.Store.Knows
	}
	for _, name := range asked.GetServers() {
		if _, known := around.Servers[name]; !known {
			around.Servers[name] = nil
		}
	}
	for _, p := range inForce {
		if p.GetMetadata().GetTenant() == tenant {
			around.InForce = append(around.InForce, p)
		}
	}
	return around
}

// approvers counts who can approve today. Of what is declared along, nobody knows yet who that will be.
func approvers(known *directory.Tenant, asked *authzv1.ApplyRequest) func(kind, name string) (int, bool) {
	return func(kind, name string) (int, bool) {
		switch {
		case kind == "group" && known.Declared("group", name) && !slices.Contains(asked.GetGroups(), name):
			return len(known.Members(name)), true
		case kind == "role" && slices.Contains(known.Roles(), name) && !slices.Contains(asked.GetRoles(), name):
			return len(known.Holders(name)), true
		}
		return 0, false
	}
}
