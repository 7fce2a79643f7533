package rpc

import (
	"context"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/flood"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/record"
)

const (
	// action is the event.action of calls of the API.
	action = "api-call"
	// stage is where the API says who may call.
	stage = "access"
)

// recordStarted writes what is about to happen.
func (m *Mux) recordStarted(c *call, tenant string) error {
	ev := m.event(c, tenant)
	ev.Phase = eventsv1.Phase_PHASE_STARTED
	ev.Outcome = eventsv1.Outcome_OUTCOME_UNKNOWN
	return m.record(c, ev)
}

// recordFinal writes how a call ended; f is nil when it did what it was asked.
func (m *Mux) recordFinal(c *call, tenant string, took time.Duration, f *fault.Error) error {
	ev := m.event(c, tenant)
	ev.Phase = eventsv1.Phase_PHASE_FINAL
	ev.DurationNs = took.Nanoseconds()
	ev.Outcome = eventsv1.Outcome_OUTCOME_SUCCESS
	ev.Decision = &eventsv1.Decision{Effect: "allow", Sentence: "allowed by the access rule of " + c.method.procedure + c.note, Stage: stage}
	ev.Request.HttpStatus = http.StatusOK
	if f != nil {
		code := codes[f.Reason]
		ev.Outcome = eventsv1.Outcome_OUTCOME_FAILURE
		ev.Request.HttpStatus = httpStatus(code)
		ev.Decision.Reason, ev.Decision.Sentence = f.Reason, f.Sentence
		if c.note != "" {
			ev.Decision.Sentence += " Asked" + c.note
		}
		if code == connect.CodeUnauthenticated || code == connect.CodePermissionDenied {
			ev.Decision.Effect = "block"
		}
	}
	return m.record(c, ev)
}

// counts reports whether a call that was turned away is counted instead of recorded: its caller had their share of records.
func (m *Mux) counts(c *call, f *fault.Error) bool {
	counter := m.flood.Load()
	if counter == nil {
		return false
	}
	source := flood.Address(c.sourceIP)
	if p := c.caller.Person; p != nil {
		source = flood.Person(p.GetTenant(), p.GetName(), p.GetAgent())
	}
	return counter.Counts(flood.Refusal{
		Source: source, Kind: c.method.procedure + " " + f.Reason.String(),
		Common: func() *eventsv1.Event { return m.counted(c, f) },
	}, m.cfg.Now())
}

// counted is what the records of a caller's refusals have in common that are for one reason at one method.
func (m *Mux) counted(c *call, f *fault.Error) *eventsv1.Event {
	ev := m.event(c, "")
	ev.Source.UserAgent, ev.Request.Id, ev.Request.HttpStatus = "", "", httpStatus(codes[f.Reason])
	ev.Decision = &eventsv1.Decision{Effect: record.Block, Stage: stage, Reason: f.Reason}
	return ev
}

// recordCount writes how many calls were turned away without a record of their own.
func (m *Mux) recordCount(ev *eventsv1.Event) error {
	ev.Id, ev.CallId, ev.Service = ids.New(), ids.Prefixed("call"), ServiceName(m.cfg.Self)
	err := m.record(&call{}, ev)
	if err != nil {
		m.cfg.Log.Error("count of refused calls not written yet", "source", ev.GetSource().GetIp(), "requests", ev.GetRepeats(), "cause", err.Error())
	}
	return err
}

// recordUnread writes the final record of an audited call that was admitted but whose message could not be read.
func (m *Mux) recordUnread(c *call) {
	if !c.admitted || c.recorded || c.caller.Person == nil || !c.method.access.GetAudited() {
		return
	}
	unread := fault.Invalid("The request is not a message that %s takes.", c.method.procedure)
	if err := m.recordFinal(c, c.caller.Person.GetTenant(), 0, unread); err != nil {
		m.cfg.Log.Error("record of an unreadable request not written", "procedure", c.method.procedure, "request_id", c.id, "cause", err.Error())
	}
}

// record hands a record to the journal; no journal and a full journal refuse alike.
func (m *Mux) record(c *call, ev *eventsv1.Event) error {
	c.recorded = true
	const sentence = "The call is refused because its audit record cannot be written. Nothing was answered; tell the platform's operators."
	if m.cfg.Record == nil {
		return fault.New(faultv1.Reason_REASON_JOURNAL, sentence)
	}
	if err := m.cfg.Record(ev); err != nil {
		return fault.New(faultv1.Reason_REASON_JOURNAL, sentence).Because(err)
	}
	return nil
}

// event is what every record of a call says.
func (m *Mux) event(c *call, tenant string) *eventsv1.Event {
	if c.callID == "" {
		c.callID = ids.Prefixed("call")
	}
	if tenant == "" {
		tenant = c.caller.Person.GetTenant()
	}
	if tenant == "" {
		tenant = record.SystemTenant // nobody knows whose
	}
	return c.by().Sign(&eventsv1.Event{
		Id: ids.New(), Action: action, Time: timestamppb.New(m.cfg.Now()), Tenant: tenant, Service: ServiceName(m.cfg.Self), CallId: c.callID,
	})
}

// longestNote is more than all filters of a search can be, in bytes.
const longestNote = 16 << 10

// Note adds to the record of the call, also of one that is refused, what it is about, where the method's name does not say it. What is noted must not be secret.
func Note(ctx context.Context, about string) { callFrom(ctx).note = ": " + cut(about, longestNote) }

// By is who calls, from where and in which request, for the records of what the call does. They have the request in common with the records of the call itself.
func By(ctx context.Context) record.By {
	c := callFrom(ctx)
	if c.method == nil { // a handler that is called without the mux
		return record.By{Principal: CallerFrom(ctx).principal()}
	}
	by := c.by()
	by.Trace = traceOf(ctx)
	return by
}

func (c *call) by() record.By {
	_, name, _ := strings.Cut(strings.Trim(c.method.procedure, "/"), "/")
	return record.By{
		Principal: c.caller.principal(),
		Source:    &eventsv1.Source{Ip: c.sourceIP, UserAgent: cut(c.userAgent, 256)},
		Request:   &eventsv1.Request{Method: name, Endpoint: c.method.procedure, Id: `"` + c.id + `"`},
	}
}

func (c Caller) principal() *eventsv1.Principal {
	if c.Person != nil {
		return record.Person(c.Person)
	}
	return record.Service(ServiceName(c.Service))
}

func traceOf(ctx context.Context) *eventsv1.Trace {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return nil
	}
	return &eventsv1.Trace{TraceId: span.TraceID().String(), SpanId: span.SpanID().String()}
}

// cut shortens what a client says of itself.
func cut(s string, most int) string {
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}

// httpStatus is the status that a code has in the Connect protocol.
func httpStatus(code connect.Code) int32 {
	switch code {
	case connect.CodeInvalidArgument, connect.CodeOutOfRange, connect.CodeFailedPrecondition:
		return http.StatusBadRequest
	case connect.CodeUnauthenticated:
		return http.StatusUnauthorized
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	case connect.CodeNotFound:
		return http.StatusNotFound
	case connect.CodeAborted, connect.CodeAlreadyExists:
		return http.StatusConflict
	case connect.CodeResourceExhausted:
		return http.StatusTooManyRequests
	case connect.CodeCanceled:
		return 499
	case connect.CodeUnimplemented:
		return http.StatusNotImplemented
	case connect.CodeUnavailable:
		return http.StatusServiceUnavailable
	case connect.CodeDeadlineExceeded:
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}
