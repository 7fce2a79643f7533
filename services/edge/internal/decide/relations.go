package decide

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/flight"
	"headgate.dev/services/edge/internal/guard"
)

const (
	// patience bounds one question to authz.
	patience = 5 * time.Second
	// kept is how many principals' entitlements are remembered.
	kept = 50_000
	// relatedWithin bounds what a rule's relations may take: longer than authz gives itself, so that its own reason is heard.
	relatedWithin = 3 * time.Second
)

// Authz is what the edge asks of authz beyond its stream.
type Authz interface {
	Entitlements(ctx context.Context, r *connect.Request[authzv1.EntitlementsRequest]) (*connect.Response[authzv1.EntitlementsResponse], error)
	Related(ctx context.Context, r *connect.Request[authzv1.RelatedRequest]) (*connect.Response[authzv1.RelatedResponse], error)
}

// Agents says whether an agent may act at all.
type Agents interface {
	Agent(tenant, name string) bool
}

// Close ends the questions to authz that are under way and returns when they have ended. It is for after the last request.
func (r *Relations) Close() { r.asking.Close() }

// principal is a person or an agent of a tenant.
type principal struct{ tenant, person, agent string }

type resolved struct {
	entitlements *policy.Entitlements
	delegators   map[string]bool
}

// Relations remembers what authz resolved for each principal until authz says that it changed. Safe for concurrent use.
type Relations struct {
	authz    Authz
	agents   Agents
	asking   flight.Group[principal, *resolved]
	holdings *policy.Holdings

	mu      sync.RWMutex
	known   map[principal]*resolved
	reaches map[principal]*policy.Reach
	changes atomic.Int64
}

// NewRelations makes an empty memory.
func NewRelations(authz Authz, agents Agents) *Relations {
	return &Relations{authz: authz, agents: agents, holdings: policy.NewHoldings(), known: map[principal]*resolved{}, reaches: map[principal]*policy.Reach{}}
}

// Of resolves what a caller has relations to.
func (r *Relations) Of(ctx context.Context, c *guard.Caller) (*policy.Reach, error) {
	who := principal{c.Tenant, c.Person, c.Agent}
	if c.Agent == "" {
		r.mu.RLock()
		reach := r.reaches[who]
		r.mu.RUnlock()
		if reach != nil {
			return reach, nil
		}
	}
	person, err := r.resolve(ctx, principal{tenant: c.Tenant, person: c.Person})
	if err != nil {
		return nil, err
	}
	reach := &policy.Reach{Person: person.entitlements}
	if c.Agent == "" {
		r.mu.Lock()
		if r.known[who] == person { // nothing changed meanwhile
			r.reaches[who] = reach
		}
		r.mu.Unlock()
		return reach, nil
	}
	reach.Acting = true
	if !r.agents.Agent(c.Tenant, c.Agent) {
		reach.Barred = true
		return reach, nil
	}
	agent, err := r.resolve(ctx, principal{tenant: c.Tenant, agent: c.Agent})
	if err != nil {
		return nil, err
	}
	reach.Agent, reach.Barred = agent.entitlements, !agent.delegators[c.Person]
	return reach, nil
}

func (r *Relations) resolve(ctx context.Context, who principal) (*resolved, error) {
	r.mu.RLock()
	known := r.known[who]
	r.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	return r.asking.Do(ctx, who, patience, func(ctx context.Context) (*resolved, error) { return r.ask(ctx, who) })
}

// ask resolves anew until nothing changed in between: an answer from before a change must not outlive it.
func (r *Relations) ask(ctx context.Context, who principal) (*resolved, error) {
	request := &authzv1.EntitlementsRequest{Tenant: who.tenant}
	if who.agent != "" {
		request.Principal = &authzv1.EntitlementsRequest_Agent{Agent: who.agent}
	} else {
		request.Principal = &authzv1.EntitlementsRequest_Person{Person: who.person}
	}
	for range 5 {
		before := r.changes.Load()
		answer, err := r.authz.Entitlements(ctx, connect.NewRequest(request))
		if err != nil {
			if fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
				return &resolved{entitlements: policy.NewEntitlements(nil)}, nil
			}
			return nil, fault.New(faultv1.Reason_REASON_RELATION_UNAVAILABLE, "What you may use could not be looked up, so the call was refused. Try again in a moment.").Because(err)
		}
		got := &resolved{entitlements: r.holdings.Entitlements(answer.Msg.GetEntitlements()), delegators: map[string]bool{}}
		for _, name := range answer.Msg.GetDelegators() {
			got.delegators[name] = true
		}
		r.mu.Lock()
		if r.changes.Load() == before {
			if len(r.known) >= kept {
				clear(r.known)
				clear(r.reaches)
			}
			r.known[who] = got
			r.mu.Unlock()
			return got, nil
		}
		r.mu.Unlock()
	}
	return nil, fault.New(faultv1.Reason_REASON_STALE, "What you may use is changing right now, so the call was refused. Try again in a moment.")
}

// Generation changes whenever something that was resolved may not hold any more.
func (r *Relations) Generation() int64 { return r.changes.Load() }

// forget drops what changed; with neither person nor agent, all of a tenant; with no tenant, everything.
func (r *Relations) forget(tenant, person, agent string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes.Add(1)
	for who := range r.known {
		if (tenant == "" || who.tenant == tenant) && (person == "" && agent == "" || person != "" && who.person == person || agent != "" && who.agent == agent) {
			delete(r.known, who)
			delete(r.reaches, who)
		}
	}
}

// related asks authz for the relations of a caller's person. What it answers is believed for this call alone.
func (r *Relations) related(ctx context.Context, c *guard.Caller) func([]policy.Relationship) ([]bool, error) {
	return func(asked []policy.Relationship) ([]bool, error) {
		ctx, cancel := context.WithTimeout(ctx, relatedWithin)
		defer cancel()
		request := &authzv1.RelatedRequest{Tenant: c.Tenant, Person: c.Person}
		for _, one := range asked {
			request.Relationships = append(request.Relationships, &authzv1.Relationship{Object: one.Object, Relation: one.Relation})
		}
		answer, err := r.authz.Related(ctx, connect.NewRequest(request))
		switch {
		case err == nil:
			return answer.Msg.GetHeld(), nil
		case fault.Is(err, faultv1.Reason_REASON_INVALID): // the relations know no such object or relation
			return nil, errors.New(fault.From(err).Sentence)
		}
		return nil, errors.New("authz, which looks relations up, does not answer as it should")
	}
}
