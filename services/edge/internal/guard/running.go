package guard

import (
	"context"
	"sync"

	"headgate.dev/libs/mcp"
)

// running knows the calls under way by their ids, so that a client's notice, a kill or a revocation can end them.
type running struct {
	mu    sync.Mutex
	calls map[string]*call
}

// call is one call under way. Its tool is set once it is known, under the lock of running.
type call struct {
	in     *Inbound
	entry  *Entry
	tool   *Tool
	cancel context.CancelFunc
}

func newRunning() *running { return &running{calls: map[string]*call{}} }

// begin gives the call its context: of the modern era it ends with the client's connection, of the others with a notice of the same session.
func (r *running) begin(ctx context.Context, in *Inbound, e *Entry) (context.Context, func()) {
	if !e.modern {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	r.mu.Lock()
	r.calls[e.id] = &call{in: in, entry: e, cancel: cancel}
	r.mu.Unlock()
	return ctx, func() {
		r.mu.Lock()
		delete(r.calls, e.id)
		r.mu.Unlock()
		cancel()
	}
}

// uses says which tool a call is about to use. Who is stopped from now on is found by it.
func (r *running) uses(e *Entry, tool *Tool) {
	r.mu.Lock()
	if mine := r.calls[e.id]; mine != nil {
		mine.tool = tool
	}
	r.mu.Unlock()
}

// cancel ends the call that a client's notice is about. One that could be about several is about none: who has no session can use an id twice.
func (r *running) cancel(in *Inbound, e *Entry) {
	id := mcp.Get(e.msg.Params, "requestId")
	if id == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var meant *call
	for _, one := range r.calls {
		if !one.entry.modern && one.in.Session == in.Session && sameCaller(one.entry.caller, e.caller) && mcp.SameID(one.entry.msg.ID, id) {
			if meant != nil {
				return
			}
			meant = one
		}
	}
	if meant != nil {
		meant.cancel()
	}
}

func sameCaller(a, b *Caller) bool {
	return a.Tenant == b.Tenant && a.Person == b.Person && a.Agent == b.Agent && a.ClientID == b.ClientID
}

// CutOff cancels the calls that do not end with their client's connection. Their records are written as ever.
func (g *Guard) CutOff() {
	g.running.mu.Lock()
	defer g.running.mu.Unlock()
	for _, one := range g.running.calls {
		if !one.entry.modern {
			one.cancel()
		}
	}
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
