package rpc

import (
	"context"
	"encoding/json"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/rpc"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/services/authz/internal/directory"
	"headgate.dev/services/authz/internal/entitlement"
)

// Decide implements AuthzServiceHandler. It is the edge's own decision, made on the state of this moment: the relation first, then the tenant's rules.
func (h *Handler) Decide(ctx context.Context, req *connect.Request[authzv1.DecideRequest]) (*connect.Response[authzv1.DecideResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	args, err := arguments(req.Msg.GetArguments())
	if err != nil {
		return nil, err
	}
	state, err := h.Tenants.Get(tenant)
	if err != nil {
		return nil, err
	}
	now := h.Now()
	relation, err := entitlement.Relation(ctx, state, entitlement.Call{
		Person: req.Msg.GetPerson(), Agent: req.Msg.GetAgent(), Server: req.Msg.GetServer(), Tool: req.Msg.GetTool(),
	}, now)
	if err != nil {
		return nil, err
	}
	decision := h.Policies.Bundle(tenant).Evaluate(&policy.Request{
		Tenant: tenant, Principal: person(state.Directory, req.Msg.GetPerson()), Agent: policy.Agent{Name: req.Msg.GetAgent()},
		Server: policy.Server{Name: req.Msg.GetServer()}, Tool: policy.Tool{Name: req.Msg.GetTool()},
		Args: args, Facts: req.Msg.GetFacts().AsMap(), At: now, SourceIP: req.Msg.GetSourceIp(), Relation: relation,
	})
	decision.ID = ids.Prefixed("dec")
	return connect.NewResponse(&authzv1.DecideResponse{Decision: decision.Proto()}), nil
}

// arguments refuses what an MCP server could read otherwise than the rules do.
func arguments(raw []byte) (json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	value, err := policy.Decode(raw)
	if err != nil {
		return nil, fault.Invalid("The arguments are not one strict JSON value: %s. Send an object without duplicate keys.", err)
	}
	if _, ok := value.(map[string]any); !ok {
		return nil, fault.Invalid("The arguments are not a JSON object. Send the tool's arguments by name, or none.")
	}
	return raw, nil
}

// person is who the rules see; somebody who is not in the directory has a name alone.
func person(t *directory.Tenant, name string) policy.Principal {
	p, _ := t.Person(name)
	return policy.Principal{
		Name: name, Email: p.Email, Department: p.Department, Roles: p.Roles, Groups: p.Groups, Teams: p.Teams, Attributes: p.Attributes,
	}
}
