package lease_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	"headgate.dev/services/trust/internal/lease"
)

// bank is a credentials service that counts.
type bank struct {
	credentialsv1connect.CredentialsServiceClient

	answer *credentialsv1.LeaseResponse
	err    error
	asked  int
}

func (b *bank) Lease(context.Context, *connect.Request[credentialsv1.LeaseRequest]) (*connect.Response[credentialsv1.LeaseResponse], error) {
	b.asked++
	if b.err != nil {
		return nil, b.err
	}
	return connect.NewResponse(b.answer), nil
}

func TestALeaseIsUsedForFourFifthsOfItsLife(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	b := &bank{answer: &credentialsv1.LeaseResponse{LeaseId: "lease_1", Secrets: []string{"s3cret"}, ExpiresAt: timestamppb.New(now.Add(5 * time.Minute))}}
	lender := lease.New(b, func() time.Time { return now })
	use := lease.Use{Tenant: "acme", Server: "echo", Host: "echo.example:443"}
	take := func(after time.Duration, use lease.Use, asked int) {
		t.Helper()
		now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC).Add(after)
		if got, err := lender.Lease(t.Context(), use); err != nil || len(got.Secrets) != 1 || b.asked != asked {
			t.Errorf("after %s: %v, asked %d times", after, err, b.asked)
		}
	}
	take(0, use, 1)
	take(4*time.Minute-time.Second, use, 1)
	take(4*time.Minute, use, 2)
	take(4*time.Minute, lease.Use{Tenant: "acme", Server: "echo", Host: "elsewhere.example:443"}, 3)
	take(4*time.Minute, lease.Use{Tenant: "rival", Server: "echo", Host: "echo.example:443"}, 4)
	lender.Forget(use)
	take(4*time.Minute, use, 5)
}

func TestAConnectionThatIsDeclaredNowIsUsedSoon(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	b := &bank{answer: &credentialsv1.LeaseResponse{}}
	lender := lease.New(b, func() time.Time { return now })
	for _, step := range []struct {
		wait  time.Duration
		asked int
	}{{0, 1}, {4 * time.Second, 1}, {time.Second, 2}} {
		now = now.Add(step.wait)
		if got, err := lender.Lease(t.Context(), lease.Use{Server: "echo"}); err != nil || len(got.Headers) != 0 || b.asked != step.asked {
			t.Errorf("%v, %v, asked %d times", got, err, b.asked)
		}
	}
	b.err = errors.New("down")
	now = now.Add(time.Minute)
	if _, err := lender.Lease(t.Context(), lease.Use{Server: "echo"}); err == nil {
		t.Error("an old answer was used when the service is down")
	}
}
