package rpc_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
)

// streaming has two methods that send once a period, for ever: Tail, which everybody may call, and ListUses, which needs a right.
type streaming struct {
	auditv1connect.UnimplementedAuditServiceHandler

	period time.Duration
}

func (s streaming) Tail(ctx context.Context, _ *connect.Request[auditv1.TailRequest], stream *connect.ServerStream[auditv1.TailResponse]) error {
	return s.each(ctx, func() error { return stream.Send(&auditv1.TailResponse{}) })
}

func (s streaming) ListUses(ctx context.Context, _ *connect.Request[auditv1.ListUsesRequest], stream *connect.ServerStream[auditv1.ListUsesResponse]) error {
	return s.each(ctx, func() error { return stream.Send(&auditv1.ListUsesResponse{}) })
}

func (s streaming) each(ctx context.Context, send func() error) error {
	ticker := time.NewTicker(s.period)
	defer ticker.Stop()
	for {
		if err := send(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// directory is what identity knows of the one person there is.
type directory struct {
	mu     sync.Mutex
	person *identityv1.Caller
	fails  error
}

func (d *directory) authenticate(context.Context, string) (*identityv1.Caller, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.person, d.fails
}

func (d *directory) become(rights ...optionsv1.Role) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.person = &identityv1.Caller{Tenant: "acme", Name: "vera", Rights: rights, ExpiresAt: d.person.GetExpiresAt()}
}

func (d *directory) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = err
}

// streams is the client of a service that asks identity as services do.
func (d *directory) streams(period time.Duration) auditv1connect.AuditServiceClient {
	people := (&identity{authenticate: d.authenticate}).serve(rpc.MuxConfig{})
	check := rpc.IdentityAuthenticator(asService(people, optionsv1.Service_SERVICE_AUDIT), time.Now)
	m := rpc.NewMux(rpc.MuxConfig{Self: optionsv1.Service_SERVICE_AUDIT, Authenticate: check, Record: (&journal{}).record})
	rpc.Handle[auditv1connect.AuditServiceHandler](m, auditv1connect.NewAuditServiceHandler, streaming{period: period})
	return rpc.Client(rpc.InProcess(m, optionsv1.Service_SERVICE_UNSPECIFIED).As(secret.New("token")), auditv1connect.NewAuditServiceClient)
}

type receiving interface {
	Receive() bool
	Err() error
	Close() error
}

func (d *directory) open(t *testing.T, method string, period time.Duration) receiving {
	t.Helper()
	var stream receiving
	var err error
	if method == "Tail" {
		stream, err = d.streams(period).Tail(t.Context(), connect.NewRequest(&auditv1.TailRequest{}))
	} else {
		stream, err = d.streams(period).ListUses(t.Context(), connect.NewRequest(&auditv1.ListUsesRequest{Since: timestamppb.New(time.Unix(0, 0))}))
	}
	if err != nil || !stream.Receive() {
		t.Fatal(err, stream.Err())
	}
	return stream
}

const (
	busy = 10 * time.Millisecond
	idle = time.Hour
)

func TestAnOpenStreamEndsAsSoonAsANewCallWouldBeRefused(t *testing.T) {
	member, auditor := optionsv1.Role_ROLE_MEMBER, optionsv1.Role_ROLE_AUDITOR
	revoked := fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token was revoked. Sign in again.")
	cases := map[string]struct {
		method string
		change func(d *directory)
		want   faultv1.Reason
	}{
		"revoked":                  {"Tail", func(d *directory) { d.fail(revoked) }, faultv1.Reason_REASON_UNAUTHENTICATED},
		"the right is gone":        {"ListUses", func(d *directory) { d.become(member) }, faultv1.Reason_REASON_ROLE_REQUIRED},
		"sees less":                {"Tail", func(d *directory) { d.become(member) }, faultv1.Reason_REASON_UNAVAILABLE},
		"identity does not answer": {"Tail", func(d *directory) { d.fail(errors.New("the database is gone")) }, faultv1.Reason_REASON_UNAVAILABLE},
	}
	for name, c := range cases {
		for _, period := range []time.Duration{busy, idle} {
			t.Run(name+" every "+period.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := &directory{person: &identityv1.Caller{Tenant: "acme", Name: "vera", Rights: []optionsv1.Role{member, auditor}}}
					stream := d.open(t, c.method, period)
					defer func() { _ = stream.Close() }()
					time.Sleep(300 * time.Millisecond)
					c.change(d)
					changed := time.Now()
					for stream.Receive() {
						if time.Since(changed) > 2*time.Second {
							t.Fatal("it goes on")
						}
					}
					if took := time.Since(changed); took > 2*time.Second || reasonOf(stream.Err()) != c.want {
						t.Errorf("after %v: %v", took, stream.Err())
					}
				})
			})
		}
	}
}

func TestAnOpenStreamEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expires := time.Now().Add(5 * time.Second)
		d := &directory{person: &identityv1.Caller{
			Tenant: "acme", Name: "vera", Rights: []optionsv1.Role{optionsv1.Role_ROLE_MEMBER}, ExpiresAt: timestamppb.New(expires),
		}}
		stream := d.open(t, "Tail", idle)
		defer func() { _ = stream.Close() }()
		if stream.Receive() || reasonOf(stream.Err()) != faultv1.Reason_REASON_UNAUTHENTICATED {
			t.Errorf("%v", stream.Err())
		}
		if late := time.Since(expires); late < 0 || late > 2*time.Second {
			t.Errorf("it ended %v after its token", late)
		}
	})
}

func TestAnOpenStreamOfAnUnchangedCallerGoesOn(t *testing.T) {
	member, auditor := optionsv1.Role_ROLE_MEMBER, optionsv1.Role_ROLE_AUDITOR
	synctest.Test(t, func(t *testing.T) {
		d := &directory{person: &identityv1.Caller{Tenant: "acme", Name: "vera", Rights: []optionsv1.Role{member, auditor}}}
		stream := d.open(t, "Tail", busy)
		defer func() { _ = stream.Close() }()
		began := time.Now()
		for time.Since(began) < time.Minute {
			d.become(auditor, member)
			if !stream.Receive() {
				t.Fatalf("it ended after %v: %v", time.Since(began), stream.Err())
			}
		}
	})
}
