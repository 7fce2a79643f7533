package audit_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
)

// staff are auditors of acme by their names, which are their tokens, until they are no more.
type staff struct {
	mu   sync.Mutex
	gone map[string]bool
	less map[string]bool
	ends map[string]time.Time
}

func (s *staff) authenticate(_ context.Context, token string) (*identityv1.Caller, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone[token] {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "%s is not let in any more.", token)
	}
	c := &identityv1.Caller{Tenant: "acme", Name: token, Rights: []optionsv1.Role{optionsv1.Role_ROLE_MEMBER, optionsv1.Role_ROLE_AUDITOR}}
	if s.less[token] {
		c.Rights = c.GetRights()[:1]
	}
	if end, ok := s.ends[token]; ok {
		c.ExpiresAt = timestamppb.New(end)
	}
	return c, nil
}

func (s *staff) change(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// tail opens a tail that stands.
func (h *house) tail(as string) *connect.ServerStreamForClient[auditv1.TailResponse] {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 30*time.Second)
	h.t.Cleanup(cancel)
	stream, err := h.client.Tail(ctx, bearer(as, &auditv1.TailRequest{Filter: &auditv1.Filter{Action: "tool-call"}}))
	if err != nil || !stream.Receive() {
		h.t.Fatal(err, stream.Err())
	}
	return stream
}

func TestATailEndsWithTheRightToIt(t *testing.T) {
	h, s := start(t), &staff{gone: map[string]bool{}, less: map[string]bool{}, ends: map[string]time.Time{}}
	h.people = s.authenticate
	want := map[string]faultv1.Reason{
		"disabled": faultv1.Reason_REASON_UNAUTHENTICATED, "revoked": faultv1.Reason_REASON_UNAUTHENTICATED,
		"expired": faultv1.Reason_REASON_UNAUTHENTICATED, "demoted": faultv1.Reason_REASON_UNAVAILABLE,
	}
	unchanged := h.tail("unchanged")
	defer func() { _ = unchanged.Close() }()
	var ended sync.WaitGroup
	for name, reason := range want {
		stream := h.tail(name)
		ended.Go(func() {
			defer func() { _ = stream.Close() }()
			for stream.Receive() {
				if len(stream.Msg().GetEvents()) > 0 {
					t.Errorf("%s got %v", name, stream.Msg())
				}
			}
			if !fault.Is(stream.Err(), reason) {
				t.Errorf("%s: the tail ended with %v, want %s", name, stream.Err(), reason)
			}
		})
	}
	s.change(func() {
		s.gone["disabled"], s.gone["revoked"], s.less["demoted"] = true, true, true
		s.ends["expired"] = time.Now()
	})
	began := time.Now()
	ended.Wait()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the last ended after %v", took)
	}
	h.record("later", "acme", "bob")
	for unchanged.Receive() {
		if events := unchanged.Msg().GetEvents(); len(events) > 0 {
			if events[0].GetId() != "later" {
				t.Errorf("got %v", events)
			}
			return
		}
	}
	t.Errorf("the tail of who may go on ended: %v", unchanged.Err())
}
