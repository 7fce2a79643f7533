package registry

import (
	"context"

	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/trust/internal/declared"
	"headgate.dev/services/trust/internal/pin"
	"headgate.dev/services/trust/internal/store"
)

// Apply creates or changes servers, all or none, and returns what happened to each, the revision, and which are new or changed.
func (r *Registry) Apply(ctx context.Context, servers []*trustv1.Server, dryRun bool, by Actor) ([]*resourcev1.Change, int64, []store.Key, error) {
	objects := make([]resource.Object, 0, len(servers))
	for _, s := range servers {
		if err := declared.Check(s); err != nil {
			return nil, 0, nil, err
		}
		objects = append(objects, s)
	}
	r.commit.Lock()
	defer r.commit.Unlock()
	next := map[store.Key]*entry{}
	var order []store.Key
	also := func(ctx context.Context, tx *sqlstore.Tx, changed []resource.Object) error {
		var events []*eventsv1.Event
		for _, object := range changed {
			s, err := asServer(object)
			if err != nil {
				return err
			}
			key := keyOf(s)
			e, ev, err := r.declare(ctx, tx, key, s, by)
			if err != nil {
				return err
			}
			next[key], order, events = e, append(order, key), append(events, ev)
		}
		if dryRun {
			return nil
		}
		return r.append(events)
	}
	changes, revision, err := r.Resources.Apply(ctx, objects, dryRun, also)
	if err != nil {
		return nil, 0, nil, err
	}
	if dryRun || len(order) == 0 {
		return changes, r.Revision(), nil, nil
	}
	r.mu.Lock()
	message := &trustv1.WatchResponse{Revision: revision}
	for _, key := range order {
		r.servers[key] = next[key]
		message.Upserts = append(message.Upserts, next[key].proto(false))
	}
	r.revision = revision
	r.mu.Unlock()
	r.hub.Publish(message)
	return changes, revision, order, nil
}

// declare is the entry of a server after it was declared anew, saved, and the record of it.
func (r *Registry) declare(ctx context.Context, tx *sqlstore.Tx, key store.Key, s *trustv1.Server, by Actor) (*entry, *eventsv1.Event, error) {
	e := &entry{declared: s, state: store.State{Pins: pin.Server{URL: declared.Place(s.GetSpec())}}}
	was := ""
	if before, err := r.get(key); err == nil {
		was = band(before.state.Pins)
		e.state, e.failure = before.state, before.failure
		e.state.Pins = e.state.Pins.Moved(declared.Place(s.GetSpec()))
		if !e.state.Pins.Looked {
			e.state.About, e.failure = store.About{}, ""
		}
	}
	if err := store.Save(ctx, tx, key, e.state); err != nil {
		return nil, nil, err
	}
	old, err := resourcestore.PreviousHash(ctx, tx, kindServer, key.Tenant, key.Name)
	if err != nil {
		return nil, nil, err
	}
	m := s.GetMetadata()
	ev := r.event("resource-applied", key, by)
	ev.Change = &eventsv1.Change{Kind: kindServer, Name: key.Name, Action: "updated", Version: m.GetVersion(), OldHash: old, NewHash: m.GetHash()}
	ev.Target.Address = declared.Address(s.GetSpec())
	if m.GetVersion() == 1 {
		ev.Change.Action = "created"
	}
	if was != "" {
		moves(ev, "server:"+key.Name, was, band(e.state.Pins), "declared at another address")
	}
	return e, ev, nil
}

// Delete removes a server with all its pins. Kills of it stay in force: they are taken back by Revive alone.
func (r *Registry) Delete(ctx context.Context, key store.Key, by Actor) (int64, error) {
	r.commit.Lock()
	defer r.commit.Unlock()
	revision, err := r.Resources.Delete(ctx, kindServer, key.Tenant, key.Name, func(ctx context.Context, tx *sqlstore.Tx, gone []resource.Object) error {
		if err := store.Remove(ctx, tx, key); err != nil {
			return err
		}
		m := gone[0].GetMetadata()
		ev := r.event("resource-deleted", key, by)
		ev.Change = &eventsv1.Change{Kind: kindServer, Name: key.Name, Action: "deleted", Version: m.GetVersion(), OldHash: m.GetHash()}
		return r.append([]*eventsv1.Event{ev})
	})
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	delete(r.servers, key)
	r.revision = revision
	r.mu.Unlock()
	r.hub.Publish(&trustv1.WatchResponse{Revision: revision, Deletions: []*trustv1.ServerDeletion{{Tenant: key.Tenant, Name: key.Name}}})
	return revision, nil
}
