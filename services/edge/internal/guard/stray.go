package guard

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"headgate.dev/libs/mcp"
)

// Some clients of the revisions with sessions never send the id that they were given. What they offer and wish for is known by their caller and endpoint:
// every edge is told what they offer, how much of the log they want and which call they cancel, and one edge keeps their stream with what they subscribe to.

// verbTold is the verb of a request that an edge tells others of. It came to that edge, which records it.
const verbTold = "TELL"

// verbAsked is that of one that asks others what they know, and changes nothing there.
const verbAsked = "ASK"

const (
	// tellWithin bounds how long the other edges are told something, maxTelling how much they are told at once: one client's request becomes one at each.
	tellWithin = time.Second
	maxTelling = 64
)

// stray finds out what is known of a client that sends no session's id.
func (g *Guard) stray(in *Inbound, e *Entry) {
	key := strayKey(in, e.caller)
	e.offer = g.clients.offered(key, g.Now())
	switch e.msg.Method {
	case mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		e.home = g.Peers.Place(key)
	}
}

// introduced keeps what a client offers, here and at the other edges, until it shows that it sends its session's id.
func (g *Guard) introduced(ctx context.Context, in *Inbound, e *Entry, session string) {
	offer := mcp.Offer(e.msg.ClientCapabilities)
	g.clients.introduce(strayKey(in, e.caller), session, offer, g.Now())
	if offer != nil {
		g.tell(ctx, in, session)
	}
}

// tell hands a request on to all other edges, as something to know. One that is not reached does without.
func (g *Guard) tell(ctx context.Context, in *Inbound, session string) {
	g.spread(ctx, in, verbTold, session)
}

// spread tells all other edges, or asks them, and answers what those said that answered; whole says that these are all.
func (g *Guard) spread(ctx context.Context, in *Inbound, verb, session string) (said []Answer, whole bool) {
	others := g.Peers.Others()
	if in.Relayed || len(others) == 0 {
		return nil, true
	}
	select {
	case g.telling <- struct{}{}:
		defer func() { <-g.telling }()
	default:
		g.Log.Warn("other edges are not told of a client, because they are told too much")
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	var all sync.WaitGroup
	answers, failed := make([]Answer, len(others)), make([]error, len(others))
	for i, edge := range others {
		all.Go(func() {
			told := *in
			told.Verb, told.Session, told.Send, told.Pause = verb, session, nil, nil
			if answers[i], failed[i] = g.Peers.Relay(ctx, edge, &told); failed[i] != nil {
				g.Log.Debug("another edge was not told of a client", "edge", edge, "error", failed[i])
			}
		})
	}
	all.Wait()
	whole = true
	for i := range others {
		if failed[i] == nil {
			said = append(said, answers[i])
		}
		whole = whole && failed[i] == nil
	}
	return said, whole
}

// learn takes what another edge tells of a client without a session. Nothing of it reaches a server, and the edge that it came to records it.
func (g *Guard) learn(in *Inbound, e *Entry) (Answer, error) {
	taken := Answer{Status: http.StatusAccepted}
	msg, err := mcp.Read(in.Body, mcp.DefaultLimits())
	if err != nil {
		return Answer{}, err
	}
	e.parsed(msg)
	e.relayed = true
	key := strayKey(in, e.caller)
	switch msg.Method {
	case mcp.MethodInitialize:
		g.clients.introduce(key, in.Session, mcp.Offer(msg.ClientCapabilities), g.Now())
	case mcp.MethodSetLevel:
		level, _ := mcp.Text(msg.Params, "level")
		if _, known := mcp.LogLevel(level); known {
			g.clients.says(key, level, g.Now())
			g.audience.wishesChanged(key)
		}
	case mcp.MethodCancelled:
		in.Session = ""
		taken.Body = strconv.AppendInt(nil, int64(g.running.cancelStray(in, e, in.Verb == verbTold, g.Now())), 10)
	}
	return taken, nil
}
