package rpc

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"headgate.dev/libs/policy"
)

// mostAtOnce is how many relations of one person are asked together, as many as one call may ask for.
const mostAtOnce = 50

// pending is one call of a batch that is being decided.
type pending struct {
	bundle   *policy.Bundle
	request  *policy.Request
	decision policy.Decision
}

// asked are the relations that the calls of a batch ask for, each answered once. Safe for concurrent use.
type asked struct {
	h *Handler

	mu    sync.Mutex
	known map[subject]map[policy.Relationship]bool
}

type subject struct{ tenant, person string }

func subjectOf(request *policy.Request) subject {
	return subject{request.Tenant, request.Principal.Name}
}

// first asks together, for each person, what the rules want to know of all their calls. What cannot be answered so is asked again by the call that needs it,
// which then says why.
func (a *asked) first(ctx context.Context, calls []*pending) {
	wanted := map[subject]map[policy.Relationship]bool{}
	for _, c := range calls {
		if len(c.decision.Asks) == 0 {
			continue
		}
		who := subjectOf(c.request)
		for _, one := range c.decision.Asks {
			if wanted[who] == nil {
				wanted[who] = map[policy.Relationship]bool{}
			}
			wanted[who][one] = true
		}
	}
	var asking errgroup.Group
	asking.SetLimit(atOnce)
	for who, set := range wanted {
		var some []policy.Relationship
		for one := range set {
			if some = append(some, one); len(some) == mostAtOnce {
				part := some
				some = nil
				asking.Go(func() error { a.ask(ctx, who, part); return nil })
			}
		}
		if len(some) > 0 {
			asking.Go(func() error { a.ask(ctx, who, some); return nil })
		}
	}
	_ = asking.Wait() // none of them fails
}

func (a *asked) ask(ctx context.Context, who subject, relationships []policy.Relationship) {
	if held, err := a.h.related(ctx, who.tenant, who.person, relationships); err == nil {
		a.keep(who, relationships, held)
	}
}

func (a *asked) keep(who subject, relationships []policy.Relationship, held []bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[who] == nil {
		a.known[who] = map[policy.Relationship]bool{}
	}
	for i, one := range relationships {
		a.known[who][one] = held[i]
	}
}

// recall is what is known of some relations, if all of them are.
func (a *asked) recall(who subject, relationships []policy.Relationship) ([]bool, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	held := make([]bool, len(relationships))
	for i, one := range relationships {
		says, known := a.known[who][one]
		if !known {
			return nil, false
		}
		held[i] = says
	}
	return held, true
}

// of answers what one call asks for.
func (a *asked) of(ctx context.Context, request *policy.Request) func([]policy.Relationship) ([]bool, error) {
	ask := a.h.asking(ctx, request)
	return func(relationships []policy.Relationship) ([]bool, error) {
		who := subjectOf(request)
		if held, known := a.recall(who, relationships); known {
			return held, nil
		}
		held, err := ask(relationships)
		if err == nil && len(held) == len(relationships) {
			a.keep(who, relationships, held)
		}
		return held, err
	}
}

// settle finishes the calls whose rules ask for relations.
func (b *batch) settle(ctx context.Context, calls []*pending) {
	a := &asked{h: b.h, known: map[subject]map[policy.Relationship]bool{}}
	a.first(ctx, calls)
	for _, c := range calls {
		if c.request != nil {
			c.decision = vouched(ctx, c.bundle, c.request, c.bundle.SettleFrom(c.decision, c.request, a.of(ctx, c.request)))
		}
	}
}
