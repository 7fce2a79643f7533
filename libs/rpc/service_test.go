package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
)

// identity is a service of the tests: what it does is set by each test.
type identity struct {
	identityv1connect.UnimplementedIdentityServiceHandler

	whoAmI       func(ctx context.Context) (*identityv1.WhoAmIResponse, error)
	authenticate func(ctx context.Context, token string) (*identityv1.Caller, error)
	revoke       func(ctx context.Context, r *identityv1.RevokeRequest) error
	watch        func(ctx context.Context, send func(*identityv1.WatchResponse) error) error
}

func (i *identity) WhoAmI(ctx context.Context, _ *connect.Request[identityv1.WhoAmIRequest]) (*connect.Response[identityv1.WhoAmIResponse], error) {
	response, err := i.whoAmI(ctx)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(response), nil
}

func (i *identity) Authenticate(
	ctx context.Context, r *connect.Request[identityv1.AuthenticateRequest],
) (*connect.Response[identityv1.AuthenticateResponse], error) {
	caller, err := i.authenticate(ctx, r.Msg.GetToken())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.AuthenticateResponse{Caller: caller}), nil
}

func (i *identity) Revoke(ctx context.Context, r *connect.Request[identityv1.RevokeRequest]) (*connect.Response[identityv1.RevokeResponse], error) {
	if err := i.revoke(ctx, r.Msg); err != nil {
		return nil, err
	}
	return connect.NewResponse(&identityv1.RevokeResponse{Revision: 7}), nil
}

func (i *identity) Watch(
	ctx context.Context, _ *connect.Request[identityv1.WatchRequest], stream *connect.ServerStream[identityv1.WatchResponse],
) error {
	return i.watch(ctx, stream.Send)
}

// serve is a mux with the identity service of a test.
func (i *identity) serve(cfg rpc.MuxConfig) *rpc.Mux {
	if cfg.Authenticate == nil {
		cfg.Authenticate = people
	}
	if cfg.Record == nil {
		cfg.Record = (&journal{}).record
	}
	cfg.Self = optionsv1.Service_SERVICE_IDENTITY
	m := rpc.NewMux(cfg)
	rpc.Handle[identityv1connect.IdentityServiceHandler](m, identityv1connect.NewIdentityServiceHandler, i)
	return m
}

func clientOf(c *rpc.Conn) identityv1connect.IdentityServiceClient {
	return rpc.Client(c, identityv1connect.NewIdentityServiceClient)
}

// asPerson is a client inside the process that is nobody but for its token.
func asPerson(m *rpc.Mux, name string) identityv1connect.IdentityServiceClient {
	return clientOf(rpc.InProcess(m, optionsv1.Service_SERVICE_UNSPECIFIED).As(secret.New("token-of-" + name)))
}

func asService(m *rpc.Mux, s optionsv1.Service) identityv1connect.IdentityServiceClient {
	return clientOf(rpc.InProcess(m, s))
}

func whoAmI(ctx context.Context, c identityv1connect.IdentityServiceClient) (*identityv1.Caller, error) {
	response, err := c.WhoAmI(ctx, connect.NewRequest(&identityv1.WhoAmIRequest{}))
	if err != nil {
		return nil, err
	}
	return response.Msg.GetCaller(), nil
}

// logged collects a mux's log.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

func TestEveryReasonCrossesTheWireWhole(t *testing.T) {
	codes := map[connect.Code]bool{}
	for number, name := range faultv1.Reason_name {
		reason := faultv1.Reason(number)
		if reason == faultv1.Reason_REASON_UNSPECIFIED {
			continue
		}
		m := (&identity{whoAmI: func(context.Context) (*identityv1.WhoAmIResponse, error) {
			return nil, fault.New(reason, "The sentence of %s.", name).With("rule", "tickets/r1").Because(errors.New("the inner cause"))
		}}).serve(rpc.MuxConfig{})
		_, err := whoAmI(t.Context(), asPerson(m, "member"))
		var got *fault.Error
		if !errors.As(err, &got) || got.Reason != reason || got.Sentence != "The sentence of "+name+"." || got.About["rule"] != "tickets/r1" {
			t.Errorf("%s arrives as %#v", name, err)
			continue
		}
		if !strings.HasPrefix(got.About["request_id"], "req_") || got.Unwrap() != nil {
			t.Errorf("%s arrives with request id %q and cause %v", name, got.About["request_id"], got.Unwrap())
		}
		a := post(t, m, method(t, "WhoAmI"), "{}", withToken("token-of-member"))
		if a.reason != reason || strings.Contains(a.body, "the inner cause") || a.status == http.StatusOK {
			t.Errorf("%s over JSON: %d %s", name, a.status, a.body)
		}
		var code connect.Code
		if err := code.UnmarshalText([]byte(a.code)); err != nil {
			t.Errorf("%s has the code %q: %v", name, a.code, err)
		}
		codes[code] = true
	}
	if len(codes) < 10 {
		t.Errorf("the reasons share %d codes", len(codes))
	}
}

func TestWhatIsNotMappedLeavesAsInternalAndIsLoggedOnce(t *testing.T) {
	cases := map[string]func(context.Context) (*identityv1.WhoAmIResponse, error){
		"an error": func(context.Context) (*identityv1.WhoAmIResponse, error) { return nil, errors.New("password=hunter2") },
		"a strange code": func(context.Context) (*identityv1.WhoAmIResponse, error) {
			return nil, connect.NewError(connect.CodeDataLoss, errors.New("hunter2"))
		},
		"a panic":          func(context.Context) (*identityv1.WhoAmIResponse, error) { panic("hunter2") },
		"a panic of nil":   func(context.Context) (*identityv1.WhoAmIResponse, error) { panic(errors.New("hunter2")) },
		"an empty pointer": func(context.Context) (*identityv1.WhoAmIResponse, error) { var c *identity; return c.whoAmI(nil) },
	}
	for name, act := range cases {
		t.Run(name, func(t *testing.T) {
			var log logged
			m := (&identity{whoAmI: act}).serve(rpc.MuxConfig{Log: log.logger()})
			_, err := whoAmI(t.Context(), asPerson(m, "member"))
			got := fault.From(err)
			if got.Reason != faultv1.Reason_REASON_INTERNAL || strings.Contains(got.Sentence, "hunter2") {
				t.Errorf("arrives as %v %q", got.Reason, got.Sentence)
			}
			if id := got.About["request_id"]; id == "" || strings.Count(log.String(), id) != 1 {
				t.Errorf("request id %q in the log: %s", id, log.String())
			}
		})
	}
}

func TestARequestThatBreaksTheSchemaIsRefusedOnBothSides(t *testing.T) {
	m := revoking(errors.New("the handler was reached")).serve(rpc.MuxConfig{})
	_, err := asPerson(m, "admin").Revoke(t.Context(), connect.NewRequest(&identityv1.RevokeRequest{}))
	if !fault.Is(err, faultv1.Reason_REASON_INVALID) || fault.From(err).About["request_id"] != "" {
		t.Errorf("the client lets it out: %v", err)
	}
	a := post(t, m, method(t, "Revoke"), "{}", withToken("token-of-admin"))
	if a.code != "invalid_argument" || a.reason != faultv1.Reason_REASON_INVALID || !strings.Contains(a.message, "what") {
		t.Errorf("the server says: %s", a.body)
	}
	for _, body := range []string{
		`{"person":"ana","reason":"no such field"}`, `{"person":1}`, `{`, ``, `{"person":"ana"} {}`, `{"person":"ana","person":"ben"}`,
	} {
		if a := post(t, m, method(t, "Revoke"), body, withToken("token-of-admin")); a.code != "invalid_argument" {
			t.Errorf("%q: %s", body, a.body)
		}
	}
}

// incompleteRows are access options that lack something, by method.
func incompleteRows() map[string]*optionsv1.Access {
	member := []optionsv1.Role{optionsv1.Role_ROLE_MEMBER}
	return map[string]*optionsv1.Access{
		"None":        nil,
		"Nobody":      {Tenant: optionsv1.TenantScope_TENANT_SCOPE_NONE},
		"NoScope":     {People: member},
		"AllToPeople": {People: member, Tenant: optionsv1.TenantScope_TENANT_SCOPE_ALL},
		"NoTenant":    {People: member, Tenant: optionsv1.TenantScope_TENANT_SCOPE_FROM_TOKEN},
		"NoRole":      {People: []optionsv1.Role{0}, Tenant: optionsv1.TenantScope_TENANT_SCOPE_NONE},
		"NoService":   {Services: []optionsv1.Service{99}, Tenant: optionsv1.TenantScope_TENANT_SCOPE_NONE},
	}
}

// incompleteService registers a service with those rows, once for each process.
func incompleteService(t *testing.T) {
	t.Helper()
	if _, err := protoregistry.GlobalFiles.FindFileByPath("test/incomplete.proto"); err == nil {
		return
	}
	service := &descriptorpb.ServiceDescriptorProto{Name: new("IncompleteService")}
	for name, row := range incompleteRows() {
		options := &descriptorpb.MethodOptions{}
		if row != nil {
			proto.SetExtension(options, optionsv1.E_Access, row)
		}
		service.Method = append(service.Method, &descriptorpb.MethodDescriptorProto{
			Name: new(name), InputType: new(".test.incomplete.v1.Empty"), OutputType: new(".test.incomplete.v1.Empty"), Options: options,
		})
	}
	built, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("test/incomplete.proto"), Package: new("test.incomplete.v1"), Syntax: new("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{{Name: new("Empty")}}, Service: []*descriptorpb.ServiceDescriptorProto{service},
	}, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := protoregistry.GlobalFiles.RegisterFile(built); err != nil {
		t.Fatal(err)
	}
}

func TestAMethodWithoutACompleteOptionStopsStartUpAndIsClosed(t *testing.T) {
	incompleteService(t)
	m := rpc.NewMux(rpc.MuxConfig{Authenticate: people})
	rpc.Handle(m, func(_ any, options ...connect.HandlerOption) (string, http.Handler) {
		return "/test.incomplete.v1.IncompleteService/", connect.NewUnaryHandler("/test.incomplete.v1.IncompleteService/None",
			func(context.Context, *connect.Request[identityv1.WhoAmIRequest]) (*connect.Response[identityv1.WhoAmIResponse], error) {
				t.Error("the handler was reached")
				return connect.NewResponse(&identityv1.WhoAmIResponse{}), nil
			}, options...)
	}, any(nil))
	rpc.Handle(m, func(any, ...connect.HandlerOption) (string, http.Handler) {
		return "/test.unknown.v1.S/", http.NotFoundHandler()
	}, any(nil))
	err := m.Check()
	if err == nil {
		t.Fatal("the start-up check lets it pass")
	}
	for name := range incompleteRows() {
		if !strings.Contains(err.Error(), "IncompleteService."+name+":") {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
	if !strings.Contains(err.Error(), "test.unknown.v1.S") {
		t.Errorf("a service without descriptor is not named: %v", err)
	}
	a := post(t, m, methodOf(t, "test.incomplete.v1.IncompleteService.None"), "{}", withToken("token-of-platform"))
	if a.code != "unimplemented" {
		t.Errorf("the method without a row answers %s", a.body)
	}
}

func TestAnAuditedMethodWithoutAJournalStopsStartUp(t *testing.T) {
	m := rpc.NewMux(rpc.MuxConfig{})
	rpc.Handle[identityv1connect.IdentityServiceHandler](m, identityv1connect.NewIdentityServiceHandler, &identity{})
	if err := m.Check(); err == nil || !strings.Contains(err.Error(), "no journal") {
		t.Errorf("Check: %v", err)
	}
}

func TestEveryUnaryCallHasAnEndAndEachHopKeepsSomeOfItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var left time.Duration
		m := (&identity{whoAmI: func(ctx context.Context) (*identityv1.WhoAmIResponse, error) {
			until, ok := ctx.Deadline()
			if !ok {
				t.Error("the handler has no deadline")
			}
			left = time.Until(until)
			return &identityv1.WhoAmIResponse{}, nil
		}}).serve(rpc.MuxConfig{})
		call := func(ctx context.Context) {
			if _, err := whoAmI(ctx, asPerson(m, "member")); err != nil {
				t.Error(err)
			}
		}
		call(t.Context())
		if left > 10*time.Second || left < 9*time.Second {
			t.Errorf("without a deadline the handler has %v", left)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		call(ctx)
		if left > 1900*time.Millisecond || left < 1700*time.Millisecond {
			t.Errorf("of 2 s the handler has %v", left)
		}
	})
}

func TestACallThatTakesTooLongEndsWithASentence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := (&identity{whoAmI: func(ctx context.Context) (*identityv1.WhoAmIResponse, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}).serve(rpc.MuxConfig{})
		began := time.Now()
		_, err := whoAmI(t.Context(), asPerson(m, "member"))
		if !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || time.Since(began) > 10*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}
