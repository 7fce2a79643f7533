// Package registry holds what trust knows of every server and every kill: in memory for those who watch, in the database for the next start. A
// change is recorded in the journal and committed before anyone sees it, and published in the order of its revision.
package registry

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	"headgate.dev/libs/replica"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/trust/internal/declared"
	"headgate.dev/services/trust/internal/store"
)

// kindServer is the kind of resource that this service keeps.
const kindServer = "Server"

// Deps is what the registry is given.
type Deps struct {
	DB        *sqlstore.DB
	Resources *resourcestore.Store
	Journal   record.Sink
	Log       *slog.Logger
	Now       clock.Now
}

// Registry is safe for concurrent use.
type Registry struct {
	Deps

	hub *replica.Hub[*trustv1.WatchResponse]
	// commit makes writers wait for each other from the database to the publication, so that revisions are published in their order.
	commit sync.Mutex
	// mu guards the maps and the revision. It is never held over I/O, so that heartbeats do not wait for the disk.
	mu       sync.RWMutex
	servers  map[store.Key]*entry
	kills    map[store.Target]store.Kill
	revision int64
}

// entry is one server. Its messages are never written to after they are set: they are shared with streams.
type entry struct {
	declared *trustv1.Server
	state    store.State
	failure  string // why the last look failed, in words
}

// Open loads everything from the database.
func Open(ctx context.Context, deps Deps) (*Registry, error) {
	r := &Registry{Deps: deps, servers: map[store.Key]*entry{}, kills: map[store.Target]store.Kill{}}
	r.hub = replica.NewHub(replica.HubConfig[*trustv1.WatchResponse]{Snapshot: r.snapshot, Heartbeat: r.heartbeat, Revision: (*trustv1.WatchResponse).GetRevision})
	return r, deps.DB.ReadTx(ctx, func(tx *sqlstore.Tx) error { return r.load(ctx, tx) })
}

func (r *Registry) load(ctx context.Context, tx *sqlstore.Tx) error {
	objects, revision, err := resourcestore.ReadAll(ctx, tx)
	if err != nil {
		return err
	}
	states, err := store.Load(ctx, tx)
	if err != nil {
		return err
	}
	kills, err := store.Kills(ctx, tx)
	if err != nil {
		return err
	}
	for _, object := range objects {
		server, err := asServer(object)
		if err != nil {
			return err
		}
		key := keyOf(server)
		state := states[key]
		state.Pins = state.Pins.Moved(declared.Place(server.GetSpec()))
		r.servers[key] = &entry{declared: server, state: state}
	}
	for _, k := range kills {
		r.kills[k.Target] = k
	}
	r.revision = revision
	return nil
}

func asServer(o resource.Object) (*trustv1.Server, error) {
	s, ok := o.(*trustv1.Server)
	if !ok {
		return nil, fault.Invalid("%s is not a resource that this service keeps; %s does.", o.GetKind(), resource.Owner(o.GetKind()))
	}
	return s, nil
}

func keyOf(s *trustv1.Server) store.Key {
	return store.Key{Tenant: s.GetMetadata().GetTenant(), Name: s.GetMetadata().GetName()}
}

// Keys lists all servers.
func (r *Registry) Keys() []store.Key {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Keys(r.servers))
}

// Declared is a server as it was declared; fault NOT_FOUND when there is none.
func (r *Registry) Declared(key store.Key) (*trustv1.Server, error) {
	e, err := r.get(key)
	if err != nil {
		return nil, err
	}
	return e.declared, nil
}

// Looked reports whether a server was ever seen where it is now.
func (r *Registry) Looked(key store.Key) bool {
	e, err := r.get(key)
	return err == nil && e.state.Pins.Looked
}

// Show is the state of one server with the bytes of its definitions, seen and approved.
func (r *Registry) Show(key store.Key) (*trustv1.ServerState, error) {
	e, err := r.get(key)
	if err != nil {
		return nil, err
	}
	return e.proto(true), nil
}

// get returns a copy of the entry.
func (r *Registry) get(key store.Key) (entry, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e, found := r.servers[key]
	if !found {
		return entry{}, fault.NotFound("There is no server %s in tenant %s.", key.Name, key.Tenant)
	}
	return *e, nil
}

// Revision counts the changes.
func (r *Registry) Revision() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.revision
}

// Serve carries one watcher: a snapshot, then changes, then a heartbeat each second.
func (r *Registry) Serve(ctx context.Context, send func(*trustv1.WatchResponse) error) error {
	return r.hub.Serve(ctx, send)
}

func (r *Registry) snapshot(context.Context) (*trustv1.WatchResponse, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := &trustv1.WatchResponse{Snapshot: true, Revision: r.revision}
	for _, key := range slices.SortedFunc(maps.Keys(r.servers), func(a, b store.Key) int { return strings.Compare(a.Tenant+"/"+a.Name, b.Tenant+"/"+b.Name) }) {
		all.Upserts = append(all.Upserts, r.servers[key].proto(false))
	}
	for _, k := range r.kills {
		all.Kills = append(all.Kills, killProto(k))
	}
	return all, nil
}

func (r *Registry) heartbeat() (*trustv1.WatchResponse, bool) {
	return &trustv1.WatchResponse{Revision: r.Revision()}, true
}

// update commits one server's next state with its records and publishes it. The caller holds commit.
func (r *Registry) update(ctx context.Context, key store.Key, next store.State, events []*eventsv1.Event) error {
	var revision int64
	err := r.DB.Tx(ctx, func(tx *sqlstore.Tx) (err error) {
		if revision, err = resourcestore.Bump(ctx, tx); err != nil {
			return err
		}
		if err := store.Save(ctx, tx, key, next); err != nil {
			return err
		}
		return r.append(events)
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	e := r.servers[key]
	e.state = next
	message := &trustv1.WatchResponse{Revision: revision, Upserts: []*trustv1.ServerState{e.proto(false)}}
	r.revision = revision
	r.mu.Unlock()
	r.hub.Publish(message)
	return nil
}

// append records events. When the journal cannot take one, what they were to record must not happen.
func (r *Registry) append(events []*eventsv1.Event) error {
	for _, ev := range events {
		if err := r.Journal.Append(ev, journal.Spool); err != nil {
			return err
		}
	}
	return nil
}

// Wrap is a server as a resource of this service.
func Wrap(s *trustv1.Server) *trustv1.Resource {
	return &trustv1.Resource{Kind: &trustv1.Resource_Server{Server: proto.CloneOf(s)}}
}
