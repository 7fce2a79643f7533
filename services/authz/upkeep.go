package authz

import (
	"context"
	"sync"
	"time"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/openfga"
)

const (
	// pollEvery is how often the database is asked for policies that another replica wrote.
	pollEvery = 500 * time.Millisecond
	// pollStale is how old the last answer may be. Policies that may have changed unseen are not vouched for.
	pollStale = 5 * time.Second
)

// poll takes over what other replicas write.
func (a *Authz) poll(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	broken := false
	for {
		err := a.policies.Refresh(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			a.polled.beat(time.Now())
			broken = false
		case !broken:
			a.deps.Log.ErrorContext(ctx, "policies could not be read again", "cause", err)
			broken = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
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
