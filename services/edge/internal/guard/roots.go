package guard

import (
	"context"
	"net/http"

	"headgate.dev/libs/mcp"
)

// rootsChanged tells the servers that know a client that its roots are others by now. Which those are, they ask.
func (g *Guard) rootsChanged(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	taken := Answer{Status: http.StatusAccepted}
	if string(mcp.Get(e.offer, "roots", "listChanged")) != "true" {
		return taken, nil // it did not say that it would
	}
	if err := g.Catalogue.Stopped(e.caller); err != nil {
		return Answer{}, err
	}
	servers, err := g.Catalogue.Servers(ctx, e.caller, in.Server)
	if err != nil {
		return Answer{}, err
	}
	if err := g.startedAt(e, servers); err != nil {
		return Answer{}, err
	}
	g.each(ctx, e.caller, servers, func(ctx context.Context, s *Server) error { return g.mention(ctx, e, s) })
	return taken, nil
}

// mention tells one server. One that cannot be told asks when it needs to know.
func (g *Guard) mention(ctx context.Context, e *Entry, s *Server) error {
	lease, err := g.Lender.Lease(ctx, LeaseRequest{Caller: e.caller, Server: s, Tool: e.msg.Method, CallID: e.id})
	if err != nil {
		return err
	}
	err = g.Upstream.Mention(ctx, Exchange{Caller: e.caller, Server: s, Method: e.msg.Method, Lease: lease, Session: e.in.Session, Offer: e.offer})
	if err != nil {
		g.Log.Debug("a server was not told that roots changed", "server", s.Name, "error", g.redacted(err, lease))
	}
	return err
}
