package registry

import (
	"context"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/hidden"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/sqlstore"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/trust/internal/store"
)

// Kill stops a person, an agent, a server or a tool on every edge. Again is no error and changes nothing.
func (r *Registry) Kill(ctx context.Context, target store.Target, reason string, by Actor) (int64, error) {
	if err := r.known(target); err != nil {
		return 0, err
	}
	k := store.Kill{Target: target, Reason: reason, By: by.Name, At: r.Now()}
	message := &trustv1.WatchResponse{Kills: []*trustv1.Kill{killProto(k)}}
	ev := r.stop("kill", "killed", target, reason, by)
	ev.Alert = true
	return r.stopping(ctx, target, false, ev, message,
		func(tx *sqlstore.Tx) error { return store.PutKill(ctx, tx, k) },
		func() { r.kills[target] = k })
}

// Killed reports whether a kill of this target is in force.
func (r *Registry) Killed(target store.Target) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, killed := r.kills[target]
	return killed
}

// Revive takes a kill back. None in force is no error.
func (r *Registry) Revive(ctx context.Context, target store.Target, by Actor) (int64, error) {
	message := &trustv1.WatchResponse{Revived: []*trustv1.Kill{killProto(store.Kill{Target: target, By: by.Name, At: r.Now()})}}
	return r.stopping(ctx, target, true, r.stop("revive", "revived", target, "", by), message,
		func(tx *sqlstore.Tx) error { return store.RemoveKill(ctx, tx, target) },
		func() { delete(r.kills, target) })
}

// stopping makes or takes back a kill, if it is not as asked already: on the record first, then committed, then published.
func (r *Registry) stopping(
	ctx context.Context, target store.Target, want bool, ev *eventsv1.Event, message *trustv1.WatchResponse, write func(*sqlstore.Tx) error, remember func(),
) (int64, error) {
	r.commit.Lock()
	defer r.commit.Unlock()
	if r.Killed(target) != want {
		return r.Revision(), nil
	}
	r.stood(ev, target, want)
	err := r.DB.Tx(ctx, func(tx *sqlstore.Tx) (err error) {
		if message.Revision, err = resourcestore.Bump(ctx, tx); err != nil {
			return err
		}
		if err := write(tx); err != nil {
			return err
		}
		return r.append([]*eventsv1.Event{ev})
	})
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	remember()
	r.revision = message.GetRevision()
	r.mu.Unlock()
	r.hub.Publish(message)
	return message.GetRevision(), nil
}

func (r *Registry) stop(action, done string, target store.Target, reason string, by Actor) *eventsv1.Event {
	ev := r.event(action, store.Key{Tenant: target.Tenant}, by)
	ev.Change = &eventsv1.Change{Kind: target.Kind, Name: target.Name, Action: done, Reason: reason}
	switch target.Kind {
	case "server":
		ev.Target.Server = target.Name
	case "tool":
		ev.Target.Server, ev.Target.Tool, _ = strings.Cut(target.Name, ".")
	}
	return ev
}

// stood puts into the record of a kill, or of one that is taken back, how far its target is trusted without it.
func (r *Registry) stood(ev *eventsv1.Event, target store.Target, revived bool) {
	without := bandFree
	if target.Kind == "server" {
		if e, err := r.get(store.Key{Tenant: target.Tenant, Name: target.Name}); err == nil { // one that is gone can be revived, too
			without = band(e.state.Pins)
		}
	}
	subject, reason := target.Kind+":"+target.Name, ev.GetChange().GetReason()
	if revived {
		moves(ev, subject, bandStopped, without, reason)
		return
	}
	moves(ev, subject, without, bandStopped, reason)
}

// known refuses to kill what cannot be meant: whoever types a wrong name in haste must learn that nothing was stopped. People and agents are kept by
// another service, so their names are taken as they are.
func (r *Registry) known(target store.Target) error {
	if hidden.Scan(target.Name).Count > 0 || strings.ContainsAny(target.Name, "\r\n\t") || strings.TrimSpace(target.Name) != target.Name {
		return fault.Invalid("The name %+q holds blanks or characters that cannot be seen. Nothing was stopped.", target.Name)
	}
	server, tool := target.Name, ""
	switch target.Kind {
	case "server":
	case "tool":
		var ok bool
		if server, tool, ok = strings.Cut(target.Name, "."); !ok || tool == "" {
			return fault.Invalid("A tool is named SERVER.TOOL; %q is not. Nothing was stopped.", target.Name)
		}
	default:
		return nil
	}
	e, err := r.get(store.Key{Tenant: target.Tenant, Name: server})
	if err != nil {
		return fault.NotFound("There is no server %s in tenant %s. Nothing was stopped.", server, target.Tenant)
	}
	if _, shown := e.state.Pins.Find(tool); tool != "" && !shown && e.state.Pins.Looked {
		return fault.NotFound("Server %s shows no tool %s. Nothing was stopped.", server, tool)
	}
	return nil
}
