package back

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/mcp/sse"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/duplex"
	"headgate.dev/services/edge/internal/guard"
)

// errNotOlder says that a server does not know HTTP+SSE.
var errNotOlder = errors.New("the server does not speak HTTP+SSE")

// older makes the peer of a server that speaks HTTP+SSE, the transport of revision 2024-11-05. Each party has a stream of its own.
func (b *Back) older(s *guard.Server) (*channels, error) {
	pool, err := newPool(s, b.cfg.Identities)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return plain(pool.dial(ctx)) },
		DialTLSContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return plain(pool.dial(ctx)) },
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		IdleConnTimeout:        idleLimit,
		MaxIdleConnsPerHost:    maxIdle,
		MaxResponseHeaderBytes: headerRoom,
		DisableCompression:     true,
		Proxy:                  nil, // the address that was declared, and no other
	}
	c := b.channels(s)
	c.patience = probeLimit
	c.config.Alone, c.config.Era = true, duplex.Legacy
	c.era.Store(int32(duplex.Legacy))
	c.shut = transport.CloseIdleConnections
	c.seat = func(whom party) seatKey {
		if whom.caller == nil {
			return seatKey{}
		}
		return seatKey{whom.caller.Person, whom.caller.Agent, whom.caller.ClientID, whom.session, string(whom.offer)}
	}
	c.dial = func(ctx context.Context, whom party) (duplex.Channel, error) {
		conn, err := sse.Open(ctx, sse.Config{Client: &http.Client{Transport: transport}, URL: s.URL, Limit: b.cfg.MaxResult}, leased(whom.lease))
		if err != nil {
			return nil, unopened(ctx, s.Name, err)
		}
		return stream{conn, s.Name}, nil
	}
	return c.start(), nil
}

// plain is a connection of the pool's as the standard library takes it: with its TLS done, and read by nobody yet.
func plain(c *conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	return c.Conn, nil
}

func leased(lease *guard.Lease) []mcp.Field {
	if lease == nil {
		return nil
	}
	var out []mcp.Field
	for _, h := range lease.Headers {
		out = append(out, mcp.Field{Name: h.Name, Value: h.Value})
	}
	return out
}

// unopened says why there is no stream.
func unopened(ctx context.Context, name string, err error) error {
	var no *sse.StatusError
	switch {
	case errors.Is(err, sse.ErrElsewhere):
		return fault.New(faultv1.Reason_REASON_UPSTREAM,
			"The server %s wants its messages sent to another host, port or scheme than the one that it is declared at, which is never done. Tell its owner.", name).
			Because(err)
	case errors.As(err, &no) && (no.Status == http.StatusUnauthorized || no.Status == http.StatusForbidden):
		return refusedCredential(name, no.Status)
	case errors.Is(err, sse.ErrOther), errors.As(err, &no) && no.Status < http.StatusInternalServerError:
		return fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s does not open a stream of events. Tell its owner.", name).Because(errors.Join(errNotOlder, err))
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s cannot be reached. Try again later or tell its owner.", name).Because(err)
	case ctx.Err() != nil:
		return fault.New(faultv1.Reason_REASON_UPSTREAM_TIMEOUT, "The server %s did not open a stream of events in time. Nothing was sent to it.", name).Because(err)
	}
	return fault.New(faultv1.Reason_REASON_UPSTREAM, "The connection to the server %s failed. Nothing was sent to it; try again.", name).Because(err)
}

func refusedCredential(name string, status int) error {
	return fault.New(faultv1.Reason_REASON_CREDENTIAL,
		"The server %s refused the credential that it was called with (HTTP %d). An administrator must look at its connection.", name, status)
}

// stream is a connection of HTTP+SSE as a channel.
type stream struct {
	*sse.Conn
	name string
}

// Send implements duplex.Channel.
func (s stream) Send(ctx context.Context, m duplex.Message) error {
	err := s.Conn.Send(ctx, m.Body, append(m.Headers, leased(m.Lease)...))
	var no *sse.StatusError
	switch {
	case err == nil || !errors.As(err, &no):
		return err
	case no.Status == http.StatusUnauthorized, no.Status == http.StatusForbidden:
		return refusedCredential(s.name, no.Status)
	case no.Status == http.StatusNotFound, no.Status == http.StatusGone:
		s.Close() // it does not know the stream any more, so nothing ran
	}
	return fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s did not take the message (HTTP %d). Try again; if it goes on, tell its owner.", s.name, no.Status).
		Because(err)
}
