package tenants

import (
	"context"
	"time"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/openfga"
)

// Use asks a tenant's store by another model from now on. Decisions go on by the one before until the other is in use. It returns when it is.
func (t *Tenants) Use(ctx context.Context, name string, store *openfga.Store) error {
	t.mu.Lock()
	held := t.held[name]
	if held == nil {
		t.mu.Unlock()
		return fault.NotFound("There is no tenant %s.", name)
	}
	done := make(chan mended, 1)
	held.next, held.recheck, held.waiting = store, true, append(held.waiting, done)
	t.mu.Unlock()
	t.wake()
	select {
	case m := <-done:
		return m.err
	case <-ctx.Done():
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The relations of tenant %s could not be brought to the model in time. It is tried on.", name).Because(ctx.Err())
	}
}

// Following brings a tenant to the model that another process pinned. A tenant that is asked by it already, or on its way there, is left alone.
func (t *Tenants) Following(ctx context.Context, name, model string, open func(ctx context.Context, of *openfga.Store) (*openfga.Store, error)) error {
	t.mu.Lock()
	held := t.held[name]
	if held == nil || held.store == nil || held.store.Model() == model || held.next != nil || time.Now().Before(held.nextRetry) {
		t.mu.Unlock()
		return nil
	}
	of := held.store
	t.mu.Unlock()
	store, err := open(ctx, of)
	if err != nil {
		return err
	}
	t.mu.Lock()
	if held.store == of && held.next == nil {
		held.next, held.recheck = store, true
	}
	t.mu.Unlock()
	t.wake()
	return nil
}

// switched puts the store in use that is asked by another model, and tells everyone to ask again.
func (t *Tenants) switched(held *tenant, to *openfga.Store) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if held.next == to {
		held.next = nil
	}
	held.store = to
	held.moved(true)
	t.cfg.Publish(Changed{Tenant: held.name, Everyone: true, Directory: t.revision})
}
