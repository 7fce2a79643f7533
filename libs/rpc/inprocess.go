package rpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
)

var errInside = errors.New("the handler inside the process ended before it answered")

// InProcess is the way from service self to a mux in the same process. Everything happens as over the network: the same interceptors, errors that
// cross as faults, streams, deadlines. With SERVICE_UNSPECIFIED the caller is nobody until a token says otherwise.
func InProcess(m *Mux, self optionsv1.Service) *Conn {
	return &Conn{
		http: &http.Client{Transport: pipes{mux: m, self: self}, CheckRedirect: noRedirect}, url: "http://in-process",
		peer: "service in this process", inside: true, telemetry: m.cfg.Telemetry,
	}
}

// pipes runs a handler for each request, in a goroutine that ends with the request's context or when the response's body is closed.
type pipes struct {
	mux  http.Handler
	self optionsv1.Service
}

// RoundTrip implements http.RoundTripper. Nothing of the caller's context but its end reaches the handler: the rest crosses in headers, as over
// the network.
func (p pipes) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	served, cancel := context.WithCancelCause(context.Background())
	reader, writer := io.Pipe()
	stop := context.AfterFunc(ctx, func() {
		cancel(context.Cause(ctx))
		_ = writer.CloseWithError(ctx.Err()) // never fails
	})
	answer := &pipeWriter{header: http.Header{}, body: writer, ready: make(chan struct{})}
	go p.serve(served, cancel, stop, inbound(served, r, p.self), answer)
	select {
	case <-answer.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if answer.broken {
		return nil, errInside
	}
	body := &pipeBody{PipeReader: reader, cancel: cancel}
	return &http.Response{
		Status: http.StatusText(answer.status), StatusCode: answer.status, Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: answer.sent, Trailer: answer.trailer, Body: body, ContentLength: -1, Request: r,
	}, nil
}

func (p pipes) serve(ctx context.Context, cancel context.CancelCauseFunc, stop func() bool, r *http.Request, answer *pipeWriter) {
	defer cancel(nil)
	defer stop()
	defer func() {
		if recover() != nil { // the interceptors report panics of handlers; what comes here aborts the answer, as net/http does
			answer.fail()
		}
		_ = r.Body.Close() // the client's own body: it knows
	}()
	p.mux.ServeHTTP(answer, r)
	if ctx.Err() == nil || answer.wrote() {
		answer.finish()
		return
	}
	answer.fail()
}

// inbound is a client's request as a server sees it.
func inbound(ctx context.Context, r *http.Request, self optionsv1.Service) *http.Request {
	if self != optionsv1.Service_SERVICE_UNSPECIFIED {
		ctx = context.WithValue(ctx, inProcessKey{}, self)
	}
	in := r.Clone(ctx)
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/2.0", 2, 0
	in.RequestURI = r.URL.RequestURI()
	in.RemoteAddr, in.TLS, in.Close, in.GetBody = "", nil, false, nil
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	return in
}

// pipeBody is the response's body. Closing it early ends the handler.
type pipeBody struct {
	*io.PipeReader

	cancel context.CancelCauseFunc
}

// Close implements io.Closer.
func (b *pipeBody) Close() error {
	b.cancel(context.Canceled)
	return b.PipeReader.Close()
}

// pipeWriter is the server's side of the answer.
type pipeWriter struct {
	header http.Header
	body   *io.PipeWriter

	once    sync.Once
	ready   chan struct{} // closed when status, sent and trailer are set
	status  int
	sent    http.Header
	trailer http.Header
	broken  bool
}

// Header implements http.ResponseWriter.
func (w *pipeWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *pipeWriter) WriteHeader(status int) {
	if status >= 100 && status < 200 {
		return
	}
	w.once.Do(func() {
		w.status, w.sent, w.trailer = status, w.header.Clone(), http.Header{}
		for _, names := range w.header.Values("Trailer") {
			for name := range strings.SplitSeq(names, ",") {
				w.trailer[http.CanonicalHeaderKey(strings.TrimSpace(name))] = nil
			}
		}
		close(w.ready)
	})
}

// Write implements http.ResponseWriter. It returns when the client has read.
func (w *pipeWriter) Write(data []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if len(data) == 0 { // a pipe would wait for a reader even so, and a message without fields has an empty body
		return 0, nil
	}
	return w.body.Write(data)
}

// Flush implements http.Flusher.
func (w *pipeWriter) Flush() { w.WriteHeader(http.StatusOK) }

func (w *pipeWriter) wrote() bool {
	select {
	case <-w.ready:
		return true
	default:
		return false
	}
}

// finish ends a whole answer. Trailers are set before the body's end, which is what a client waits for.
func (w *pipeWriter) finish() {
	w.WriteHeader(http.StatusOK)
	for name, values := range w.header {
		if trailer, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			w.trailer[trailer] = values
		} else if _, declared := w.trailer[name]; declared {
			w.trailer[name] = values
		}
	}
	_ = w.body.Close() // never fails
}

// fail ends an answer that will not come whole.
func (w *pipeWriter) fail() {
	w.once.Do(func() {
		w.broken = true
		close(w.ready)
	})
	_ = w.body.CloseWithError(errors.Join(io.ErrUnexpectedEOF, errInside)) // never fails
}
