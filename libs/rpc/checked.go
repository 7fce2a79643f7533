package rpc

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
)

// checked holds the rules that need the message: no other tenant than the person's own, and a record around every audited call. Who has
// a stream open is looked up again.
type checked struct{ mux *Mux }

// WrapUnary implements connect.Interceptor.
func (k *checked) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		c := callFrom(ctx)
		var response connect.AnyResponse
		refused := c.method.checkTenant(c.caller, request.Any())
		c.tenant = tenantOf(c.caller, request.Any())
		err := k.carry(c, refused, func() error {
			var err error
			response, err = next(ctx, request)
			return err
		})
		if err != nil {
			return nil, err
		}
		return response, nil
	}
}

// WrapStreamingClient implements connect.Interceptor; it does nothing there.
func (k *checked) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (k *checked) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		c := callFrom(ctx)
		c.tenant = tenantOf(c.caller, nil) // until its message is read
		return k.carry(c, nil, func() error {
			return k.mux.follow(ctx, c, checkedConn{StreamingHandlerConn: conn, call: c}, next)
		})
	}
}

// carry runs a call between its records, unless it is refused already. One that changes something is recorded before it happens, so that without
// a journal nothing happens.
func (k *checked) carry(c *call, refused error, run func() error) (err error) {
	if refused != nil {
		run = func() error { return refused }
	}
	if c.caller.Person == nil || !c.method.access.GetAudited() {
		return run()
	}
	if refused == nil && !c.method.readOnly {
		if err := k.mux.recordStarted(c, c.tenant); err != nil {
			return err
		}
	}
	began := k.mux.cfg.Now()
	finished := false
	defer func() {
		if !finished { // a panic passes
			err = k.settle(c, k.mux.cfg.Now().Sub(began), fault.New(faultv1.Reason_REASON_INTERNAL, "The call ended in a panic."), nil)
		}
	}()
	err = run()
	finished = true
	return k.settle(c, k.mux.cfg.Now().Sub(began), faultOf(err), err)
}

// settle writes the final record. When it cannot be written the answer does not leave.
func (k *checked) settle(c *call, took time.Duration, f *fault.Error, err error) error {
	if recordErr := k.mux.recordFinal(c, c.tenant, took, f); recordErr != nil {
		return recordErr
	}
	return err
}

type checkedConn struct {
	connect.StreamingHandlerConn

	call *call
}

// Receive implements connect.StreamingHandlerConn.
func (s checkedConn) Receive(message any) error {
	if err := s.StreamingHandlerConn.Receive(message); err != nil {
		return err
	}
	if err := s.call.method.checkTenant(s.call.caller, message); err != nil {
		return err
	}
	if !s.call.recorded { // all records of a call are in one tenant
		s.call.tenant = tenantOf(s.call.caller, message)
	}
	return nil
}

// tenantOf is the tenant that a record belongs to: what a platform administrator names, else the person's own.
func tenantOf(c Caller, message any) string {
	own := c.Person.GetTenant()
	request, ok := message.(proto.Message)
	if !ok || !c.Has(optionsv1.Role_ROLE_PLATFORM) {
		return own
	}
	m := request.ProtoReflect()
	f := m.Descriptor().Fields().ByName(protoreflect.Name("tenant"))
	if f == nil || !isTenant(f) || m.Get(f).String() == "" {
		return own
	}
	return m.Get(f).String()
}
