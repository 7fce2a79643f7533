package guard

import (
	"context"
	"net/http"
	"slices"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// setLevel is logging/setLevel of the revisions that have it. Servers of the same era are told; to those of 2026-07-28 it goes with each request.
func (g *Guard) setLevel(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	if e.modern {
		return Answer{}, e.unknownMethod()
	}
	if err := g.Catalogue.Stopped(e.caller); err != nil {
		return Answer{}, err
	}
	level, _ := mcp.Text(e.msg.Params, "level")
	if _, known := mcp.LogLevel(level); !known {
		return Answer{}, fault.Invalid("params.level must be one of debug, info, notice, warning, error, critical, alert and emergency.")
	}
	servers, err := g.Catalogue.Servers(ctx, e.caller, in.Server)
	if err != nil {
		return Answer{}, err
	}
	if len(servers) > 0 && !slices.ContainsFunc(servers, func(s *Server) bool { return !s.shared() }) {
		return Answer{}, &mcp.Error{Code: mcp.CodeMethodNotFound, Reason: faultv1.Reason_REASON_METHOD, HTTPStatus: http.StatusOK, Message: "Method not found: " +
			"the program of " + servers[0].Name + " is shared by all callers, so its log is nobody's. Declare it with scope: person to have its log."}
	}
	if err := g.startedAt(e, servers); err != nil {
		return Answer{}, err
	}
	key := clientKey(in, e.caller)
	g.clients.says(key, level, g.Now())
	if in.Session == "" {
		g.tell(ctx, in, "")
	}
	g.each(ctx, e.caller, servers, func(ctx context.Context, s *Server) error { return g.tellLevel(ctx, e, s) })
	g.audience.wishesChanged(key)
	return e.answer(200, mcp.Result(e.msg.ID, []byte(`{}`))), nil
}

// tellLevel tells one server. One that cannot be told says more or less than was wished, which is no reason to refuse.
func (g *Guard) tellLevel(ctx context.Context, e *Entry, s *Server) error {
	lease, err := g.Lender.Lease(ctx, LeaseRequest{Caller: e.caller, Server: s, Tool: mcp.MethodSetLevel, CallID: e.id})
	if err != nil {
		return err
	}
	about, err := g.about(ctx, s, lease)
	if err != nil || about.Modern || mcp.Get(about.Capabilities, "logging") == nil {
		return err
	}
	_, err = g.Upstream.Forward(ctx, Exchange{
		Caller: e.caller, Server: s, Method: mcp.MethodSetLevel, Params: e.msg.Params, Lease: lease, Session: e.in.Session, Offer: e.offer,
	})
	if err != nil {
		g.Log.Debug("log level not set", "server", s.Name, "error", g.redacted(err, lease))
	}
	return err
}
