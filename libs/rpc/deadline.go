package rpc

import (
	"context"
	"time"

	"connectrpc.com/connect"
)

const (
	// defaultTimeout bounds a unary call that comes without a deadline.
	defaultTimeout = 10 * time.Second
	// mostShaved bounds what one hop keeps back of a deadline, to answer in time itself.
	mostShaved = 100 * time.Millisecond
)

// deadline gives every unary call an end. A hop keeps a twentieth of what is left back, so that the innermost gives up first and each caller
// still hears why.
type deadline struct{}

// WrapUnary implements connect.Interceptor.
func (deadline) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		timeout := defaultTimeout
		if until, ok := ctx.Deadline(); ok {
			left := time.Until(until)
			timeout = left - min(left/20, mostShaved)
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return next(ctx, request)
	}
}

// WrapStreamingClient implements connect.Interceptor. Streams live as long as their context.
func (deadline) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor. Streams live as long as their context.
func (deadline) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
