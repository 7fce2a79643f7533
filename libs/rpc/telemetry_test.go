package rpc_test

import (
	"context"
	"net/http"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"headgate.dev/libs/rpc"
)

// observed is a telemetry that a test can read.
func observed() (rpc.Telemetry, *tracetest.SpanRecorder, *sdkmetric.ManualReader) {
	spans, metrics := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
	return rpc.Telemetry{
		Traces:  sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
		Metrics: sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics)),
	}, spans, metrics
}

func TestATraceOfAServiceIsContinuedAndOneOfAPersonIsOnlyLinked(t *testing.T) {
	const remote = "0af7651916cd43dd8448eb211c80319c"
	for name, c := range map[string]struct {
		change    func(*http.Request)
		continued bool
	}{"a service": {serviceCert("console"), true}, "a person": {withToken("token-of-admin"), false}} {
		telemetry, spans, _ := observed()
		m := muxOf(rpc.MuxConfig{Authenticate: people, Record: (&journal{}).record, Telemetry: telemetry})
		status := methodOf(t, "headgate.edge.v1.EdgeService.Status")
		post(t, m, status, "{}", func(r *http.Request) {
			c.change(r)
			r.Header.Set("Traceparent", "00-"+remote+"-b7ad6b7169203331-01")
		})
		ended := spans.Ended()
		if len(ended) != 1 {
			t.Fatalf("%s: %d spans", name, len(ended))
		}
		span := ended[0]
		if continued := span.SpanContext().TraceID().String() == remote; continued != c.continued {
			t.Errorf("%s: trace %s, parent %s", name, span.SpanContext().TraceID(), span.Parent().TraceID())
		}
		if linked := len(span.Links()) == 1 && span.Links()[0].SpanContext.TraceID().String() == remote; linked == c.continued {
			t.Errorf("%s: links %v", name, span.Links())
		}
		has := map[attribute.Key]bool{}
		for _, a := range span.Attributes() {
			has[a.Key] = true
		}
		if !has["headgate.request.id"] || has["network.peer.address"] || has["net.peer.name"] {
			t.Errorf("%s: attributes %v", name, span.Attributes())
		}
	}
}

func TestRefusalsAreCountedByMethodAndReasonAlone(t *testing.T) {
	telemetry, _, metrics := observed()
	m := muxOf(rpc.MuxConfig{Authenticate: people, Record: (&journal{}).record, Telemetry: telemetry})
	for range 3 {
		post(t, m, method(t, "Rotate"), "{}", withToken("token-of-admin"))
	}
	post(t, m, method(t, "Rotate"), "{}", withToken("stolen"))
	var all metricdata.ResourceMetrics
	if err := metrics.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, metric := range scope.Metrics {
			if sum, ok := metric.Data.(metricdata.Sum[int64]); ok && metric.Name == "headgate.rpc.faults" {
				for _, point := range sum.DataPoints {
					reason, _ := point.Attributes.Value("headgate.reason")
					if point.Attributes.Len() != 2 {
						t.Errorf("labels %v", point.Attributes.ToSlice())
					}
					got[reason.AsString()] = point.Value
				}
			}
		}
	}
	if len(got) != 2 || got["role-required"] != 3 || got["unauthenticated"] != 1 {
		t.Errorf("counted %v", got)
	}
}
