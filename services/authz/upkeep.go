package authz

import (
	"context"
	"errors"
	"sync"
	"time"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/relations"
	"headgate.dev/services/authz/internal/upkeep"
)

const (
	// pollEvery is how often the database is asked for policies that another replica wrote.
	pollEvery = 500 * time.Millisecond
	// pollStale is how old the last answer may be. Policies that may have changed unseen are not vouched for.
	pollStale = 5 * time.Second
)

// store opens a tenant's store, asked by the model that was chosen for it.
func (a *Authz) store(ctx context.Context, tenant string) (*openfga.Store, error) {
	store, err := a.fga.Store(ctx, tenant)
	if err != nil {
		return nil, err
	}
	pins, err := a.pins.All(ctx)
	if err != nil {
		return nil, err
	}
	if chosen := pins[tenant].Model; chosen != "" && chosen != store.Model() {
		pinned, err := store.With(ctx, chosen)
		if !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) && !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			return pinned, err
		}
		// A model never changes, so this choice can never serve again: kept, it would block the tenant for ever.
		a.deps.Log.ErrorContext(ctx, "the pinned model cannot be used, the program's own is", "tenant", tenant, "model", chosen, "cause", err)
		if err := a.handler.Abandoned(tenant, chosen, store.Model()); err != nil {
			return nil, err
		}
		if err := a.pins.Clear(ctx, tenant); err != nil {
			return nil, err
		}
	}
	return store, nil
}

// follow brings tenants to the models that another process chose. A failure is OpenFGA's and no reason to doubt the database: it is tried again.
func (a *Authz) follow(ctx context.Context) error {
	pins, err := a.pins.All(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pollStale/2) // so that a slow OpenFGA does not make the policies stale
	defer cancel()
	for tenant, pin := range pins {
		err := a.tenants.Following(ctx, tenant, pin.Model, func(ctx context.Context, of *openfga.Store) (*openfga.Store, error) { return of.With(ctx, pin.Model) })
		if err != nil && ctx.Err() == nil {
			a.deps.Log.WarnContext(ctx, "the pinned model is not in use yet", "tenant", tenant, "model", pin.Model, "cause", err)
		}
	}
	return nil
}

// poll takes over what other replicas write.
func (a *Authz) poll(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	broken := false
	for {
		err := errors.Join(a.policies.Refresh(ctx), a.owned.Refresh(ctx), a.follow(ctx))
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			a.polled.beat(time.Now())
			broken = false
		case !broken:
			a.deps.Log.ErrorContext(ctx, "the database could not be read again", "cause", err)
			broken = true
		}
		if err == nil {
			a.end(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// nightly compares the relations with the directory once a night, as soon as they have been built.
func (a *Authz) nightly(ctx context.Context) error {
	if a.built(ctx) != nil {
		return nil // ctx ended before
	}
	night := upkeep.Nightly{
		Config: a.cfg.Relations, DB: a.db, Now: a.deps.Now, Log: a.deps.Log, Inspect: a.handler.Inspect,
		Tenants: func() []string { return a.tenants.View().Tenants() },
	}
	return night.Run(ctx)
}

// drifted records what was mended by itself.
func (a *Authz) drifted(tenant string, diff relations.Difference) {
	if err := a.handler.Drifted(tenant, diff); err != nil {
		a.deps.Log.Error("drift of relations not recorded", "tenant", tenant, "cause", err)
	}
}

// heartbeat remembers when something answered last.
type heartbeat struct {
	mu   sync.Mutex
	last time.Time
}

func (h *heartbeat) beat(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = now
}

func (h *heartbeat) fresh(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.last.IsZero() && now.Sub(h.last) < pollStale
}

// relationsServer is the OpenFGA that Run starts.
type relationsServer struct {
	started chan struct{}
	server  *openfga.Server
}

func (r *relationsServer) set(server *openfga.Server) {
	r.server = server
	close(r.started)
}

func (r *relationsServer) get(ctx context.Context) (*openfga.Server, error) {
	select {
	case <-r.started:
		return r.server, nil
	case <-ctx.Done():
		return nil, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "OpenFGA has not been started yet.").Because(ctx.Err())
	}
}

// Store opens a tenant's store as soon as OpenFGA runs.
func (r *relationsServer) Store(ctx context.Context, tenant string) (*openfga.Store, error) {
	server, err := r.get(ctx)
	if err != nil {
		return nil, err
	}
	return server.Store(ctx, tenant)
}

func stale() error {
	return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Identity or the database of policies has not answered for some seconds. Check both.")
}
