package lend_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/lend"
)

// bank lends the same to all, or nothing where it has no answer.
type bank struct{ answer *credentialsv1.LeaseResponse }

func (b bank) Lease(context.Context, *connect.Request[credentialsv1.LeaseRequest]) (*connect.Response[credentialsv1.LeaseResponse], error) {
	return connect.NewResponse(b.answer), nil
}

func TestT18ACredentialIsNotSentWhereOthersCanReadIt(t *testing.T) {
	held := bank{&credentialsv1.LeaseResponse{
		LeaseId: "l1", AllowHosts: []string{"192.0.2.2"}, Secrets: []string{"s3cret-s3cret"}, ExpiresAt: timestamppb.New(time.Now().Add(time.Hour)),
		Headers: []*credentialsv1.Header{{Name: "Authorization", Value: "Bearer s3cret-s3cret"}},
	}}
	lender := lend.New(held, os.LookupEnv, clock.System)
	defer lender.Close()
	ask := func(l *lend.Lender, private bool) (*guard.Lease, error) {
		return l.Lease(t.Context(), guard.LeaseRequest{Server: &guard.Server{Tenant: "acme", Name: "echo", Address: "192.0.2.2:9400", Private: private}})
	}
	if lease, err := ask(lender, true); err != nil || len(lease.Headers) != 1 {
		t.Errorf("where it may go: %v, %v", lease, err)
	}
	// What was lent before counts no more when the declaration is another one.
	lease, err := ask(lender, false)
	if lease != nil || !fault.Is(err, faultv1.Reason_REASON_CREDENTIAL) || !strings.Contains(err.Error(), "spec.insecure: true") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("where it may not go: %v, %v", lease, err)
	}
	bare := lend.New(bank{&credentialsv1.LeaseResponse{}}, os.LookupEnv, clock.System)
	defer bare.Close()
	if lease, err := ask(bare, false); err != nil || len(lease.Headers) != 0 {
		t.Errorf("a server that needs none: %v, %v", lease, err)
	}
}
