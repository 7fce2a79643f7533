package rpc

import (
	"context"

	"connectrpc.com/connect"
	"connectrpc.com/otelconnect"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
)

// Telemetry is where traces and metrics go; a nil provider discards.
type Telemetry struct {
	Traces  trace.TracerProvider
	Metrics metric.MeterProvider
}

func (t Telemetry) options() []otelconnect.Option {
	if t.Traces == nil {
		t.Traces = tracenoop.NewTracerProvider()
	}
	return []otelconnect.Option{
		otelconnect.WithTracerProvider(t.Traces), otelconnect.WithMeterProvider(t.meters()), otelconnect.WithPropagator(propagation.TraceContext{}),
	}
}

func (t Telemetry) meters() metric.MeterProvider {
	if t.Metrics == nil {
		return metricnoop.NewMeterProvider()
	}
	return t.Metrics
}

// client traces and measures calls that are made.
func (t Telemetry) client() (connect.Interceptor, error) {
	return otelconnect.NewInterceptor(t.options()...)
}

// server traces and measures calls that are served. A trace that a service sends is continued, one that a person sends is only linked: otherwise
// anyone could write into anyone's trace.
func (t Telemetry) server() (connect.Interceptor, error) {
	linked, err := otelconnect.NewInterceptor(t.options()...)
	if err != nil {
		return passThrough{}, err
	}
	continued, err := otelconnect.NewInterceptor(append(t.options(), otelconnect.WithTrustRemote())...)
	if err != nil {
		return passThrough{}, err
	}
	return traced{continued: continued, linked: linked}, nil
}

// instruments are the metrics of the mux itself.
type instruments struct{ faults metric.Int64Counter }

func (t Telemetry) instruments() (instruments, error) {
	faults, err := t.meters().Meter("headgate.dev/libs/rpc").Int64Counter("headgate.rpc.faults",
		metric.WithDescription("Calls that were refused or failed, by method and reason."), metric.WithUnit("{call}"))
	return instruments{faults: faults}, err
}

func (i instruments) fault(ctx context.Context, procedure string, reason faultv1.Reason) {
	if i.faults != nil {
		i.faults.Add(ctx, 1, metric.WithAttributes(attribute.String("rpc.method", procedure), attribute.String("headgate.reason", fault.Code(reason))))
	}
}

// traced chooses between the two ways to trace by who calls.
type traced struct{ continued, linked connect.Interceptor }

// WrapUnary implements connect.Interceptor.
func (t traced) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	continued, linked := t.continued.WrapUnary(next), t.linked.WrapUnary(next)
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		if callFrom(ctx).service != optionsv1.Service_SERVICE_UNSPECIFIED {
			return continued(ctx, request)
		}
		return linked(ctx, request)
	}
}

// WrapStreamingClient implements connect.Interceptor; it does nothing there.
func (t traced) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (t traced) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	continued, linked := t.continued.WrapStreamingHandler(next), t.linked.WrapStreamingHandler(next)
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if callFrom(ctx).service != optionsv1.Service_SERVICE_UNSPECIFIED {
			return continued(ctx, conn)
		}
		return linked(ctx, conn)
	}
}

// passThrough does nothing; Check refuses the mux that needed it.
type passThrough struct{}

// WrapUnary implements connect.Interceptor.
func (passThrough) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return next }

// WrapStreamingClient implements connect.Interceptor.
func (passThrough) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (passThrough) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
