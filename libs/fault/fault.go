// Package fault is the one error that crosses every boundary of Headgate: a reason for machines, a sentence for the person who must act,
// and a cause that stays inside.
package fault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Error is a refusal or a failure. Only reason, sentence and About leave the process; the cause is logged once where it is mapped.
type Error struct {
	Reason   faultv1.Reason
	Sentence string
	About    map[string]string
	cause    error
}

// New makes an error whose sentence says what was refused, by which rule, and what to do.
func New(reason faultv1.Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Sentence: fmt.Sprintf(format, args...)}
}

// Invalid is New for a request that is not of the form that it must have.
func Invalid(format string, args ...any) *Error {
	return New(faultv1.Reason_REASON_INVALID, format, args...)
}

// NotFound is New for something that is not there.
func NotFound(format string, args ...any) *Error {
	return New(faultv1.Reason_REASON_NOT_FOUND, format, args...)
}

// With returns a copy that also says what the sentence is about.
func (e *Error) With(key, value string) *Error {
	about := maps.Clone(e.About)
	if about == nil {
		about = map[string]string{}
	}
	about[key] = value
	return &Error{Reason: e.Reason, Sentence: e.Sentence, About: about, cause: e.cause}
}

// Because returns a copy that remembers its cause, for the log.
func (e *Error) Because(cause error) *Error {
	return &Error{Reason: e.Reason, Sentence: e.Sentence, About: e.About, cause: cause}
}

// Error is the sentence alone.
func (e *Error) Error() string { return e.Sentence }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// From returns the Error in err's chain; nil for nil. What has none becomes internal, or cancelled when a context ended.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	if errors.Is(err, context.Canceled) {
		return New(faultv1.Reason_REASON_CANCELLED, "The caller went away before the answer.").Because(err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return New(faultv1.Reason_REASON_UNAVAILABLE, "The answer did not come in time. Try again.").Because(err)
	}
	return New(faultv1.Reason_REASON_INTERNAL, "Something failed inside Headgate. The log has the cause under the request id.").Because(err)
}

// Is reports whether err carries the reason.
func Is(err error, reason faultv1.Reason) bool {
	var known *Error
	return errors.As(err, &known) && known.Reason == reason
}

// Code is the reason's name in records and answers, as "not-granted".
func Code(reason faultv1.Reason) string {
	name := strings.TrimPrefix(reason.String(), "REASON_")
	return strings.ToLower(strings.ReplaceAll(name, "_", "-"))
}
