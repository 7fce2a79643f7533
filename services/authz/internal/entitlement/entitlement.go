// Package entitlement resolves what a person or an agent may see and call: the paths that the directory shows, as far as OpenFGA holds them.
package entitlement

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	"headgate.dev/services/authz/internal/relations"
	"headgate.dev/services/authz/internal/tenants"
)

// Tenants says what may be decided by.
type Tenants interface {
	// Get returns a tenant of this moment; fault NOT_FOUND when there is none, UNAVAILABLE when nothing may be decided by what is known.
	Get(tenant string) (tenants.Snapshot, error)
	// Doubt says that OpenFGA holds less than the snapshot's directory.
	Doubt(s tenants.Snapshot)
}

// Rights are what one principal may see and call.
type Rights struct {
	Entitlements []*authzv1.Entitlement
	// Delegators are the people that an agent may act for, sorted.
	Delegators []string
}

// Resolver resolves rights and remembers them until the directory or the relations change. Safe for concurrent use.
type Resolver struct {
	tenants  Tenants
	now      clock.Now
	holdings *policy.Holdings

	mu    sync.Mutex
	known map[principal]remembered
}

type principal struct {
	tenant, kind, name string
}

func (p principal) object() string { return p.kind + ":" + p.name }

type remembered struct {
	generation int64
	held       holding
}

// holding is what a principal has relations to, shared with those who hold the same. It never changes.
type holding struct {
	entitlements *policy.Entitlements
	delegators   []string
}

// mostKnown bounds what is remembered.
const mostKnown = 20000

// NewResolver returns a resolver that remembers nothing yet.
func NewResolver(t Tenants, now clock.Now) *Resolver {
	return &Resolver{tenants: t, now: now, holdings: policy.NewHoldings(), known: map[principal]remembered{}}
}

// Person resolves a person's rights. Somebody who is not there, or whose tenant is not, has none.
func (r *Resolver) Person(ctx context.Context, tenant, name string) (Rights, error) {
	return r.resolve(ctx, principal{tenant, relations.TypeUser, name})
}

// Agent resolves an agent's own rights and for whom it may act.
func (r *Resolver) Agent(ctx context.Context, tenant, name string) (Rights, error) {
	return r.resolve(ctx, principal{tenant, relations.TypeAgent, name})
}

func (r *Resolver) resolve(ctx context.Context, who principal) (Rights, error) {
	h, err := r.held(ctx, who)
	if err != nil {
		return Rights{}, err
	}
	return Rights{Entitlements: h.entitlements.List(r.now()), Delegators: h.delegators}, nil
}

// held resolves what a principal has relations to; what has ended since it was resolved is still in it.
func (r *Resolver) held(ctx context.Context, who principal) (holding, error) {
	s, err := r.tenants.Get(who.tenant)
	if fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		return holding{entitlements: policy.NewEntitlements(nil)}, nil
	}
	if err != nil {
		return holding{}, err
	}
	if h, ok := r.recall(who, s.Rights); ok {
		return h, nil
	}
	rights, whole, err := ask(ctx, s, who, r.now())
	if err != nil {
		return holding{}, err
	}
	h := holding{r.holdings.Entitlements(rights.Entitlements), rights.Delegators}
	switch {
	case !s.Settled: // the next state is on its way
	case !whole:
		r.tenants.Doubt(s)
	default:
		r.remember(who, s.Rights, h)
	}
	return h, nil
}

// ask returns the paths that OpenFGA holds as well, and whether those are all.
func ask(ctx context.Context, s tenants.Snapshot, who principal, now time.Time) (Rights, bool, error) {
	var rights Rights
	paths, blocks, delegators := relations.PersonPaths(s.Directory, who.name), relations.PersonBlocks(s.Directory, who.name), []string(nil)
	if who.kind == relations.TypeAgent {
		paths, blocks = relations.AgentPaths(s.Directory, who.name), relations.AgentBlocks(s.Directory, who.name)
		delegators = relations.Delegators(s.Directory, who.name)
	}
	paths = unexpired(paths, now)
	lists, err := list(ctx, s, who, paths, now)
	if err != nil {
		return Rights{}, false, err
	}
	held := slices.DeleteFunc(slices.Clone(paths), func(p relations.Path) bool { return !lists.hold(p) })
	rights.Entitlements = entitlements(held, blocks)
	if len(delegators) == 0 {
		return rights, len(held) == len(paths), nil
	}
	people, err := s.Store.People(ctx, relations.TypeAgent, who.name, relations.Delegator, now)
	if err != nil {
		return Rights{}, false, err
	}
	slices.Sort(people)
	rights.Delegators = slices.DeleteFunc(slices.Clone(delegators), func(name string) bool {
		_, ok := slices.BinarySearch(people, name)
		return !ok
	})
	return rights, len(held) == len(paths) && len(rights.Delegators) == len(delegators), nil
}

func unexpired(paths []relations.Path, now time.Time) []relations.Path {
	return slices.DeleteFunc(paths, func(p relations.Path) bool { return !p.Until.IsZero() && !now.Before(p.Until) })
}

// entitlements are what somebody has paths to and what they are kept from. The directory alone says the latter: OpenFGA holds it as well, never sooner.
func entitlements(paths []relations.Path, blocks []relations.Block) []*authzv1.Entitlement {
	es := make([]*authzv1.Entitlement, 0, len(paths)+len(blocks))
	for _, p := range paths {
		e := &authzv1.Entitlement{Server: p.Server, Tool: p.Tool, CanSee: true, CanCall: p.Call, CallIf: p.If, Via: p.Via}
		if !p.Until.IsZero() {
			e.Until = timestamppb.New(p.Until)
		}
		es = append(es, e)
	}
	for _, b := range blocks {
		e := &authzv1.Entitlement{Server: b.Server, Tool: b.Tool, Blocked: "call", Via: b.Via}
		if b.Hides {
			e.Blocked = "see"
		}
		if !b.Until.IsZero() {
			e.Until = timestamppb.New(b.Until)
		}
		es = append(es, e)
	}
	return es
}

func (r *Resolver) recall(who principal, generation int64) (holding, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.known[who]
	return known.held, ok && known.generation == generation
}

func (r *Resolver) remember(who principal, generation int64, h holding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= mostKnown {
		clear(r.known)
	}
	r.known[who] = remembered{generation, h}
}
