package back

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"headgate.dev/libs/egress"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// message is one request to an upstream: a POST unless it has another head.
type message struct {
	head    []byte
	body    []byte
	headers []mcp.Field
	lease   *guard.Lease
	session string
	last    string // Last-Event-ID
	hearer  *hearer
}

// heads are the first lines of a request, by its method.
type heads struct{ post, get, end []byte }

func headsOf(at *url.URL) heads {
	head := func(verb, rest string) []byte {
		return []byte(verb + " " + at.RequestURI() + " HTTP/1.1\r\nHost: " + at.Host + "\r\nUser-Agent: headgate\r\n" + rest)
	}
	return heads{
		post: head("POST", "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"),
		get:  head("GET", "Accept: text/event-stream\r\n"),
		end:  head("DELETE", "Accept: application/json\r\n"),
	}
}

// response is what came back: a body, or a stream of events.
type response struct {
	status   int
	session  string
	later    string // Retry-After
	location string // of a redirect
	body     []byte
	events   *mcp.EventReader

	http   *fasthttp.Response
	conn   *conn
	pool   *pool
	stop   func() bool
	now    func() time.Time
	hearer *hearer   // whose call this is; nil for none
	until  time.Time // the deadline of reading; zero for none
}

// late adds to what ended the reading of a stream that it was the time: the library's errors do not say so.
func (r *response) late(err error) error {
	until := r.until
	if r.hearer != nil {
		until = r.hearer.until()
	}
	if !until.IsZero() && !r.now().Before(until) {
		return errors.Join(err, os.ErrDeadlineExceeded)
	}
	return err
}

// send makes one request once. It is written in one piece; after the first byte it is never sent again. Without a deadline it waits as long as ctx.
func (u *upstream) send(ctx context.Context, m message, deadline time.Time) (*response, error) {
	c, err := u.pool.get(ctx, u.now())
	if err != nil {
		return nil, u.failed(ctx, err)
	}
	if err := c.SetDeadline(deadline); err != nil {
		return nil, u.failed(ctx, errors.Join(err, c.Close()))
	}
	// Going away closes the connection: it is the only way in which HTTP/1.1 can say so.
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	if m.hearer != nil {
		m.hearer.follow(c)
	}
	r, err := u.exchange(c, m)
	if err != nil {
		stop()
		if m.hearer != nil {
			deadline = m.hearer.until()
			m.hearer.follow(nil)
		}
		if !deadline.IsZero() && !u.now().Before(deadline) { // the library's errors do not say that it was the time
			err = errors.Join(err, os.ErrDeadlineExceeded)
		}
		if c.idle.IsZero() && u.pool.tls != nil && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
			err = errors.Join(err, errTurnedAway)
		}
		return nil, u.failed(ctx, errors.Join(err, c.Close()))
	}
	r.stop, r.hearer, r.until = stop, m.hearer, deadline
	if r.events == nil {
		r.finish(true)
	}
	return r, nil
}

// errTurnedAway says that the first thing that happened on a TLS connection was that the server broke it off. Its reason may have been lost with it.
var errTurnedAway = errors.New("the server broke off a new TLS connection")

// exchange writes a request and reads the answer's head.
func (u *upstream) exchange(c *conn, m message) (*response, error) {
	buffer := u.buffers.Get()
	buffer.B = u.request(buffer.B[:0], m)
	_, err := c.Write(buffer.B)
	u.buffers.Put(buffer)
	if err != nil {
		return nil, err
	}
	return u.read(c)
}

// request writes the whole request. It is built from nothing: no header of the caller's goes upstream.
func (u *upstream) request(b []byte, m message) []byte {
	if m.head == nil {
		b = append(b, u.heads.post...)
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, int64(len(m.body)), 10)
		b = append(b, "\r\n"...)
	} else {
		b = append(b, m.head...)
	}
	for _, h := range m.headers {
		b = append(append(append(append(b, h.Name...), ": "...), h.Value...), "\r\n"...)
	}
	if m.session != "" {
		b = append(append(append(b, mcp.HeaderSessionID+": "...), m.session...), "\r\n"...)
	}
	if m.last != "" {
		b = append(append(append(b, "Last-Event-ID: "...), m.last...), "\r\n"...)
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
	if err := r.readHead(); err != nil {
		fasthttp.ReleaseResponse(h)
		return nil, err
	}
	for interim := 0; h.StatusCode() < 200; interim++ {
		if h.StatusCode() == fasthttp.StatusSwitchingProtocols || interim == mostInterim {
			fasthttp.ReleaseResponse(h)
			return nil, errors.New("the server wants another protocol, or to be waited for without end")
		}
		if err := r.readHead(); err != nil {
			fasthttp.ReleaseResponse(h)
			return nil, err
		}
	}
	r.status = h.StatusCode()
	r.session = string(h.Header.Peek(mcp.HeaderSessionID))
	r.later = string(h.Header.Peek("Retry-After"))
	r.location = string(h.Header.Peek("Location"))
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
		if err := r.readTrailer(); err != nil {
			fasthttp.ReleaseResponse(h)
			return nil, err
		}
	}
	r.body = bytes.Clone(h.Body())
	return r, nil
}

// waits reads Retry-After: seconds, or a date. 0 for none, and for what nobody would wait.
func waits(said string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(said, 10, 20); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(said); err == nil {
		wait = at.Sub(now)
	}
	if wait < 0 || wait > 24*time.Hour {
		return 0
	}
	return wait
}

// lull is how long the end of a stream is waited for after its answer, so that the connection can be used again.
const lull = 20 * time.Millisecond

// leaveOver gives up a stream whose answer has come. Nobody waits for its end where that is not there already.
func (u *upstream) leaveOver(r *response) {
	r.unfollow()
	if !r.stop() { // whoever called is gone, and the connection with them
		r.stop = func() bool { return false }
		r.finish(false)
		return
	}
	r.stop = func() bool { return true } // the end of the call is not the end of the connection any more
	if r.conn.reader.Buffered() >= len(lastChunk) {
		r.drain()
		return
	}
	if !u.crew.start(func(context.Context) { r.drain() }) {
		r.finish(false)
	}
}

// lastChunk is how the body of a stream ends (RFC 9112, 7.1).
const lastChunk = "0\r\n\r\n"

// drain reads the rest of a stream whose answer has come.
func (r *response) drain() {
	r.unfollow()
	whole := false
	if err := r.conn.SetReadDeadline(r.now().Add(lull)); err == nil {
		_, err := r.events.Next()
		whole = errors.Is(err, io.EOF)
	}
	r.finish(whole)
}

// finish gives the connection back, or closes it when what follows on it is not known.
func (r *response) finish(whole bool) {
	r.unfollow()
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

// unfollow takes the connection away from the call, which sets its deadline no more.
func (r *response) unfollow() {
	if r.hearer != nil {
		r.hearer.follow(nil)
		r.hearer = nil
	}
}

// timedOut reports whether it was the time that ended a read.
func timedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// failed says what went wrong on the way, in words for the caller and without the upstream's own.
func (u *upstream) failed(ctx context.Context, err error) error {
	var unclear *unclearError
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fault.New(faultv1.Reason_REASON_CANCELLED, "The call was cancelled before the server %s answered.", u.name).Because(err)
	case errors.Is(ctx.Err(), context.DeadlineExceeded), timedOut(err):
		return fault.New(faultv1.Reason_REASON_UPSTREAM_TIMEOUT,
			"The server %s did not answer in time. It may still be working on the call; look before you call again.", u.name).Because(err)
	case errors.Is(err, fasthttp.ErrBodyTooLarge), errors.Is(err, mcp.ErrEventTooLarge):
		return fault.New(faultv1.Reason_REASON_INSPECTION,
			"The server %s answered with more than %d bytes, so the answer was withheld. Ask for less.", u.name, u.limits.Bytes).Because(err)
	case errors.As(err, &unclear):
		return u.outside(err, "its answer %s", unclear.says)
	case egress.Explain(err) != "":
		return fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s cannot be called: %s. Tell an administrator.", u.name, egress.Explain(err)).Because(err)
	case errors.Is(err, errTurnedAway):
		return fault.New(faultv1.Reason_REASON_UPSTREAM,
			"The server %s broke off a new TLS connection: perhaps it wants a client certificate, or another one than it was shown. Tell an administrator to look "+
				"at spec.clientCertificate.", u.name).Because(err)
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
