package rpc

import (
	"context"
	"fmt"
	"runtime/debug"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
)

// boundary is where errors leave: a panic becomes one, every one becomes a fault, its cause is logged once under the request id, and only the
// fault crosses.
type boundary struct{ mux *Mux }

// WrapUnary implements connect.Interceptor.
func (b *boundary) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (response connect.AnyResponse, err error) {
		c := b.enter(ctx)
		defer func() { err = b.leave(ctx, c, request.Spec().Procedure, err, recover()) }()
		return next(ctx, request)
	}
}

// WrapStreamingClient implements connect.Interceptor; it does nothing there.
func (b *boundary) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor. A stream ends when the server drains: it would outlive every other call.
func (b *boundary) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		c := b.enter(ctx)
		drained, ok := ctx.Value(drainKey{}).(context.Context)
		if ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(drained, cancel)()
		}
		defer func() {
			if ok && drained.Err() != nil && faultOf(err) != nil && faultOf(err).Reason == faultv1.Reason_REASON_CANCELLED {
				err = fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The service stops, so the stream is ended. Open it again.")
			}
			err = b.leave(ctx, c, conn.Spec().Procedure, err, recover())
		}()
		return next(ctx, conn)
	}
}

func (b *boundary) enter(ctx context.Context) *call {
	c := callFrom(ctx)
	trace.SpanFromContext(ctx).SetAttributes(attribute.String("headgate.request.id", c.id))
	return c
}

// leave turns what came out of a call into what crosses the wire.
func (b *boundary) leave(ctx context.Context, c *call, procedure string, err error, panicked any) error {
	if panicked != nil {
		b.mux.cfg.Log.ErrorContext(ctx, "rpc panicked", "procedure", procedure, "request_id", c.id, "caller", c.caller.String(),
			"panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
		err = fault.New(faultv1.Reason_REASON_INTERNAL, "Something failed inside Headgate. The log has the cause under the request id.")
	}
	if err == nil {
		return nil
	}
	f := faultOf(err)
	b.mux.report(ctx, c, procedure, f)
	return toWire(f, c.id)
}

// report counts a refusal or failure and logs its cause, once.
func (m *Mux) report(ctx context.Context, c *call, procedure string, f *fault.Error) {
	m.watch.fault(ctx, procedure, f.Reason)
	attributes := []any{"procedure", procedure, "request_id", c.id, "caller", c.caller.String(), "reason", fault.Code(f.Reason)}
	cause := f.Unwrap()
	switch {
	case f.Reason == faultv1.Reason_REASON_CANCELLED:
		m.cfg.Log.DebugContext(ctx, "rpc cancelled", attributes...)
	case cause != nil && f.Reason == faultv1.Reason_REASON_INTERNAL:
		m.cfg.Log.ErrorContext(ctx, "rpc failed", append(attributes, "cause", cause.Error())...)
	case cause != nil:
		m.cfg.Log.WarnContext(ctx, "rpc refused", append(attributes, "cause", cause.Error())...)
	default:
		m.cfg.Log.DebugContext(ctx, "rpc refused", attributes...)
	}
}
