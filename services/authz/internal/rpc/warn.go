package rpc

import (
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
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
	around := policy.Surroundings{Roles: asked.GetRoles(), Servers: h.Catalogue.Servers(tenant)}
	if known, ok := h.Tenants.View().Tenant(tenant); ok {
		around.Roles = append(known.Roles(), around.Roles...)
		around.Groups, around.People = known.Groups(), known.People()
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
