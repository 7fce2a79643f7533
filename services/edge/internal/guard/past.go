package guard

import (
	"container/list"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"headgate.dev/libs/mcp"
)

// Clients without a session are told apart by their callers and endpoints alone, so two of them can give their calls the same id. A cancellation ends a call
// only where it can be about no other: none that runs, at any edge, and none that ended a moment ago, which a cancellation that comes late would be about.
const (
	// lateFor is how long after a call's end a cancellation of it may still be under way.
	lateFor = 10 * time.Second
	// maxPastOf is how many calls that ended are remembered of one client, maxPast of how many clients.
	maxPastOf = 256
	maxPast   = 4096
)

// past are the ids of calls that ended a moment ago, by the key of their client. What it does for one call costs the same however many clients there are.
type past struct {
	of    map[string]*list.Element // of order
	order *list.List               // of *finished: first whose last call ended longest ago
}

// finished are one client's calls, oldest first.
type finished struct {
	key string
	ids []gone
}

type gone struct {
	id json.RawMessage
	at time.Time
}

func newPast() past { return past{of: map[string]*list.Element{}, order: list.New()} }

// add remembers an id. Without room for another client, the one goes whose last call ended longest ago.
func (p past) add(key string, id json.RawMessage, now time.Time) {
	at := p.of[key]
	if at == nil {
		if len(p.of) >= maxPast {
			p.drop(p.order.Front())
		}
		at = p.order.PushBack(&finished{key: key})
		p.of[key] = at
	}
	p.order.MoveToBack(at)
	of, _ := at.Value.(*finished)
	if len(of.ids) == maxPastOf {
		of.ids[0] = gone{}
		of.ids = of.ids[1:]
	}
	of.ids = append(of.ids, gone{slices.Clone(id), now})
}

// calls are those of one client.
func (p past) calls(key string) []gone {
	at := p.of[key]
	if at == nil {
		return nil
	}
	of, _ := at.Value.(*finished)
	return of.ids
}

func (p past) drop(at *list.Element) {
	of, _ := p.order.Remove(at).(*finished)
	delete(p.of, of.key)
}

// count is how many calls with this id ended a moment ago.
func (p past) count(key string, id json.RawMessage, now time.Time) (n int) {
	for _, one := range p.calls(key) {
		if now.Sub(one.at) < lateFor && mcp.SameID(one.id, id) {
			n++
		}
	}
	return n
}

// sweep forgets the clients whose last call ended a while ago.
func (p past) sweep(now time.Time) {
	for at := p.order.Front(); at != nil; at = p.order.Front() {
		of, _ := at.Value.(*finished)
		if now.Sub(of.ids[len(of.ids)-1].at) < lateFor {
			return
		}
		p.drop(at)
	}
}

// strayed takes a call of a client without a session out of those that run, and remembers it if there was something to cancel.
func (r *running) strayed(in *Inbound, e *Entry, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.call.tool != nil {
		r.past.add(strayKey(in, e.caller), e.msg.ID, now)
	}
	delete(r.calls, e.id)
}

func (r *running) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.past.sweep(now)
}

// cancelStray answers how many calls here a notice of a client without a session may be about. If it shall, and there is one alone that runs, it ends that.
func (r *running) cancelStray(in *Inbound, e *Entry, shall bool, now time.Time) int {
	id := mcp.Get(e.msg.Params, "requestId")
	r.mu.Lock()
	defer r.mu.Unlock()
	meant := r.named(in, e, id)
	all := len(meant) + r.past.count(strayKey(in, e.caller), id, now)
	if shall && all == 1 && len(meant) == 1 {
		meant[0].cancel()
	}
	return all
}

// cancelStray ends the call that such a notice is about, wherever it runs. Where an edge cannot be asked, nobody knows whether it is about that call alone,
// and it goes on: a cancellation is a wish.
func (g *Guard) cancelStray(ctx context.Context, in *Inbound, e *Entry) {
	here := g.running.cancelStray(in, e, false, g.Now())
	if here > 1 {
		return
	}
	said, whole := g.spread(ctx, in, verbAsked, "")
	all := here
	for _, a := range said {
		n, err := strconv.Atoi(string(a.Body))
		if err != nil {
			return
		}
		all += n
	}
	switch {
	case !whole || all != 1:
	case here == 1:
		g.running.cancelStray(in, e, true, g.Now())
	default:
		g.tell(ctx, in, "")
	}
}
