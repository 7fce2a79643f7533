package back

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// message is one POST to an upstream.
type message struct {
	body    []byte
	headers []mcp.Field
	lease   *guard.Lease
	session string
}

// response is what came back: a body, or a stream of events.
type response struct {
	status  int
	session string
	body    []byte
	events  *mcp.EventReader

	http *fasthttp.Response
	conn *conn
	pool *pool
	stop func() bool
	now  func() time.Time
}

// post sends one message once. The request is written in one piece; after the first byte it is never sent again.
func (u *upstream) post(ctx context.Context, m message, deadline time.Time) (*response, error) {
	c, err := u.pool.get(ctx, u.now())
	if err != nil {
		return nil, u.failed(ctx, err)
	}
	if err := c.SetDeadline(deadline); err != nil {
		return nil, u.failed(ctx, errors.Join(err, c.Close()))
	}
	// Going away closes the connection: it is the only way in which HTTP/1.1 can say so.
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	buffer := u.buffers.Get()
	buffer.B = u.request(buffer.B[:0], m)
	_, err = c.Write(buffer.B)
	u.buffers.Put(buffer)
	if err != nil {
		stop()
		return nil, u.failed(ctx, errors.Join(err, c.Close()))
	}
	r, err := u.read(c)
	if err != nil {
		stop()
		if !u.now().Before(deadline) { // the library's errors do not say that it was the time
			err = errors.Join(err, os.ErrDeadlineExceeded)
		}
		return nil, u.failed(ctx, errors.Join(err, c.Close()))
	}
	r.stop = stop
	if r.events == nil {
		r.finish(true)
	}
	return r, nil
}

// request writes the whole request. It is built from nothing: no header of the caller's goes upstream.
func (u *upstream) request(b []byte, m message) []byte {
	b = append(b, u.head...)
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(m.body)), 10)
	b = append(b, "\r\n"...)
	for _, h := range m.headers {
		b = append(append(append(append(b, h.Name...), ": "...), h.Value...), "\r\n"...)
	}
	if m.session != "" {
		b = append(append(append(b, mcp.HeaderSessionID+": "...), m.session...), "\r\n"...)
	}
	if m.lease != nil {
		for _, h := range m.lease.Headers {
			b = append(append(append(append(b, h.Name...), ": "...), h.Value...), "\r\n"...)
		}
	}
	b = append(b, "\r\n"...)
	return append(b, m.body...)
}

// read takes the head of the answer, and the body unless it is a stream.
func (u *upstream) read(c *conn) (*response, error) {
	h := fasthttp.AcquireResponse()
	r := &response{http: h, conn: c, pool: u.pool, now: u.now}
	if err := h.Header.Read(c.reader); err != nil {
		fasthttp.ReleaseResponse(h)
		return nil, err
	}
	for h.StatusCode() >= 100 && h.StatusCode() < 200 {
		if h.StatusCode() == fasthttp.StatusSwitchingProtocols {
			fasthttp.ReleaseResponse(h)
			return nil, errors.New("the server wants another protocol")
		}
		if err := h.Header.Read(c.reader); err != nil {
			fasthttp.ReleaseResponse(h)
			return nil, err
		}
	}
	r.status = h.StatusCode()
	r.session = string(h.Header.Peek(mcp.HeaderSessionID))
	kind, _, _ := bytes.Cut(h.Header.ContentType(), []byte{';'})
	if strings.EqualFold(string(bytes.TrimSpace(kind)), "text/event-stream") && r.status == fasthttp.StatusOK {
		h.StreamBody = true
		if err := h.ReadBody(c.reader, 0); err != nil {
			fasthttp.ReleaseResponse(h)
			return nil, err
		}
		r.events = mcp.NewEventReader(h.BodyStream(), u.limits.Bytes)
		return r, nil
	}
	if r.status == fasthttp.StatusNoContent || r.status == fasthttp.StatusNotModified {
		return r, nil
	}
	if err := h.ReadBody(c.reader, u.limits.Bytes); err != nil {
		fasthttp.ReleaseResponse(h)
		return nil, err
	}
	if h.Header.ContentLength() == -1 {
		if err := h.Header.ReadTrailer(c.reader); err != nil && !errors.Is(err, io.EOF) {
			fasthttp.ReleaseResponse(h)
			return nil, err
		}
	}
	r.body = bytes.Clone(h.Body())
	return r, nil
}

// lull is how long the end of a stream is waited for after its answer, so that the connection can be used again.
const lull = 20 * time.Millisecond

// drain reads the rest of a stream whose answer has come.
func (r *response) drain() {
	whole := false
	if err := r.conn.SetReadDeadline(r.now().Add(lull)); err == nil {
		_, err := r.events.Next()
		whole = errors.Is(err, io.EOF)
	}
	r.finish(whole)
}

// finish gives the connection back, or closes it when what follows on it is not known.
func (r *response) finish(whole bool) {
	if r.http == nil {
		return
	}
	keep := r.stop() && whole && !r.http.ConnectionClose()
	if r.events != nil {
		if !whole {
			_ = r.conn.Close() // ends a read that is still under way
		}
		_ = r.http.CloseBodyStream()
	}
	fasthttp.ReleaseResponse(r.http)
	r.http = nil
	if keep {
		r.pool.put(r.conn, r.now())
		return
	}
	_ = r.conn.Close()
}

// failed says what went wrong on the way, in words for the caller and without the upstream's own.
func (u *upstream) failed(ctx context.Context, err error) error {
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.New(faultv1.Reason_REASON_CANCELLED, "The call was cancelled before the server %s answered.", u.name).Because(err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fault.New(faultv1.Reason_REASON_UPSTREAM_TIMEOUT,
			"The server %s did not answer in time. It may still be working on the call; look before you call again.", u.name).Because(err)
	case errors.Is(err, fasthttp.ErrBodyTooLarge), errors.Is(err, mcp.ErrEventTooLarge):
		return fault.New(faultv1.Reason_REASON_INSPECTION,
			"The server %s answered with more than %d bytes, so the answer was withheld. Ask for less.", u.name, u.limits.Bytes).Because(err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s cannot be reached. Try again later or tell its owner.", u.name).Because(err)
	}
	return fault.New(faultv1.Reason_REASON_UPSTREAM,
		"The connection to the server %s failed before its answer was whole. Look whether the call took effect before you call again.", u.name).Because(err)
}

// outside says that what came back is not of the protocol.
func (u *upstream) outside(cause error, format string, args ...any) error {
	return fault.New(faultv1.Reason_REASON_UPSTREAM,
		"The server %s answered outside the protocol: %s. Tell its owner.", u.name, fmt.Sprintf(format, args...)).Because(cause)
}
