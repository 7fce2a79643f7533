package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
)

type contextKey struct{}

func TestInProcessOnlyTheCallerThatIsGivenArrives(t *testing.T) {
	seen := make(chan context.Context, 1)
	m := (&identity{
		authenticate: func(ctx context.Context, _ string) (*identityv1.Caller, error) {
			seen <- ctx
			return &identityv1.Caller{Tenant: "acme", Name: "ana"}, nil
		},
		whoAmI: func(ctx context.Context) (*identityv1.WhoAmIResponse, error) {
			return &identityv1.WhoAmIResponse{Caller: rpc.CallerFrom(ctx).Person}, nil
		},
	}).serve(rpc.MuxConfig{})
	ctx := rpc.WithCaller(context.WithValue(t.Context(), contextKey{}, "leak"), rpc.Caller{Person: &identityv1.Caller{Name: "root"}})
	request := func() *connect.Request[identityv1.AuthenticateRequest] {
		return connect.NewRequest(&identityv1.AuthenticateRequest{Token: "t"})
	}
	if _, err := asService(m, optionsv1.Service_SERVICE_TRUST).Authenticate(ctx, request()); err != nil {
		t.Fatal(err)
	}
	got := <-seen
	if c := rpc.CallerFrom(got); c.Service != optionsv1.Service_SERVICE_TRUST || c.Person != nil {
		t.Errorf("the handler sees %v", c)
	}
	if got.Value(contextKey{}) != nil {
		t.Error("a value of the caller's context reached the handler")
	}
	if _, err := asService(m, optionsv1.Service_SERVICE_IDENTITY).Authenticate(ctx, request()); !fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) {
		t.Errorf("a service that is not listed: %v", err)
	}
	if _, err := asService(m, optionsv1.Service_SERVICE_UNSPECIFIED).Authenticate(ctx, request()); !fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED) {
		t.Errorf("nobody: %v", err)
	}
	console := clientOf(rpc.InProcess(m, optionsv1.Service_SERVICE_CONSOLE).As(secret.New("token-of-member")))
	if p, err := whoAmI(ctx, console); err != nil || p.GetName() != "member" {
		t.Errorf("the console for a person: %v, %v", p, err)
	}
}

func TestInProcessStreamsCarryMessagesAsTheyAreSent(t *testing.T) {
	received := make(chan struct{})
	m := (&identity{watch: func(_ context.Context, send func(*identityv1.WatchResponse) error) error {
		for i := range int64(100) {
			if err := send(&identityv1.WatchResponse{Revision: i, Keys: strings.Repeat("k", int(i)*1000)}); err != nil {
				return err
			}
			<-received // the next is made only when this one has arrived
		}
		return fault.New(faultv1.Reason_REASON_STALE, "That was all.")
	}}).serve(rpc.MuxConfig{})
	stream, err := asService(m, optionsv1.Service_SERVICE_EDGE).Watch(t.Context(), connect.NewRequest(&identityv1.WatchRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	for ; stream.Receive(); n++ {
		if stream.Msg().GetRevision() != n || len(stream.Msg().GetKeys()) != int(n)*1000 {
			t.Errorf("message %d has revision %d", n, stream.Msg().GetRevision())
		}
		received <- struct{}{}
	}
	if n != 100 || !fault.Is(stream.Err(), faultv1.Reason_REASON_STALE) || stream.Err().Error() != "That was all." {
		t.Errorf("after %d messages: %v", n, stream.Err())
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
}

// waiting is a service whose calls last until their context ends, and say so.
func waiting() (m *rpc.Mux, entered chan struct{}, ended chan error) {
	entered, ended = make(chan struct{}, 1), make(chan error)
	handler := func(ctx context.Context) error {
		entered <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	return (&identity{
		whoAmI: func(ctx context.Context) (*identityv1.WhoAmIResponse, error) { return nil, handler(ctx) },
		watch: func(ctx context.Context, send func(*identityv1.WatchResponse) error) error {
			if err := send(&identityv1.WatchResponse{}); err != nil {
				return err
			}
			return handler(ctx)
		},
	}).serve(rpc.MuxConfig{}), entered, ended
}

func TestInProcessTheEndOfTheCallerEndsAUnaryHandler(t *testing.T) {
	m, entered, ended := waiting()
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := whoAmI(ctx, asPerson(m, "member"))
		failed <- err
	}()
	<-entered
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the handler hears %v", err)
	}
	if err := <-failed; !fault.Is(err, faultv1.Reason_REASON_CANCELLED) {
		t.Errorf("the caller hears %v", err)
	}
}

func TestInProcessTheEndOfTheCallerEndsAStreamsHandler(t *testing.T) {
	m, entered, ended := waiting()
	open := func(ctx context.Context) *connect.ServerStreamForClient[identityv1.WatchResponse] {
		stream, err := asService(m, optionsv1.Service_SERVICE_EDGE).Watch(ctx, connect.NewRequest(&identityv1.WatchRequest{}))
		if err != nil || !stream.Receive() {
			t.Fatal(err, stream.Err())
		}
		<-entered
		return stream
	}
	t.Run("by its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		stream := open(ctx)
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler hears %v", err)
		}
		if stream.Receive() || !fault.Is(stream.Err(), faultv1.Reason_REASON_CANCELLED) {
			t.Errorf("the caller hears %v", stream.Err())
		}
	})
	t.Run("by Close", func(t *testing.T) {
		stream := open(t.Context())
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			_ = stream.Close()
		}()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler hears %v", err)
		}
		<-closed
	})
}

func TestInProcessAHandlerThatBreaksOffIsAnErrorAndNotAnAnswer(t *testing.T) {
	m := (&identity{}).serve(rpc.MuxConfig{})
	m.HandlePlain("/panics", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	conn := rpc.InProcess(m, optionsv1.Service_SERVICE_EDGE)
	type client = *connect.Client[identityv1.WhoAmIRequest, identityv1.WhoAmIResponse]
	c := rpc.Client(conn, func(c connect.HTTPClient, url string, options ...connect.ClientOption) client {
		return connect.NewClient[identityv1.WhoAmIRequest, identityv1.WhoAmIResponse](c, url+"/panics", options...)
	})
	if _, err := c.CallUnary(t.Context(), connect.NewRequest(&identityv1.WhoAmIRequest{})); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
		t.Errorf("the caller hears %v", err)
	}
}

func TestInProcessManyCallsAtOnce(t *testing.T) {
	m := (&identity{whoAmI: func(ctx context.Context) (*identityv1.WhoAmIResponse, error) {
		return &identityv1.WhoAmIResponse{Caller: rpc.CallerFrom(ctx).Person}, nil
	}}).serve(rpc.MuxConfig{})
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			name := fmt.Sprint("p", i)
			for range 20 {
				if p, err := whoAmI(t.Context(), asPerson(m, name)); err != nil || p.GetName() != name {
					t.Errorf("%s is taken for %s: %v", name, p.GetName(), err)
				}
			}
		})
	}
	group.Wait()
}

func TestTheRequestIDFollowsTheCallThroughServicesAndIsNotBelievedOfPeople(t *testing.T) {
	inner := (&identity{authenticate: func(ctx context.Context, _ string) (*identityv1.Caller, error) {
		return &identityv1.Caller{Tenant: "acme", Name: rpc.RequestID(ctx)}, nil
	}}).serve(rpc.MuxConfig{})
	outer := (&identity{whoAmI: func(ctx context.Context) (*identityv1.WhoAmIResponse, error) {
		request := connect.NewRequest(&identityv1.AuthenticateRequest{Token: "t"})
		response, err := asService(inner, optionsv1.Service_SERVICE_AUTHZ).Authenticate(ctx, request)
		if err != nil {
			return nil, err
		}
		if got := response.Msg.GetCaller().GetName(); got != rpc.RequestID(ctx) {
			t.Errorf("the inner service works for %s, the outer for %s", got, rpc.RequestID(ctx))
		}
		return &identityv1.WhoAmIResponse{}, nil
	}}).serve(rpc.MuxConfig{})
	a := post(t, outer, method(t, "WhoAmI"), "{}", func(r *http.Request) {
		withToken("token-of-member")(r)
		r.Header.Set("Headgate-Request-Id", "req_chosen-by-the-caller")
	})
	if a.code != "" || a.requestID == "req_chosen-by-the-caller" || !strings.HasPrefix(a.requestID, "req_") {
		t.Errorf("request id %q: %s", a.requestID, a.body)
	}
}

func BenchmarkInProcessUnary(b *testing.B) {
	m := (&identity{authenticate: people}).serve(rpc.MuxConfig{})
	c := asService(m, optionsv1.Service_SERVICE_EDGE)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Authenticate(b.Context(), connect.NewRequest(&identityv1.AuthenticateRequest{Token: "token-of-ana"})); err != nil {
			b.Fatal(err)
		}
	}
}
