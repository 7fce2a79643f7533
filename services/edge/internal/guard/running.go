package guard

import (
	"context"
	"encoding/json"
	"sync"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// running knows the calls under way by their ids, so that a client's notice, a kill or a revocation can end them.
type running struct {
	mu    sync.Mutex
	calls map[string]*call
	past  past
	// abroad are the requests that other edges answer; over says that nothing goes on any more.
	abroad map[*call]bool
	over   bool
}

// call is one call under way. Its tool is set once it is known, under the lock of running.
type call struct {
	in     *Inbound
	entry  *Entry
	tool   *Tool
	cancel context.CancelFunc
	// kept says that it goes on after its request; only the goroutine of the request uses it.
	kept bool
	// cut says that the edge ended it because it stops. It is under the lock of running.
	cut bool
}

// stop cancels a call because its edge stops. The lock of running is held.
func (c *call) stop() {
	c.cut = true
	c.cancel()
}

func newRunning() *running {
	return &running{calls: map[string]*call{}, past: newPast(), abroad: map[*call]bool{}}
}

// begin gives the call its context: of the modern era it ends with the client's connection, of the others with a notice of the same session.
func (r *running) begin(ctx context.Context, in *Inbound, e *Entry, now clock.Now) (context.Context, func()) {
	if !e.modern {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	one := &call{in: in, entry: e, cancel: cancel}
	e.call = one
	r.mu.Lock()
	r.calls[e.id] = one
	if r.over {
		one.stop()
	}
	r.mu.Unlock()
	return ctx, func() {
		if !one.kept {
			if in.Session == "" && !e.modern {
				r.strayed(in, e, now())
			} else {
				r.end(e)
			}
			cancel()
		}
	}
}

func (r *running) end(e *Entry) {
	r.mu.Lock()
	delete(r.calls, e.id)
	r.mu.Unlock()
}

// keep lets a call outlive its request: what stops it then is cancel. It ends with what keep answers. Only the request itself may call it.
func (r *running) keep(e *Entry, cancel context.CancelFunc) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.call.kept, e.call.cancel = true, cancel
	return func() { r.end(e) }
}

// uses says which tool a call is about to use. Who is stopped from now on is found by it.
func (r *running) uses(e *Entry, tool *Tool) {
	r.mu.Lock()
	if mine := r.calls[e.id]; mine != nil {
		mine.tool = tool
	}
	r.mu.Unlock()
}

// cancel ends the call of a session that its client's notice is about. One that could be about several is about none.
func (r *running) cancel(in *Inbound, e *Entry) {
	id := mcp.Get(e.msg.Params, "requestId")
	r.mu.Lock()
	defer r.mu.Unlock()
	if meant := r.named(in, e, id); len(meant) == 1 {
		meant[0].cancel()
	}
}

// named are the calls under way that a notice may be about. The lock is held.
func (r *running) named(in *Inbound, e *Entry, id json.RawMessage) (found []*call) {
	for _, one := range r.calls {
		if !one.entry.modern && one.in.Session == in.Session && one.in.Endpoint == in.Endpoint && sameCaller(one.entry.caller, e.caller) && mcp.SameID(one.entry.msg.ID, id) {
			found = append(found, one)
		}
	}
	return found
}

func sameCaller(a, b *Caller) bool {
	return a.Tenant == b.Tenant && a.Person == b.Person && a.Agent == b.Agent && a.ClientID == b.ClientID
}

// leave gives a request that another edge answers its context, until it is answered.
func (r *running) leave(ctx context.Context, in *Inbound, e *Entry) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	one := &call{in: in, entry: e, cancel: cancel}
	r.mu.Lock()
	r.abroad[one] = true
	if e.call == nil {
		e.call = one
	}
	if r.over {
		one.stop()
	}
	r.mu.Unlock()
	return ctx, func() {
		r.mu.Lock()
		delete(r.abroad, one)
		r.mu.Unlock()
		cancel()
	}
}

// CutOff cancels the calls under way, and those that still begin, because the edge stops. Their clients are told, and their records are written as ever.
func (g *Guard) CutOff() {
	g.running.mu.Lock()
	defer g.running.mu.Unlock()
	g.running.over = true
	for _, one := range g.running.calls {
		one.stop()
	}
	for one := range g.running.abroad {
		one.stop()
	}
}

// cutShort says why a call was cancelled that this edge ended because it stops: by itself, a cancellation looks like the client's own.
func (g *Guard) cutShort(e *Entry, err error) error {
	if e.call == nil || !fault.Is(err, faultv1.Reason_REASON_CANCELLED) {
		return err
	}
	g.running.mu.Lock()
	cut := e.call.cut
	g.running.mu.Unlock()
	switch {
	case !cut:
		return err
	case e.stage == stageForward:
		return fault.New(faultv1.Reason_REASON_CANCELLED,
			"Headgate is stopping, so the call was ended before its answer came. Look whether the call took effect before you make it again.").Because(err)
	}
	return fault.New(faultv1.Reason_REASON_CANCELLED, "Headgate is stopping, so the call was ended before it was made. Make it again.").Because(err)
}

// Sweep cancels the calls under way whose caller, server or tool was stopped, whose token was revoked or whose server was deleted. It is for
// whoever learns of such a change; what was only judged at the beginning would outlive it.
func (g *Guard) Sweep() {
	g.running.mu.Lock()
	calls := make([]call, 0, len(g.running.calls))
	for _, one := range g.running.calls {
		if one.tool != nil {
			calls = append(calls, *one)
		}
	}
	g.running.mu.Unlock()
	for _, one := range calls {
		if g.halted(one.in, one.entry.caller, one.tool) != nil {
			one.cancel()
		}
	}
	g.audience.sweep()
}

// halted says why a call under way may not go on; nil when it may.
func (g *Guard) halted(in *Inbound, caller *Caller, tool *Tool) error {
	if err := g.Admitter.Still(in, caller); err != nil {
		return err
	}
	return g.Catalogue.Halted(caller, tool)
}

// still judges again, directly before anything happens, what can have changed since it was judged first.
func (g *Guard) still(ctx context.Context, in *Inbound, caller *Caller, tool *Tool) error {
	if err := g.Replicas.Fresh(); err != nil {
		return err
	}
	if err := g.Admitter.Still(in, caller); err != nil {
		return err
	}
	return g.Catalogue.Still(ctx, caller, tool)
}
