package back

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

const (
	// retryAfter is how long a stream that broke off is left alone when the server does not say, retryMost how long at most.
	retryAfter = time.Second
	retryMost  = 30 * time.Second
	retryLeast = 20 * time.Millisecond
	// maxResumes is how often in a row a stream may be taken up again without anything new in it.
	maxResumes = 100
)

// trail is where a stream is that can break off and be taken up again.
type trail struct {
	last  string
	pause time.Duration
	told  bool
	tries int
}

// mark takes from a stream how far it came and when to come back.
func (t *trail) mark(events *mcp.EventReader) {
	if id := events.LastID(); id != "" && id != t.last && sendable(id) {
		t.last, t.tries = id, 0
	}
	if pause, told := events.Retry(); told {
		t.pause, t.told = min(max(pause, retryLeast), retryMost), true
	}
	if !t.told {
		t.pause = retryAfter
	}
}

// sendable reports whether an event's id can be a header.
func sendable(id string) bool {
	for i := range len(id) {
		if id[i] < 0x20 || id[i] == 0x7f {
			return false
		}
	}
	return len(id) <= 1024
}

// resume takes up a call's stream again behind the last event that came, as often as the server ends the connection before the answer
// (2025-11-25, transports, "Resumability and Redelivery").
func (u *upstream) resume(
	ctx context.Context, at *session, ex *guard.Exchange, r *response, way *trail, deadline time.Time, cause error,
) (*response, error) {
	h := r.hearer
	way.mark(r.events)
	r.finish(false)
	if ex.Pause != nil && way.told && way.last != "" && errors.Is(cause, io.EOF) {
		ex.Pause(way.pause)
	}
	for {
		if h != nil {
			deadline = h.until()
		}
		switch {
		case ctx.Err() != nil, timedOut(cause), errors.Is(cause, mcp.ErrEventTooLarge), way.last == "", way.tries >= maxResumes:
			return nil, u.failed(ctx, cause)
		case !u.now().Add(way.pause).Before(deadline):
			return nil, u.failed(ctx, errors.Join(cause, os.ErrDeadlineExceeded))
		case !clock.Sleep(ctx, way.pause):
			return nil, u.failed(ctx, ctx.Err())
		}
		way.tries++
		m := message{head: u.heads.get, headers: u.speaker(at.version).Headers("", ""), lease: ex.Lease, session: at.id, last: way.last, hearer: h}
		again, err := u.send(ctx, m, deadline)
		switch {
		case err == nil && again.events != nil:
			return again, nil
		case err == nil && again.status < 500:
			return nil, u.failed(ctx, cause) // the server does not take it up again
		case err != nil && !fault.Is(err, faultv1.Reason_REASON_UPSTREAM):
			return nil, err
		}
	}
}
