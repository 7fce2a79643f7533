package guard

import (
	"context"
	"net/http"
	"time"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// verbEnded is the verb of the request by which an edge tells the others that a client ended its session. The id of a session is good at every edge, so
// its end is known at every edge.
const verbEnded = "END"

// endWithin bounds how long the other edges may take to hear of the end of a session.
const endWithin = 10 * time.Second

// endSession ends a session here, at the edge that holds what belongs to it, and, whatever that edge answered, at the others. An edge that is not reached
// now hears nothing of it later.
func (g *Guard) endSession(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin) // many clients leave as soon as they have sent this
	defer cancel()
	failure := g.end(in, e)
	answer, answered, err := g.elsewhere(ctx, in, e)
	if _, whole := g.spread(ctx, in, verbEnded, in.Session); !whole {
		g.Log.Warn("not every edge was told that a session was ended")
	}
	switch {
	case answered && (err != nil || answer.Status != http.StatusNoContent):
		return answer, err
	case failure != nil:
		e.relayed = false // refused here, recorded here
		return Answer{}, failure
	}
	return Answer{Status: http.StatusNoContent}, nil
}

// end ends what this edge knows of a session.
func (g *Guard) end(in *Inbound, e *Entry) error {
	failure := g.Sessions.End(e.caller, in.Endpoint, in.Session)
	key := clientKey(in, e.caller)
	g.clients.forget(key)
	g.audience.dismiss(key)
	g.Upstream.Release(e.caller, in.Session)
	if failure == nil {
		return nil
	}
	g.Log.Error("the end of a session is not on disk: after a restart its id would be taken again", "error", failure)
	return AtHTTP(http.StatusServiceUnavailable, faultv1.Reason_REASON_UNAVAILABLE, "The session is over, but the gateway could not write that down, so its id may be taken again "+
		"after a restart. Tell its operator to look at the disk of the edge's journal.")
}

// learnEnd takes another edge's word that a caller's session was ended. That edge records the request.
func (g *Guard) learnEnd(in *Inbound, e *Entry) (Answer, error) {
	e.relayed = true
	if _, ok := g.Sessions.Check(e.caller, in.Endpoint, in.Session); !ok {
		return Answer{Status: http.StatusNoContent}, nil
	}
	if g.end(in, e) != nil {
		return Answer{Status: http.StatusServiceUnavailable}, nil
	}
	return Answer{Status: http.StatusNoContent}, nil
}
