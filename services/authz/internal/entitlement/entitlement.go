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

// Rights are what one principal may see and call. They are shared and never changed.
type Rights struct {
	Entitlements []*authzv1.Entitlement
	// Delegators are the people that an agent may act for, sorted.
	Delegators []string
}

// Resolver resolves rights and remembers them until the directory or the relations change. Safe for concurrent use.
type Resolver struct {
	tenants Tenants
	now     clock.Now

	mu    sync.Mutex
	known map[principal]remembered
}

type principal struct {
	tenant, kind, name string
}

func (p principal) object() string { return p.kind + ":" + p.name }

type remembered struct {
	generation int64
	rights     Rights
}

// mostKnown bounds what is remembered.
const mostKnown = 20000

// NewResolver returns a resolver that remembers nothing yet.
func NewResolver(t Tenants, now clock.Now) *Resolver {
	return &Resolver{tenants: t, now: now, known: map[principal]remembered{}}
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
	s, err := r.tenants.Get(who.tenant)
	if fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		return Rights{}, nil
	}
	if err != nil {
		return Rights{}, err
	}
	now := r.now()
	if rights, ok := r.recall(who, s.Generation); ok {
		return rights.at(now), nil
	}
	rights, whole, err := ask(ctx, s, who, now)
	if err != nil {
		return Rights{}, err
	}
	switch {
	case !s.Settled: // the next state is on its way
	case !whole:
		r.tenants.Doubt(s)
	default:
		r.remember(who, s.Generation, rights)
	}
	return rights, nil
}

// ask returns the paths that OpenFGA holds as well, and whether those are all.
func ask(ctx context.Context, s tenants.Snapshot, who principal, now time.Time) (Rights, bool, error) {
	var rights Rights
	paths, delegators := relations.PersonPaths(s.Directory, who.name), []string(nil)
	if who.kind == relations.TypeAgent {
		paths, delegators = relations.AgentPaths(s.Directory, who.name), relations.Delegators(s.Directory, who.name)
	}
	paths = unexpired(paths, now)
	lists, err := list(ctx, s, who, paths, now)
	if err != nil {
		return Rights{}, false, err
	}
	held := slices.DeleteFunc(slices.Clone(paths), func(p relations.Path) bool { return !lists.hold(p) })
	rights.Entitlements = entitlements(held)
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

func entitlements(paths []relations.Path) []*authzv1.Entitlement {
	es := make([]*authzv1.Entitlement, 0, len(paths))
	for _, p := range paths {
		e := &authzv1.Entitlement{Server: p.Server, Tool: p.Tool, CanSee: true, CanCall: p.Call, Via: p.Via}
		if !p.Until.IsZero() {
			e.Until = timestamppb.New(p.Until)
		}
		es = append(es, e)
	}
	return es
}

// at leaves out what has ended since it was resolved.
func (r Rights) at(now time.Time) Rights {
	ended := func(e *authzv1.Entitlement) bool { return e.GetUntil() != nil && !now.Before(e.GetUntil().AsTime()) }
	if !slices.ContainsFunc(r.Entitlements, ended) {
		return r
	}
	return Rights{Entitlements: slices.DeleteFunc(slices.Clone(r.Entitlements), ended), Delegators: r.Delegators}
}

func (r *Resolver) recall(who principal, generation int64) (Rights, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.known[who]
	return known.rights, ok && known.generation == generation
}

func (r *Resolver) remember(who principal, generation int64, rights Rights) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= mostKnown {
		clear(r.known)
	}
	r.known[who] = remembered{generation, rights}
}
