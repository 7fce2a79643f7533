// Package decide judges calls on the edge's replica of authz: policies compiled once, entitlements resolved once, so that the ordinary call
// crosses no network. It says the same as authz because both use libs/policy.
package decide

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

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

// Counter keeps the sums that counters and limits are judged by.
type Counter interface {
	// Add adds a call's amounts and answers the sums with them, by their keys. An error refuses the call; then nothing was added.
	Add(needs []policy.CountNeed, at time.Time) (sums map[string]float64, undo func(), err error)
}

// Countries knows in which country an address is.
type Countries interface {
	// Country is two capitals (ISO 3166); empty when it is not known.
	Country(address string) string
}

// Decider implements guard.Decider on what authz pushed. Safe for concurrent use.
type Decider struct {
	relations *Relations
	facts     Facts
	counter   Counter
	countries Countries

	applying  sync.Mutex // one message after the other
	mu        sync.RWMutex
	tenants   map[string]*rules
	directory int64
	version   atomic.Int64
}

// rules are a tenant's policies. They never change once they are in force.
type rules struct {
	compiled map[string]*policy.Compiled
	// broken are policies that this edge cannot compile, so it lets nothing of the tenant pass that they may be about.
	broken map[string]*authzv1.Policy
	bundle *policy.Bundle
	// calendars are the tenant's. One that this edge cannot read is left out, and the policies that name it are then broken.
	calendars policy.Calendars
}

// New makes a decider without policies. Facts may be set later with Use, before the first call.
func New(relations *Relations) *Decider {
	return &Decider{relations: relations, tenants: map[string]*rules{}}
}

// Use sets where facts come from.
func (d *Decider) Use(facts Facts) { d.facts = facts }

// Locate sets who knows countries, before the first call. Without it no country is known.
func (d *Decider) Locate(countries Countries) { d.countries = countries }

// Count sets who counts, before the first call.
func (d *Decider) Count(counter Counter) { d.counter = counter }

// Apply takes one message of authz's stream. Policies are compiled aside, so that calls go on by the last state until the next is in its place as a whole.
func (d *Decider) Apply(m *authzv1.WatchResponse) error {
	d.applying.Lock()
	defer d.applying.Unlock()
	next, changed := d.next(m)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.directory = m.GetDirectoryRevision()
	if changed {
		d.tenants = next
		d.version.Add(1)
	}
	if m.GetSnapshot() {
		d.relations.forget("", "", "")
	}
	for _, who := range m.GetChanged() {
		d.relations.forget(who.GetTenant(), who.GetPerson(), who.GetAgent())
	}
	return nil
}

// Version implements guard.Decider.
func (d *Decider) Version() int64 { return d.version.Load() }

// Directory is the revision of the directory that the relations were built from.
func (d *Decider) Directory() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.directory
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
	return d.decide(ctx, q, false)
}

// DecideReading judges a call that reads a fact: by all rules that read none, and without counting it.
func (d *Decider) DecideReading(ctx context.Context, q guard.Question) (policy.Decision, error) {
	q.Again = true
	return d.decide(ctx, q, true)
}

func (d *Decider) decide(ctx context.Context, q guard.Question, reading bool) (policy.Decision, error) {
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
		Session: q.Session, Device: q.Device, Purpose: q.Purpose, Trust: q.Tool.Trust, WithoutFacts: reading,
	}
	request.Relation = request.Relation.For(request)
	wants := bundle.Wants(q.Tool.Server.Name, q.Tool.Name)
	if wants.Country && d.countries != nil {
		request.Country = d.countries.Country(q.SourceIP)
	}
	if wants.Any && request.Relation.Call && !reading {
		if err := d.learn(ctx, bundle, q, request); err != nil {
			return policy.Decision{}, err
		}
	}
	undo, err := d.count(bundle, request, q.Again)
	if err != nil {
		return policy.Decision{}, err
	}
	var decision policy.Decision
	if wants.Relations {
		decision = bundle.Settle(request, d.relations.related(ctx, q.Caller))
	} else {
		decision = bundle.Evaluate(request)
	}
	decision.ID, decision.Near = "dec_"+q.CallID, bundle.Near(request, decision)
	if decision.Effect == policy.Block || decision.Effect == policy.Escalate {
		undo()
	}
	return decision, nil
}

// count adds the call to the sums that it is judged by; what it returns takes it out again. One that was counted before adds nothing to them.
func (d *Decider) count(bundle *policy.Bundle, request *policy.Request, again bool) (undo func(), err error) {
	needs := bundle.CountNeeds(request)
	if len(needs) == 0 {
		return func() {}, nil
	}
	for i := range needs {
		if again {
			needs[i].Amount = 0
		}
	}
	request.Counts, undo, err = d.counter.Add(needs, request.At)
	return undo, err
}

// factsWithin bounds the reading of all facts of a call together.
const factsWithin = 3 * time.Second

// learn reads the facts that the matching policies need, all at once. Where one cannot be read, the call is refused, unless only rules in shadow read it.
func (d *Decider) learn(ctx context.Context, bundle *policy.Bundle, q guard.Question, request *policy.Request) error {
	needs, err := bundle.Needs(request)
	if err != nil || len(needs) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, factsWithin)
	defer cancel()
	values, failed := make([]json.RawMessage, len(needs)), make([]error, len(needs))
	var reading sync.WaitGroup
	for i, need := range needs {
		reading.Go(func() { values[i], failed[i] = d.facts.Read(ctx, q, need) })
	}
	reading.Wait()
	request.Facts = make(map[string]any, len(needs))
	for i, need := range needs {
		switch {
		case failed[i] == nil:
			request.Facts[need.Key] = values[i]
		case !need.Shadow:
			return fault.New(faultv1.Reason_REASON_FACT_UNAVAILABLE,
				"%s was refused because the fact %s could not be read first: %s", q.Tool.Name, need.Key, fault.From(failed[i]).Sentence).Because(failed[i])
		}
	}
	return nil
}
