package probe

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"headgate.dev/libs/mcp"
	"headgate.dev/libs/mcp/sse"
)

// perhapsOlder reports whether a server that answered initialize like this may be one that only knows HTTP+SSE (2025-03-26, basic/transports,
// "Backwards Compatibility").
func (w *wire) perhapsOlder(err error) bool {
	return err != nil && (w.status == http.StatusBadRequest || w.status == http.StatusNotFound || w.status == http.StatusMethodNotAllowed)
}

// fall opens a stream of HTTP+SSE, the transport of revision 2024-11-05, over which all further messages go.
func (w *wire) fall(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.limits.Request)
	defer cancel()
	stream, err := sse.Open(ctx, sse.Config{Client: w.client, URL: w.target.URL, Limit: w.limits.Bytes}, w.fields(nil))
	var no *sse.StatusError
	switch {
	case err == nil:
		w.stream = stream
		return nil
	case errors.Is(err, sse.ErrElsewhere):
		return errors.New("the server wants its messages sent to another host, port or scheme than that of spec.url, which is never done")
	case errors.As(err, &no) && no.Status == http.StatusUnauthorized:
		return ErrUnauthorized
	case errors.Is(err, sse.ErrOther), errors.As(err, &no):
		return &answerError{"the server speaks neither Streamable HTTP nor HTTP+SSE at that address"}
	}
	return w.explain(ctx, err)
}

// fields are headers with those of the credential, which win.
func (w *wire) fields(own []mcp.Field) []mcp.Field {
	out := append([]mcp.Field(nil), own...)
	for _, field := range w.target.Headers {
		out = append(out, mcp.Field(field))
	}
	return out
}

// send posts a message to a server of HTTP+SSE.
func (w *wire) send(ctx context.Context, out mcp.Outgoing) error {
	err := w.stream.Send(ctx, out.Body, w.fields(out.Headers))
	var no *sse.StatusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &no) && no.Status == http.StatusUnauthorized:
		return ErrUnauthorized
	case errors.As(err, &no):
		return fmt.Errorf("the server answers a message with HTTP status %d", no.Status)
	}
	return w.explain(ctx, err)
}

// hear waits for the answer to a request on the stream. What the server sends counts against the budget of the look.
func (w *wire) hear(ctx context.Context, id []byte) (*mcp.Reply, error) {
	stop := context.AfterFunc(ctx, w.stream.Close) // the only way to stop reading
	defer stop()
	for {
		raw, err := w.stream.Receive()
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, w.explain(ctx, ctx.Err())
		case errors.Is(err, mcp.ErrEventTooLarge):
			return nil, errTooLarge
		case err != nil:
			return nil, errors.New("the server ends its stream without the answer")
		}
		if w.left -= len(raw); w.left < 0 {
			return nil, errTooLarge
		}
		reply, err := w.reply(raw)
		if err != nil {
			return nil, err
		}
		if reply.Kind == mcp.Response && mcp.SameID(reply.ID, id) {
			return reply, nil
		}
	}
}
