package rpc

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
)

// codes is the code that each reason travels under; HTTP and gRPC statuses follow from it.
var codes = map[faultv1.Reason]connect.Code{
	faultv1.Reason_REASON_UNSPECIFIED:          connect.CodeInternal,
	faultv1.Reason_REASON_INTERNAL:             connect.CodeInternal,
	faultv1.Reason_REASON_INVALID:              connect.CodeInvalidArgument,
	faultv1.Reason_REASON_NOT_FOUND:            connect.CodeNotFound,
	faultv1.Reason_REASON_UNAUTHENTICATED:      connect.CodeUnauthenticated,
	faultv1.Reason_REASON_ROLE_REQUIRED:        connect.CodePermissionDenied,
	faultv1.Reason_REASON_WRONG_TENANT:         connect.CodePermissionDenied,
	faultv1.Reason_REASON_NOT_GRANTED:          connect.CodePermissionDenied,
	faultv1.Reason_REASON_UNKNOWN_TOOL:         connect.CodeNotFound,
	faultv1.Reason_REASON_NOT_APPROVED:         connect.CodePermissionDenied,
	faultv1.Reason_REASON_DEFINITION_CHANGED:   connect.CodePermissionDenied,
	faultv1.Reason_REASON_QUARANTINED:          connect.CodePermissionDenied,
	faultv1.Reason_REASON_KILLED:               connect.CodePermissionDenied,
	faultv1.Reason_REASON_RULE:                 connect.CodePermissionDenied,
	faultv1.Reason_REASON_APPROVAL_REQUIRED:    connect.CodePermissionDenied,
	faultv1.Reason_REASON_RULE_ERROR:           connect.CodePermissionDenied,
	faultv1.Reason_REASON_FACT_UNAVAILABLE:     connect.CodeUnavailable,
	faultv1.Reason_REASON_ARGUMENTS:            connect.CodeInvalidArgument,
	faultv1.Reason_REASON_PARSE:                connect.CodeInvalidArgument,
	faultv1.Reason_REASON_HEADER_MISMATCH:      connect.CodeInvalidArgument,
	faultv1.Reason_REASON_PROTOCOL_VERSION:     connect.CodeInvalidArgument,
	faultv1.Reason_REASON_FORBIDDEN_ORIGIN:     connect.CodePermissionDenied,
	faultv1.Reason_REASON_TOO_LARGE:            connect.CodeResourceExhausted,
	faultv1.Reason_REASON_RATE_LIMITED:         connect.CodeResourceExhausted,
	faultv1.Reason_REASON_STALE:                connect.CodeUnavailable,
	faultv1.Reason_REASON_CREDENTIAL:           connect.CodeFailedPrecondition,
	faultv1.Reason_REASON_JOURNAL:              connect.CodeUnavailable,
	faultv1.Reason_REASON_UPSTREAM:             connect.CodeUnavailable,
	faultv1.Reason_REASON_UPSTREAM_TIMEOUT:     connect.CodeDeadlineExceeded,
	faultv1.Reason_REASON_CANCELLED:            connect.CodeCanceled,
	faultv1.Reason_REASON_INSPECTION:           connect.CodePermissionDenied,
	faultv1.Reason_REASON_CONFLICT:             connect.CodeAborted,
	faultv1.Reason_REASON_UNAVAILABLE:          connect.CodeUnavailable,
	faultv1.Reason_REASON_METHOD:               connect.CodeUnimplemented,
	faultv1.Reason_REASON_CRASH:                connect.CodeInternal,
	faultv1.Reason_REASON_AGENT:                connect.CodePermissionDenied,
	faultv1.Reason_REASON_BLOCK_LISTED:         connect.CodePermissionDenied,
	faultv1.Reason_REASON_CONDITION:            connect.CodePermissionDenied,
	faultv1.Reason_REASON_RULE_COST:            connect.CodePermissionDenied,
	faultv1.Reason_REASON_RULE_TYPE:            connect.CodePermissionDenied,
	faultv1.Reason_REASON_STEP_UP:              connect.CodePermissionDenied,
	faultv1.Reason_REASON_RELATION_UNAVAILABLE: connect.CodeUnavailable,
	faultv1.Reason_REASON_CLOCK:                connect.CodeUnavailable,
}

// reasons is what an error without a fault means: one that connect itself, a proxy or a foreign server made.
var reasons = map[connect.Code]faultv1.Reason{
	connect.CodeCanceled:           faultv1.Reason_REASON_CANCELLED,
	connect.CodeInvalidArgument:    faultv1.Reason_REASON_INVALID,
	connect.CodeOutOfRange:         faultv1.Reason_REASON_INVALID,
	connect.CodeNotFound:           faultv1.Reason_REASON_NOT_FOUND,
	connect.CodeAlreadyExists:      faultv1.Reason_REASON_CONFLICT,
	connect.CodeAborted:            faultv1.Reason_REASON_CONFLICT,
	connect.CodeFailedPrecondition: faultv1.Reason_REASON_CONFLICT,
	connect.CodeUnauthenticated:    faultv1.Reason_REASON_UNAUTHENTICATED,
	connect.CodePermissionDenied:   faultv1.Reason_REASON_ROLE_REQUIRED,
	connect.CodeResourceExhausted:  faultv1.Reason_REASON_TOO_LARGE,
	connect.CodeUnimplemented:      faultv1.Reason_REASON_METHOD,
	connect.CodeUnavailable:        faultv1.Reason_REASON_UNAVAILABLE,
	connect.CodeDeadlineExceeded:   faultv1.Reason_REASON_UNAVAILABLE,
}

// faultOf finds what an error of a handler or an interceptor means. What is not known stays inside as internal.
func faultOf(err error) *fault.Error {
	if known, ok := errors.AsType[*fault.Error](err); ok {
		return known
	}
	var coded *connect.Error
	if !errors.As(err, &coded) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fault.From(err)
	}
	switch reason, ok := reasons[coded.Code()]; {
	case !ok:
		return fault.From(err)
	case coded.Code() == connect.CodeDeadlineExceeded:
		return fault.From(context.DeadlineExceeded).Because(err)
	default:
		return fault.New(reason, "%s", coded.Message())
	}
}

// toWire is a fault as it crosses: code and sentence, with reason, request id and what it is about as detail. The cause stays.
func toWire(f *fault.Error, requestID string) *connect.Error {
	code, ok := codes[f.Reason]
	if !ok {
		code = connect.CodeInternal
	}
	e := connect.NewError(code, errors.New(f.Sentence))
	if detail, err := connect.NewErrorDetail(&faultv1.Fault{Reason: f.Reason, RequestId: requestID, About: f.About}); err == nil {
		e.AddDetail(detail)
	}
	return e
}

// fromWire is an error that a client got, as a fault again. peer is who was called, for the sentence when nobody answered.
func fromWire(err error, peer string) *fault.Error {
	var coded *connect.Error
	if !errors.As(err, &coded) {
		return fault.From(err)
	}
	for _, d := range coded.Details() {
		message, valueErr := d.Value()
		if f, ok := message.(*faultv1.Fault); ok && valueErr == nil {
			e := fault.New(f.GetReason(), "%s", coded.Message())
			for k, v := range f.GetAbout() {
				e = e.With(k, v)
			}
			if f.GetRequestId() != "" {
				e = e.With("request_id", f.GetRequestId())
			}
			return e
		}
	}
	switch reason, ok := reasons[coded.Code()]; {
	case reason == faultv1.Reason_REASON_CANCELLED:
		return fault.From(context.Canceled).Because(err)
	case coded.Code() == connect.CodeDeadlineExceeded:
		return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The %s did not answer in time. Try again.", peer).Because(err)
	case !ok || reason == faultv1.Reason_REASON_UNAVAILABLE:
		return unanswered(err, peer)
	default:
		return fault.New(reason, "%s", coded.Message()).Because(err)
	}
}

func unanswered(err error, peer string) *fault.Error {
	return fault.New(faultv1.Reason_REASON_UNAVAILABLE, "The %s does not answer. Check that it runs and can be reached, then try again.", peer).Because(err)
}
