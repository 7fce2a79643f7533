package registry

import (
	"context"
	"slices"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/trust/internal/declared"
	"headgate.dev/services/trust/internal/pin"
	"headgate.dev/services/trust/internal/store"
)

// Seen takes in what a look at a place found. What was looked at in another place than the server's is thrown away.
func (r *Registry) Seen(ctx context.Context, key store.Key, place string, listing pin.Listing, about store.About) error {
	return r.take(ctx, key, func(e entry) (store.State, []pin.Drift, bool) {
		if declared.Place(e.declared.GetSpec()) != place {
			return e.state, nil, false
		}
		next := store.State{About: about}
		var drifts []pin.Drift
		next.Pins, drifts = e.state.Pins.See(listing)
		return next, drifts, true
	})
}

// Report is what an edge saw a server show. About is what the server says of itself with its instructions, where only an edge can ask it.
type Report struct {
	Listing pin.Listing
	About   *store.About
}

// Reported takes in what an edge saw, as Seen does, and returns the revision. Of a server that trust can look at it tells nothing before trust itself
// has seen it: an edge's word approves nothing. Of a program it is all that there is to see.
func (r *Registry) Reported(ctx context.Context, key store.Key, report Report) (int64, error) {
	err := r.take(ctx, key, func(e entry) (store.State, []pin.Drift, bool) {
		next, listing := e.state, report.Listing
		switch program := declared.IsProgram(e.declared.GetSpec()); {
		case program && report.About == nil, !program && !e.state.Pins.Looked:
			return e.state, nil, false
		case program:
			next.About = *report.About
		default:
			listing.Instructions, listing.InstructionsProblem = next.Pins.SeenInstructions, next.Pins.InstructionsProblem
		}
		var drifts []pin.Drift
		next.Pins, drifts = next.Pins.See(listing)
		next.About.SeenAt = r.Now()
		return next, drifts, true
	})
	return r.Revision(), err
}

// take carries a look into the registry. Without a difference nothing is written but the time of the look, in memory.
func (r *Registry) take(ctx context.Context, key store.Key, see func(entry) (store.State, []pin.Drift, bool)) error {
	r.commit.Lock()
	defer r.commit.Unlock()
	e, err := r.get(key)
	if err != nil {
		return err
	}
	next, drifts, taken := see(e)
	if !taken {
		return nil
	}
	events := r.drifted(key, drifts)
	if e.declared.GetSpec().GetApprove() == pin.Initially {
		pinned, changes, first := next.Pins.Initial(r.Now())
		if first {
			next.Pins = pinned
			events = append(events, r.approvedServer(key, itself(), e.state.Pins, pinned, "approve: initial"))
			events = append(events, r.approved(key, itself(), changes)...)
		}
	}
	if pin.Same(e.state.Pins, next.Pins) && sameAbout(e.state.About, next.About) {
		r.settle(key, next.About, "")
		return nil
	}
	if err := r.update(ctx, key, next, events); err != nil {
		return err
	}
	r.settle(key, next.About, "")
	return nil
}

func sameAbout(a, b store.About) bool {
	return slices.Equal(a.Versions, b.Versions) && a.ServerInfo == b.ServerInfo && a.Capabilities == b.Capabilities
}

// settle remembers when a server was seen and why it was not. Neither is worth a revision: nobody decides by it.
func (r *Registry) settle(key store.Key, about store.About, failure string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, found := r.servers[key]; found {
		e.failure = failure
		if failure == "" {
			e.state.About.SeenAt = about.SeenAt
		}
	}
}

// Failed remembers why a look at a server failed. What is approved stays: the edge looks for itself before each call.
func (r *Registry) Failed(key store.Key, failure string) { r.settle(key, store.About{}, failure) }

// Approve pins what the server shows now.
func (r *Registry) Approve(ctx context.Context, key store.Key, request pin.Request, by Actor) (*trustv1.ServerState, error) {
	r.commit.Lock()
	defer r.commit.Unlock()
	e, err := r.get(key)
	if err != nil {
		return nil, err
	}
	request.By, request.At = by.Name, r.Now()
	next := e.state
	var changes []pin.Drift
	if next.Pins, changes, err = e.state.Pins.Approve(key.Name, request); err != nil {
		return nil, err
	}
	if pin.Same(e.state.Pins, next.Pins) {
		return r.Show(key) // approved already, as it is; the call itself is on the record
	}
	events := append([]*eventsv1.Event{r.approvedServer(key, by, e.state.Pins, next.Pins, "")}, r.approved(key, by, changes)...)
	if err := r.update(ctx, key, next, events); err != nil {
		return nil, err
	}
	return r.Show(key)
}

func (r *Registry) approvedServer(key store.Key, by Actor, before, pins pin.Server, reason string) *eventsv1.Event {
	ev := r.event("server-approved", key, by)
	ev.Change = &eventsv1.Change{Kind: kindServer, Name: key.Name, Action: "approved", NewHash: pins.SeenHash(), Reason: reason}
	return moves(ev, "server:"+key.Name, band(before), band(pins), reason)
}

// Quarantine stops a server until it is approved again. Again is no error.
func (r *Registry) Quarantine(ctx context.Context, key store.Key, reason string, by Actor) (*trustv1.ServerState, error) {
	r.commit.Lock()
	defer r.commit.Unlock()
	e, err := r.get(key)
	if err != nil {
		return nil, err
	}
	if e.state.Pins.Quarantine == nil {
		next := e.state
		next.Pins = next.Pins.Quarantined(reason, by.Name)
		ev := r.event("server-quarantined", key, by)
		ev.Change = &eventsv1.Change{Kind: kindServer, Name: key.Name, Action: "quarantined", Reason: reason}
		moves(ev, "server:"+key.Name, band(e.state.Pins), band(next.Pins), reason)
		if err := r.update(ctx, key, next, []*eventsv1.Event{ev}); err != nil {
			return nil, err
		}
	}
	return r.Show(key)
}
