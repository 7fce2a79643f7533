package guard

import (
	"context"
	"encoding/json"
	"slices"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// maxRounds is how often one call may ask its client for input, in either era, maxQuestions how many things at once.
	maxRounds    = 16
	maxQuestions = 16
)

func tooMany(server string) error {
	return fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s asked for more than %d things at once, so none of them was asked. Tell its owner.", server, maxQuestions)
}

// forward makes the request, in the way in which its client can be asked for what the server wants to know meanwhile.
func (g *Guard) forward(ctx context.Context, in *Inbound, e *Entry, ex Exchange) (Reply, error) {
	if err := g.tasking(ctx, e, &ex); err != nil {
		return Reply{}, err
	}
	switch {
	case e.parked != nil:
		if err := e.parked.told.hearing(ex.Notify, progressOf(e)); err != nil {
			return Reply{}, err
		}
		return g.goOn(ctx, e, e.parked, digest(in, e))
	case ex.Method == mcp.MethodSubscribe, ex.Method == mcp.MethodUnsubscribe:
		return g.subscribing(ctx, ex)
	case ex.Offer == nil:
		return g.Upstream.Forward(ctx, ex)
	case !e.modern:
		return g.rounds(ctx, in, e, ex)
	case !e.mayAsk(): // a server that asks meanwhile is told that nobody can be asked now
		return g.Upstream.Forward(ctx, ex)
	}
	about, err := g.Upstream.About(ctx, ex.Server, ex.Lease)
	if err != nil {
		return Reply{}, err
	}
	if about.Modern {
		return g.Upstream.Forward(ctx, ex)
	}
	return g.park(ctx, in, e, ex)
}

// rounds makes a call for a client of the revisions that have sessions: requests of a server of the same era go to the client as they come, and
// those in the answer of a server of 2026-07-28 are asked one after the other before the call is made again with the answers.
func (g *Guard) rounds(ctx context.Context, in *Inbound, e *Entry, ex Exchange) (Reply, error) {
	put := func(ctx context.Context, method string, params json.RawMessage) (Reply, error) {
		if stop := g.halted(in, e.caller, e.tool); stop != nil {
			return Reply{}, stop
		}
		clean, err := g.question(in, ex.Server.Name, ex.Offer, ex.Lease, method, params)
		if err != nil {
			return Reply{}, err
		}
		if clean, err = numbered(clean); err != nil {
			return Reply{}, err
		}
		reply, err := g.ask(ctx, e.caller, e.send, method, e.related(clean, "_meta"))
		return in.returned(reply, ex.Server), err
	}
	ex.Ask = func(ctx context.Context, request *mcp.Reply) (Reply, error) {
		reply, err := put(ctx, request.Method, request.Params)
		if err == nil {
			err = g.anew(ctx, in, e, ex.Arguments)
		}
		return reply, err
	}
	original := ex.Params
	for range maxRounds {
		reply, err := g.Upstream.Forward(ctx, ex)
		if err != nil || reply.Result == nil || !inputRequired(reply.Result) {
			return reply, err
		}
		if stop := g.halted(in, e.caller, e.tool); stop != nil {
			return Reply{}, stop
		}
		if ex.Params, err = gather(ctx, ex.Server.Name, original, reply.Result, put); err != nil {
			return Reply{}, err
		}
		if err := g.anew(ctx, in, e, ex.Arguments); err != nil {
			return Reply{}, err
		}
		if err := g.renew(ctx, e, &ex); err != nil {
			return Reply{}, err
		}
	}
	return Reply{}, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s asked for input %d times without an end.", ex.Server.Name, maxRounds)
}

func inputRequired(result json.RawMessage) bool {
	kind, _ := mcp.Text(result, "resultType")
	return kind == mcp.ResultInputRequired
}

// gather asks the client for everything that a result of 2026-07-28 requires, and answers the params of the next round.
func gather(
	ctx context.Context, server string, params, result json.RawMessage, put func(context.Context, string, json.RawMessage) (Reply, error),
) (json.RawMessage, error) {
	responses := []byte{'{'}
	names, requests := mcp.Members(mcp.Get(result, "inputRequests"))
	if len(names) > maxQuestions {
		return nil, tooMany(server)
	}
	for i, name := range names {
		method, _ := mcp.Text(requests[i], "method")
		reply, err := put(ctx, method, mcp.Get(requests[i], "params"))
		if err != nil {
			return nil, err
		}
		if reply.Result == nil {
			return nil, fault.New(faultv1.Reason_REASON_CANCELLED, "The client refused to answer what the server asked for.")
		}
		if i > 0 {
			responses = append(responses, ',')
		}
		responses = append(append(append(responses, mcp.Quote(name)...), ':'), reply.Result...)
	}
	next, err := params, error(nil)
	if len(names) > 0 {
		if next, err = mcp.Set(next, append(responses, '}'), mcp.MemberInputResponses); err != nil {
			return nil, err
		}
	}
	if state := mcp.Get(result, mcp.MemberRequestState); state != nil {
		next, err = mcp.Set(next, state, mcp.MemberRequestState)
	}
	return next, err
}

// park makes a call at a server of the revisions that have sessions for a client of 2026-07-28. It outlives the client's request once its server asks
// for something; until then the client's going away ends it.
func (g *Guard) park(ctx context.Context, in *Inbound, e *Entry, ex Exchange) (Reply, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &parked{
		ctx: life, cancel: cancel, lease: ex.Lease, asks: make(chan *pending), over: make(chan outcome, 1), owner: ownerOf(e.caller),
		arguments: slices.Clone(ex.Arguments), told: told{token: progressOf(e), as: progressOf(e), notify: ex.Notify},
	}
	ex.Notify = p.told.tell
	ex.Ask = func(ctx context.Context, request *mcp.Reply) (Reply, error) {
		clean, err := g.question(in, ex.Server.Name, ex.Offer, ex.Lease, request.Method, request.Params)
		if err != nil {
			return Reply{}, err
		}
		return p.ask(ctx, &pending{method: request.Method, params: slices.Clone(unnumbered(clean)), answer: make(chan Reply, 1)})
	}
	done := g.running.keep(e, cancel)
	started := g.parking.start(func() {
		defer done()
		defer cancel()
		reply, err := g.Upstream.Forward(life, ex)
		p.over <- outcome{reply, err}
		g.over(in, e.caller, e.tool, p)
	})
	if !started {
		done()
		cancel()
		return Reply{}, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "This edge is shutting down. Try again, another one answers.")
	}
	return g.wait(ctx, e, p, digest(in, e))
}

// again is the state of a request that is made with what was asked for: it is taken up here, once.
func (g *Guard) again(in *Inbound, e *Entry) error {
	s := e.state
	if s == nil {
		if e.modern && e.mayAsk() && e.msg.InputResponses != nil { // the revision lets a client answer what it was not asked, and a server take it
			e.noted("it has answers that were not asked for here: they came without a requestState")
		}
		return nil
	}
	if s.request != digest(in, e) {
		return badState()
	}
	if s.home != g.Peers.Self() && s.of != ofParked {
		// The edge that gave it is gone, so nobody knows whether it was used elsewhere; a state of the server's own still protects the server.
		if !g.states.adopt(s.id, s.expires, g.Now()) {
			return badState()
		}
		return nil
	}
	if !g.states.take(s.id) {
		return badState()
	}
	if e.parked = g.parking.take(s.id); e.parked == nil && s.of == ofParked {
		return badState() // the call is over, and nobody wants it made a second time
	}
	if p := e.parked; p != nil {
		e.noted("goes on with call " + p.trace.event.GetCallId())
	}
	return nil
}

// carried are the params with the server's own state in the place of the one that the client carried.
func carried(params json.RawMessage, e *Entry) (json.RawMessage, error) {
	if !e.modern && (e.msg.RequestState != nil || e.msg.InputResponses != nil) {
		// In these revisions they mean nothing, and to a server of 2026-07-28 they would be a state that nobody sealed.
		return mcp.Delete(mcp.Delete(params, mcp.MemberRequestState), mcp.MemberInputResponses), nil
	}
	if e.msg.InputResponses != nil && e.in.Server == "" {
		var err error
		if params, err = ownAnswers(params, e.tool.Server); err != nil {
			return nil, err
		}
	}
	if e.state == nil {
		return params, nil
	}
	if e.state.of == ofServer {
		return mcp.Set(params, mcp.Quote(e.state.upstream), mcp.MemberRequestState)
	}
	return mcp.Delete(params, mcp.MemberRequestState), nil
}
