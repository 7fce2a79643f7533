// Package decide judges calls on the edge's replica of authz: policies compiled once, entitlements resolved once, so that the ordinary call
// crosses no network. It says the same as authz because both use libs/policy.
package decide

import (
	"context"
	"encoding/json"
	"sync"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// Facts reads one value that a policy must know, through a read-only tool of the call's server.
type Facts interface {
	// Read returns raw JSON. An error means that the fact is not known, which blocks.
	Read(ctx context.Context, q guard.Question, need policy.FactNeed) (json.RawMessage, error)
}

// Decider implements guard.Decider on what authz pushed. Safe for concurrent use.
type Decider struct {
	relations *Relations
	facts     Facts

	mu        sync.RWMutex
	tenants   map[string]*rules
	directory int64
}

// rules are a tenant's policies.
type rules struct {
	compiled map[string]*policy.Compiled
	// broken are policies that this edge cannot compile, so it lets nothing of the tenant pass that they may be about.
	broken map[string]*authzv1.Policy
	bundle *policy.Bundle
}

// New makes a decider without policies. Facts may be set later with Use, before the first call.
func New(relations *Relations) *Decider {
	return &Decider{relations: relations, tenants: map[string]*rules{}}
}

// Use sets where facts come from.
func (d *Decider) Use(facts Facts) { d.facts = facts }

// Apply takes one message of authz's stream.
func (d *Decider) Apply(m *authzv1.WatchResponse) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.directory = m.GetDirectoryRevision()
	if m.GetSnapshot() {
		d.tenants = map[string]*rules{}
		d.relations.forget("", "", "")
	}
	touched := map[string]bool{}
	for _, p := range m.GetUpserts() {
		tenant := p.GetMetadata().GetTenant()
		touched[tenant] = true
		d.of(tenant).put(p)
	}
	for _, gone := range m.GetDeletions() {
		touched[gone.GetTenant()] = true
		of := d.of(gone.GetTenant())
		delete(of.compiled, gone.GetName())
		delete(of.broken, gone.GetName())
	}
	for tenant := range touched {
		d.of(tenant).build()
	}
	for _, who := range m.GetChanged() {
		d.relations.forget(who.GetTenant(), who.GetPerson(), who.GetAgent())
	}
	return nil
}

// Directory is the revision of the directory that the relations were built from.
func (d *Decider) Directory() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.directory
}

func (d *Decider) of(tenant string) *rules {
	one := d.tenants[tenant]
	if one == nil {
		one = &rules{compiled: map[string]*policy.Compiled{}, broken: map[string]*authzv1.Policy{}}
		d.tenants[tenant] = one
	}
	return one
}

func (r *rules) put(p *authzv1.Policy) {
	name := p.GetMetadata().GetName()
	compiled, err := policy.Compile(p)
	if err != nil {
		r.broken[name] = p
		delete(r.compiled, name)
		return
	}
	r.compiled[name] = compiled
	delete(r.broken, name)
}

func (r *rules) build() {
	all := make([]*policy.Compiled, 0, len(r.compiled))
	for _, one := range r.compiled {
		all = append(all, one)
	}
	r.bundle = policy.NewBundle(all)
}

// snapshot answers the tenant's bundle, and a policy that could not be compiled and is about this tool.
func (d *Decider) snapshot(tenant, server, tool string) (*policy.Bundle, string) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	of := d.tenants[tenant]
	if of == nil || of.bundle == nil {
		return policy.NewBundle(nil), ""
	}
	for name, p := range of.broken {
		if about(p.GetSpec().GetMatch(), server, tool) {
			return of.bundle, name
		}
	}
	return of.bundle, ""
}

func about(m *authzv1.Match, server, tool string) bool {
	if m.GetServer() != "*" && m.GetServer() != server {
		return false
	}
	for _, one := range m.GetTools() {
		if one == "*" || one == tool {
			return true
		}
	}
	return len(m.GetTools()) == 0
}

// Decide implements guard.Decider.
func (d *Decider) Decide(ctx context.Context, q guard.Question) (policy.Decision, error) {
	bundle, broken := d.snapshot(q.Caller.Tenant, q.Tool.Server.Name, q.Tool.Name)
	if broken != "" {
		return policy.Decision{}, fault.New(faultv1.Reason_REASON_RULE_ERROR,
			"The policy %s cannot be evaluated by this gateway, so the call was refused. Tell your administrator.", broken)
	}
	request := &policy.Request{
		Tenant: q.Caller.Tenant, Principal: q.Caller.Principal, Agent: policy.Agent{Name: q.Caller.Agent},
		Server: policy.Server{Name: q.Tool.Server.Name, Labels: q.Tool.Server.Labels},
		Tool:   policy.Tool{Name: q.Tool.Name, Labels: q.Tool.Labels, Annotations: q.Tool.Annotations},
		Args:   q.Arguments, Decoded: q.Decoded, At: q.At, SourceIP: q.SourceIP, Relation: q.Tool.Relation,
	}
	if bundle.Matches(q.Tool.Server.Name, q.Tool.Name) && q.Tool.Relation.Call {
		if err := d.learn(ctx, bundle, q, request); err != nil {
			return policy.Decision{}, err
		}
	}
	decision := bundle.Evaluate(request)
	decision.ID = "dec_" + q.CallID
	return decision, nil
}

// learn reads the facts that the matching policies need. What cannot be read is left out, and the rules that need it block.
func (d *Decider) learn(ctx context.Context, bundle *policy.Bundle, q guard.Question, request *policy.Request) error {
	needs, err := bundle.Needs(request)
	if err != nil {
		return err
	}
	for _, need := range needs {
		value, err := d.facts.Read(ctx, q, need)
		if err != nil {
			return fault.New(faultv1.Reason_REASON_FACT_UNAVAILABLE,
				"%s was refused because the fact %s could not be read first: %s", q.Tool.Name, need.Key, fault.From(err).Sentence).Because(err)
		}
		if request.Facts == nil {
			request.Facts = map[string]any{}
		}
		request.Facts[need.Key] = value
	}
	return nil
}
