package guard

import (
	"context"
	"encoding/json"
	"slices"
	"sync"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/secret/forms"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// maxParked is how many calls wait for their clients on one edge at most, maxParkedOf how many of one caller. Each holds a request at its server.
const (
	maxParked   = 4096
	maxParkedOf = 64
)

// parked is a call at a server of the revisions before 2026-07-28 whose server asked the client for something, while the client is of 2026-07-28: the
// call waits here until the client makes its request again with the answers.
type parked struct {
	ctx    context.Context // the life of the call, which no request of its client bounds
	cancel context.CancelFunc
	lease  *Lease
	// arguments are those that the server got.
	arguments json.RawMessage
	asks      chan *pending
	over      chan outcome // has room for one
	owner     string
	until     int64 // when its client's state expires, in seconds since 1970
	// trace is what the record says of it should nobody take it up again. It, ended and why are under the lock of parking.
	trace   *trace
	ended   bool  // the exchange with its server is over
	why     error // why nobody takes it up any more; nil as long as somebody may
	told    told
	current *pending
}

// pending is one request of the server.
type pending struct {
	method string
	params json.RawMessage
	answer chan Reply // has room for one
}

type outcome struct {
	reply Reply
	err   error
}

// parking are the parked calls by the id of the state that their clients hold.
type parking struct {
	mu    sync.Mutex
	calls map[string]*parked
	of    map[string]int // by owner
	// all are the calls that outlive their clients' requests; closed says that none begins any more.
	all    sync.WaitGroup
	closed bool
	// unwritten are ends of calls that the journal has not taken yet.
	unwritten []unwritten
}

func newParking() *parking { return &parking{calls: map[string]*parked{}, of: map[string]int{}} }

// start runs a call that may outlive its client's request; false when none begins any more.
func (p *parking) start(call func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.all.Go(call)
	return true
}

// close lets no more begin or wait, ends those under way and waits for them.
func (p *parking) close(end func()) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	end()
	p.all.Wait()
}

// put leaves a call here, with what the record will say of it if nobody takes it up.
func (p *parking) put(id string, call *parked, t *trace) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed, call.ctx.Err() != nil:
		return fault.New(faultv1.Reason_REASON_CANCELLED, "The call was cancelled before you could be asked what its server wants to know. Make it again.")
	case len(p.calls) >= maxParked || p.of[call.owner] >= maxParkedOf:
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
			"The call was cancelled because too many calls wait for your answers. Answer them first, or try again later.")
	}
	call.trace = t
	p.calls[id] = call
	p.of[call.owner]++
	return nil
}

func (p *parking) take(id string) *parked {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.remove(id)
}

// remove takes a call out. The lock is held.
func (p *parking) remove(id string) *parked {
	call := p.calls[id]
	if call == nil {
		return nil
	}
	delete(p.calls, id)
	if p.of[call.owner]--; p.of[call.owner] == 0 {
		delete(p.of, call.owner)
	}
	return call
}

// ask is guard.Exchange's: it hands a request of the server over and waits for what the client makes of it.
func (p *parked) ask(ctx context.Context, q *pending) (Reply, error) {
	silent := fault.New(faultv1.Reason_REASON_CANCELLED, "The client did not answer.")
	ctx, cancel := context.WithTimeout(ctx, stateFor)
	defer cancel()
	select {
	case p.asks <- q:
	case <-ctx.Done():
		return Reply{}, silent
	}
	select {
	case reply := <-q.answer:
		return reply, nil
	case <-ctx.Done():
		return Reply{}, silent
	}
}

// waitKey names the one question of a parked call in inputRequests.
const waitKey = "request"

// wait goes on until the call is over or its server asks for something. Then the answer asks for input, and the call stays here.
func (g *Guard) wait(ctx context.Context, e *Entry, p *parked, request string) (Reply, error) {
	defer p.told.nobody()
	select {
	case out := <-p.over:
		return out.reply, out.err
	case q := <-p.asks:
		select {
		case out := <-p.over: // it did not wait for what it asked
			return out.reply, out.err
		default:
			return g.require(e, p, q, request)
		}
	case <-ctx.Done():
		p.cancel()
		out := <-p.over
		return out.reply, out.err
	}
}

// require answers that the call needs what its server asked for, and leaves it here.
func (g *Guard) require(e *Entry, p *parked, q *pending, request string) (Reply, error) {
	sealed, id, expires, err := g.seal(e, request, ofParked, "")
	if err != nil {
		p.cancel()
		return Reply{}, err
	}
	p.current, p.until = q, expires
	if err := g.parking.put(id, p, e.trail(id, g.Now())); err != nil {
		g.states.take(id)
		p.cancel()
		select {
		case out := <-p.over: // it ended just now, which is all that kept it from being left here
			return out.reply, out.err
		default:
			return Reply{}, err
		}
	}
	e.left, e.waits = id, true
	params := q.params
	if params == nil {
		params = json.RawMessage(`{}`)
	}
	return Reply{Modern: true, Result: slices.Concat([]byte(`{"resultType":"input_required","inputRequests":{"`+waitKey+`":{"method":"`+q.method+`","params":`),
		params, []byte(`}},"requestState":`), mcp.Quote(sealed), []byte{'}'})}, nil
}

// drop ends the call of a request that was refused after it began: one that was taken up again, and one that was left to wait.
func (g *Guard) drop(e *Entry) {
	if e.parked != nil {
		e.parked.cancel()
	}
	if e.left == "" {
		return
	}
	g.states.take(e.left)
	if p := g.parking.take(e.left); p != nil {
		p.cancel()
	}
}

// abandon ends the call that a request would have taken up again, had it not been refused for good. The request has to be the call's own.
func (g *Guard) abandon(in *Inbound, e *Entry) {
	if s := e.state; s == nil || s.request != digest(in, e) || s.home != g.Peers.Self() || !g.states.take(s.id) {
		return
	}
	g.forsake(e.state.id, fault.New(faultv1.Reason_REASON_CANCELLED, "The call that waited for its client was ended, because the request that would have "+
		"taken it up was refused: call %s. It may have taken effect at its server.", e.id))
}

// both is the lease of a request with the secrets of those that its call was made with before: what comes back may hold any of them.
func (e *Entry) both(lease *Lease) *Lease {
	p := e.parked
	if p == nil || p.lease == lease {
		return lease
	}
	all := *lease
	all.Forms = forms.Union(lease.Forms, p.lease.Forms)
	p.lease = &all
	return &all
}

// made reports whether a call was made with these arguments. A client may write the same ones in another way when it makes its request again.
func (p *parked) made(with json.RawMessage) bool {
	return alike(p.arguments, with)
}

// overtaken refuses to let a call go on that was made as the rules would not have it any more.
func overtaken(d policy.Decision) error {
	return fault.New(faultv1.Reason_REASON_RULE, "The call that waited for you was cancelled: since it was made, the rule %s changes its arguments in another way. "+
		"Look whether it took effect, and make it again.", d.Rule)
}

// goOn gives a parked call what its client brought and waits on. A client that brought something else is asked again.
func (g *Guard) goOn(ctx context.Context, e *Entry, p *parked, request string) (Reply, error) {
	q := p.current
	result := mcp.Get(e.msg.InputResponses, waitKey)
	if len(result) == 0 || result[0] != '{' {
		return g.require(e, p, q, request)
	}
	q.answer <- e.in.returned(Reply{Result: slices.Clone(result), Lease: e.lease}, e.tool.Server)
	return g.wait(ctx, e, p, request)
}
