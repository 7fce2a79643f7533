package authz

import (
	"context"
	"strings"
	"sync"
	"time"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

const (
	// sweepEvery is how often relations to resources are looked through for people, groups and tenants that are gone, and for what has ended.
	sweepEvery = time.Minute
	// sweepAfter is how old a relation is that may be swept away: a younger one may name somebody of whom this process has not heard yet.
	sweepAfter = time.Minute
)

// endings are the people, groups and tenants that identity said are gone. What applications said of them ends, so that nobody who gets the name later has it.
type endings struct {
	mu    sync.Mutex
	gone  []ending
	swept time.Time
}

// ending is a subject, as person:ana; or a whole tenant where it is empty.
type ending struct {
	tenant, subject string
	at              time.Time
}

func (e *endings) hear(m *identityv1.WatchResponse, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, d := range m.GetDeletions() {
		switch d.GetKind() {
		case "Tenant":
			e.gone = append(e.gone, ending{d.GetName(), "", now})
		case "Person", "Group":
			e.gone = append(e.gone, ending{d.GetTenant(), strings.ToLower(d.GetKind()) + ":" + d.GetName(), now})
		}
	}
}

// take returns what is to be ended, and whether it is time to sweep.
func (e *endings) take(now time.Time) ([]ending, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	gone, due := e.gone, now.Sub(e.swept) >= sweepEvery
	e.gone = nil
	if due {
		e.swept = now
	}
	return gone, due
}

func (e *endings) again(one ending) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone = append(e.gone, one)
}

// end takes out the relations of whom is gone. What fails is tried again.
func (a *Authz) end(ctx context.Context) {
	gone, due := a.endings.take(time.Now())
	view := a.tenants.View()
	for _, one := range gone {
		said := view.Resources(one.tenant)
		if one.subject == "" && len(said.All()) == 0 || one.subject != "" && !said.Names(one.subject) {
			continue
		}
		if err := a.handler.EndRelations(ctx, one.tenant, one.subject, one.at); err != nil {
			a.endings.again(one)
			a.deps.Log.WarnContext(ctx, "relations of whom is gone are not taken out yet", "tenant", one.tenant, "subject", one.subject, "cause", err)
		}
	}
	if due && a.heard() {
		a.sweep(ctx)
	}
}

// sweep finds what was missed while no process ran.
func (a *Authz) sweep(ctx context.Context) {
	view, before := a.tenants.View(), a.deps.Now().Add(-sweepAfter)
	for _, name := range view.Related() {
		err := a.handler.ExpireRelations(ctx, name)
		t, there := view.Tenant(name)
		if err == nil && !there {
			err = a.handler.EndRelations(ctx, name, "", before)
		}
		if there {
			for _, subject := range view.Resources(name).Subjects() {
				kind, who, _ := strings.Cut(subject, ":")
				if err == nil && kind != "role" && !t.Declared(kind, who) {
					err = a.handler.EndRelations(ctx, name, subject, before)
				}
			}
		}
		if err != nil {
			a.deps.Log.WarnContext(ctx, "relations of whom is gone are not taken out yet", "tenant", name, "cause", err)
		}
	}
}
