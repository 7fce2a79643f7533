package guard

import (
	"context"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// againAfter and againMost are how long is waited before a server that could not be listened to is listened to again.
	againAfter = time.Second
	againMost  = 30 * time.Second
	// silentFor is how long a server is believed that says nothing unasked.
	silentFor = 5 * time.Minute
	// leasedFor is how long a server is listened to with one credential.
	leasedFor = 10 * time.Minute
	// hearEvery is how often a server's word that a list changed is acted on at most.
	hearEvery = time.Second
)

type heard struct{ tenant, server string }

// hearing is what one server says to all: that its lists changed. It is heard once for all listeners. The lock of the audience is its own.
type hearing struct {
	server *Server
	stop   context.CancelFunc
	to     map[*listener]bool
	// due are the lists that the server said changed and that nobody was told of yet; busy says that somebody is told now, told when that began last.
	due  map[string]bool
	busy bool
	told time.Time
}

// hear makes a listener one of those who are told of the lists of these servers, and of no others.
func (a *audience) hear(l *listener, servers []*Server) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || !a.all[l] {
		return
	}
	wanted := map[heard]*Server{}
	for _, s := range servers {
		wanted[heard{s.Tenant, s.Name}] = s
	}
	for at, h := range a.hearings {
		if s := wanted[at]; s == nil || s.URL != h.server.URL || s.CA != h.server.CA {
			a.unhear(at, h, l)
		}
	}
	for at, s := range wanted {
		h := a.hearings[at]
		if h == nil {
			ctx, stop := context.WithCancel(context.Background())
			h = &hearing{server: s, stop: stop, to: map[*listener]bool{}, due: map[string]bool{}}
			a.hearings[at] = h
			a.running.Go(func() { a.listen(ctx, h) })
		}
		h.to[l] = true
	}
}

// unhear takes a listener out of a hearing, which ends without listeners. The lock is held.
func (a *audience) unhear(at heard, h *hearing, l *listener) {
	if delete(h.to, l); len(h.to) == 0 {
		h.stop()
		delete(a.hearings, at)
	}
}

// listen hears one server until nobody wants to hear it any more.
func (a *audience) listen(ctx context.Context, h *hearing) {
	wanted := LeaseRequest{Server: h.server}
	for {
		a.g.heed(ctx, wanted, func(ctx context.Context, lease *Lease) error {
			return a.g.Upstream.Listen(ctx, Listening{Server: h.server, Lease: lease, Lists: true, Notify: func(notice []byte) error {
				if method, _ := mcp.Text(notice, "method"); listChange(method) {
					a.mu.Lock()
					h.due[method] = true // nothing of the server's own words is for everybody
					a.mu.Unlock()
					a.sweep()
				}
				return nil
			}})
		})
		if !clock.Sleep(ctx, silentFor) {
			return
		}
	}
}

func listChange(method string) bool {
	return method == mcp.MethodToolsListChanged || method == mcp.MethodPromptsListChanged || method == mcp.MethodResourcesListChanged
}

// heed listens again and again, each time with a lease of its own, until ctx ends or the server says that it says nothing unasked.
func (g *Guard) heed(ctx context.Context, wanted LeaseRequest, listen func(ctx context.Context, lease *Lease) error) {
	pause := againAfter
	for ctx.Err() == nil {
		began := g.Now()
		lease, err := g.Lender.Lease(ctx, wanted)
		if err == nil {
			term, end := context.WithTimeout(ctx, leasedFor)
			err = listen(term, lease)
			end()
			if err != nil {
				err = g.redacted(err, lease)
			}
		}
		switch {
		case ctx.Err() != nil:
			return
		case fault.Is(err, faultv1.Reason_REASON_METHOD):
			g.Log.Debug("a server says nothing unasked", "server", wanted.Server.Name, "error", err)
			return
		case fault.Is(err, faultv1.Reason_REASON_CREDENTIAL):
			g.Lender.Forget(wanted)
		}
		lasted := g.Now().Sub(began)
		if lasted > againMost {
			pause = againAfter
		}
		if err != nil || lasted < againAfter {
			g.Log.Debug("a server is not heard now", "server", wanted.Server.Name, "error", err)
			clock.Sleep(ctx, pause)
			pause = min(2*pause, againMost)
		}
	}
}

// hearAgain acts on what servers said of their lists: however often one says it, it is looked at, and told, once a second at most.
func (a *audience) hearAgain(ctx context.Context) {
	now := a.g.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	for _, h := range a.hearings {
		if len(h.due) == 0 || h.busy || now.Sub(h.told) < hearEvery && !now.Before(h.told) {
			continue
		}
		due := h.due
		h.due, h.busy, h.told = map[string]bool{}, true, now
		a.running.Go(func() {
			a.pass(ctx, h, due)
			a.mu.Lock()
			h.busy = false
			a.mu.Unlock()
		})
	}
}

// pass tells those who hear a server that lists of it changed. Of tools nobody is told that does not see others than before.
func (a *audience) pass(ctx context.Context, h *hearing, due map[string]bool) {
	if due[mcp.MethodToolsListChanged] {
		a.g.Catalogue.Recheck(ctx, h.server)
		a.sweep()
	}
	a.mu.Lock()
	to := make([]*listener, 0, len(h.to))
	for l := range h.to {
		to = append(to, l)
	}
	a.mu.Unlock()
	for _, method := range [...]string{mcp.MethodPromptsListChanged, mcp.MethodResourcesListChanged} {
		if !due[method] {
			continue
		}
		for _, l := range to {
			soon, cancel := context.WithTimeout(ctx, askWithin)
			if l.wants(method) && l.sees(soon, h.server, method) {
				l.tell(mcp.Notice(method, nil))
			}
			cancel()
		}
	}
}
