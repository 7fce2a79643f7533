package rpc

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/rpc"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/directory"
	"headgate.dev/services/authz/internal/entitlement"
)

// Decide implements AuthzServiceHandler. It is the edge's own decision, made on the state of this moment: the relation first, then the tenant's rules.
func (h *Handler) Decide(ctx context.Context, req *connect.Request[authzv1.DecideRequest]) (*connect.Response[authzv1.DecideResponse], error) {
	bundle, request, err := h.question(ctx, req.Msg, h.Now())
	if err != nil {
		return nil, err
	}
	decision := h.judge(ctx, bundle, request)
	decision.ID = ids.Prefixed("dec")
	return connect.NewResponse(&authzv1.DecideResponse{Decision: decision.Proto()}), nil
}

// Explain implements AuthzServiceHandler.
func (h *Handler) Explain(ctx context.Context, req *connect.Request[authzv1.ExplainRequest]) (*connect.Response[authzv1.ExplainResponse], error) {
	at := h.Now()
	if req.Msg.GetAt() != nil {
		at = req.Msg.GetAt().AsTime()
	}
	bundle, request, err := h.question(ctx, req.Msg.GetCall(), at)
	if err != nil {
		return nil, err
	}
	if err := h.declared(request); err != nil {
		return nil, err
	}
	if country := req.Msg.GetCountry(); country != "" {
		request.Country = country
	}
	if refused := h.unserved(request); refused != nil {
		return connect.NewResponse(&authzv1.ExplainResponse{Decision: refused.Proto()}), nil
	}
	bundle.Settle(request, h.asking(ctx, request)) // brings the relations that Explain judges by
	decision, rules := bundle.Explain(request)
	decision = vouched(ctx, bundle, request, decision)
	return connect.NewResponse(&authzv1.ExplainResponse{Decision: decision.Proto(), Rules: rules}), nil
}

// declared refuses a question about somebody who is not in the tenant: it is a slip of the asker, and no answer about rights.
func (h *Handler) declared(request *policy.Request) error {
	known, ok := h.Tenants.View().Tenant(request.Tenant)
	if !ok {
		return nil // the question found the tenant: it is going just now, and nobody has rights in it
	}
	var said string
	switch who, agent := request.Principal.Name, request.Agent.Name; {
	case !known.Declared("person", who):
		said = policy.Unknown("person", who, known.People())
	case agent != "" && !known.HasAgent(agent):
		said = policy.Unknown("agent", agent, known.Agents())
	default:
		return nil
	}
	return fault.New(faultv1.Reason_REASON_NOT_FOUND, "In tenant %s %s.", request.Tenant, said)
}

// judge decides a call: what an edge does not serve is blocked before any rule looks at it.
func (h *Handler) judge(ctx context.Context, bundle *policy.Bundle, request *policy.Request) policy.Decision {
	if refused := h.unserved(request); refused != nil {
		return *refused
	}
	return vouched(ctx, bundle, request, bundle.Settle(request, h.asking(ctx, request)))
}

// unserved is the block of what is not an approved tool that its server shows, in the edge's order: that there is no such tool comes before the relation,
// how it stands after it. It is nil where an edge would ask the rules.
func (h *Handler) unserved(request *policy.Request) *policy.Decision {
	err := h.Catalogue.Refuses(request.Tenant, request.Server.Name, request.Tool.Name)
	if err == nil {
		return nil
	}
	why := fault.From(err)
	if why.Reason != faultv1.Reason_REASON_UNKNOWN_TOOL && !request.Relation.See {
		return nil
	}
	return &policy.Decision{Effect: policy.Block, Reason: why.Reason, Sentence: why.Sentence, Via: request.Relation.Via}
}

// vouched says of a refusal which rules nearly matched and, for everybody but the services, which read facts themselves, which facts a decision has from the
// question alone and, where it lacks one, that nothing is decided.
func vouched(ctx context.Context, bundle *policy.Bundle, request *policy.Request, d policy.Decision) policy.Decision {
	d.Near = bundle.Near(request, d)
	if !request.Relation.Call || rpc.CallerFrom(ctx).Person == nil {
		return d
	}
	if d.Reason == faultv1.Reason_REASON_FACT_UNAVAILABLE && len(d.NeedsFacts) > 0 {
		d.Sentence = request.Tool.Name + " on " + request.Server.Name + " is undecided: rule " + d.Rule + " needs the fact " + strings.Join(d.NeedsFacts, ", ") +
			", which the gateway reads before a call and which was not given; give it under facts, or make the call."
	}
	d.GivenFacts = bundle.Given(request)
	return d
}

// question is what there is to decide, by the state of this moment and as if it were the given time.
func (h *Handler) question(ctx context.Context, asked *authzv1.DecideRequest, at time.Time) (*policy.Bundle, *policy.Request, error) {
	tenant, err := rpc.Tenant(ctx, asked.GetTenant())
	if err != nil {
		return nil, nil, err
	}
	args, err := arguments(asked.GetArguments())
	if err != nil {
		return nil, nil, err
	}
	if err := h.Clock.Check(); err != nil {
		return nil, nil, h.Alarm.Raise(tenant, err)
	}
	if err := h.servers(ctx); err != nil {
		return nil, nil, h.Alarm.Raise(tenant, err)
	}
	state, err := h.Tenants.Get(tenant)
	if err != nil {
		return nil, nil, h.Alarm.Raise(tenant, err)
	}
	relation, err := entitlement.Relation(ctx, state, entitlement.Call{
		Person: asked.GetPerson(), Agent: asked.GetAgent(), Server: asked.GetServer(), Tool: asked.GetTool(),
	}, at)
	if err != nil {
		return nil, nil, h.Alarm.Raise(tenant, err)
	}
	bundle := h.Policies.Bundle(tenant)
	request := h.request(tenant, state.Directory, asked, args, at)
	request.Relation = relation.For(request)
	h.count(bundle, request)
	return bundle, request, nil
}

// request is what rules see of a call, all but the relation.
func (h *Handler) request(tenant string, known *directory.Tenant, asked *authzv1.DecideRequest, args json.RawMessage, at time.Time) *policy.Request {
	server, tool, trust := h.Catalogue.Look(tenant, asked.GetServer(), asked.GetTool())
	return &policy.Request{
		Tenant: tenant, Principal: person(known, asked.GetPerson()), Agent: policy.Agent{Name: asked.GetAgent()}, Server: server, Tool: tool,
		Args: args, Facts: asked.GetFacts().AsMap(), At: at, SourceIP: asked.GetSourceIp(),
		Session: policy.SessionOf(asked.GetSession()), Device: policy.DeviceOf(asked.GetDevice()), Country: asked.GetCountry(),
		Purpose: cmp.Or(asked.GetSession().GetPurpose(), asked.GetPurpose()), Trust: trust,
	}
}

// count judges a call by what the edges have let pass, with this one. It is not counted: nothing is done here.
func (h *Handler) count(bundle *policy.Bundle, request *policy.Request) {
	for _, need := range bundle.CountNeeds(request) {
		if request.Counts == nil {
			request.Counts = map[string]float64{}
		}
		request.Counts[need.Key] = h.Counts.Sum(need.Bucket, need.Window, request.At) + need.Amount
	}
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
		Clearances: p.Clearances,
	}
}
