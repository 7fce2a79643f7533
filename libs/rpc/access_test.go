package rpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
)

func TestEveryMethodCarriesACompleteAccessOption(t *testing.T) {
	if err := everyService(t, &journal{}).Check(); err != nil {
		t.Error(err)
	}
	services := map[string]bool{}
	for _, m := range methods(t) {
		services[string(m.Parent().FullName())] = true
		a := access(m)
		if a == nil || a.GetTenant() == optionsv1.TenantScope_TENANT_SCOPE_UNSPECIFIED || len(a.GetPeople())+len(a.GetServices()) == 0 {
			t.Errorf("%s: access %v", m.FullName(), a)
		}
	}
	if got := everyService(t, &journal{}).Services(); len(services) != 6 || len(got) != 6 {
		t.Errorf("services with descriptors %v, registered %v", services, got)
	}
}

// certified makes a request come from a verified certificate with these URIs.
func certified(uris ...string) func(*http.Request) {
	return func(r *http.Request) {
		cert := &x509.Certificate{}
		for _, text := range uris {
			uri, err := url.Parse(text)
			if err != nil {
				panic(err)
			}
			cert.URIs = append(cert.URIs, uri)
		}
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	}
}

func serviceCert(name string) func(*http.Request) {
	return certified("spiffe://headgate/service/" + name)
}

var (
	serviceNames = [...]string{"edge", "identity", "authz", "credentials", "trust", "audit", "console"}
	roleNames    = [...]string{"member", "admin", "security", "auditor", "app", "platform", "registrar"}
)

// TestEveryMethodAsEveryCaller calls each method as each service and as a person of each right, and compares who got past the door with the table
// that is kept in testdata/access.txt for review. HEADGATE_UPDATE=1 writes it anew.
func TestEveryMethodAsEveryCaller(t *testing.T) {
	mux := everyService(t, &journal{})
	var table strings.Builder
	for _, m := range methods(t) {
		var allowed []string
		check := func(name string, change func(*http.Request)) {
			a := post(t, mux, m, "{}", change)
			switch {
			case a.code == "":
				t.Errorf("%s as %s: no error from a service that does nothing: %d %q", m.FullName(), name, a.status, a.body)
			case !a.refused():
				allowed = append(allowed, name)
			case a.reason != faultv1.Reason_REASON_ROLE_REQUIRED || a.code != "permission_denied" || a.message == "":
				t.Errorf("%s as %s: refused with %s %v %q", m.FullName(), name, a.code, a.reason, a.message)
			}
		}
		for _, name := range serviceNames {
			check(name, serviceCert(name))
		}
		for _, name := range roleNames {
			check("person:"+name, withToken("token-of-"+name))
		}
		if !slices.Equal(allowed, declared(m)) {
			t.Errorf("%s lets in %v, its option says %v", m.FullName(), allowed, declared(m))
		}
		fmt.Fprintf(&table, "%s %s audited=%v: %s\n", procedure(m), strings.ToLower(strings.TrimPrefix(access(m).GetTenant().String(), "TENANT_SCOPE_")),
			access(m).GetAudited(), strings.Join(allowed, " "))
	}
	const golden = "testdata/access.txt"
	if os.Getenv("HEADGATE_UPDATE") == "1" {
		if err := os.WriteFile(golden, []byte(table.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if table.String() != string(want) {
		t.Errorf("who may call what changed; if that is meant, run with HEADGATE_UPDATE=1 and have the difference reviewed:\n%s", table.String())
	}
}

// declared is who a method's option lets in, in the order of the test.
func declared(m protoreflect.MethodDescriptor) []string {
	var names []string
	for _, name := range serviceNames {
		if slices.Contains(access(m).GetServices(), rpc.ServiceByName(name)) {
			names = append(names, name)
		}
	}
	for _, name := range roleNames {
		role := optionsv1.Role(optionsv1.Role_value["ROLE_"+strings.ToUpper(name)])
		if slices.Contains(access(m).GetPeople(), role) || slices.Contains(access(m).GetPeople(), optionsv1.Role_ROLE_MEMBER) {
			names = append(names, "person:"+name)
		}
	}
	return names
}

// TestNoMethodOpensOnABadCredential is the rule against failing open: whatever is wrong with what a caller shows, every method refuses.
func TestNoMethodOpensOnABadCredential(t *testing.T) {
	mux := everyService(t, &journal{})
	cases := map[string]func(*http.Request){
		"nothing":                  nil,
		"an unknown token":         withToken("stolen"),
		"an empty token":           func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") },
		"an empty header":          func(r *http.Request) { r.Header.Set("Authorization", "") },
		"another scheme":           func(r *http.Request) { r.Header.Set("Authorization", "Basic dG9rZW4tb2YtYWRtaW46") },
		"a token without a scheme": func(r *http.Request) { r.Header.Set("Authorization", "token-of-admin") },
		"two tokens": func(r *http.Request) {
			r.Header["Authorization"] = []string{"Bearer token-of-platform", "Bearer token-of-admin"}
		},
		"two tokens in one header":   func(r *http.Request) { r.Header.Set("Authorization", "Bearer token-of-platform token-of-admin") },
		"a token with a line break":  func(r *http.Request) { r.Header.Set("Authorization", "Bearer token-of-platform\n") },
		"an endless token":           withToken("token-of-" + strings.Repeat("a", 20_000)),
		"a certificate of nobody":    certified(),
		"a certificate of another":   certified("spiffe://example.com/service/edge"),
		"an unknown service":         certified("spiffe://headgate/service/admin"),
		"no service":                 certified("spiffe://headgate/service/unspecified"),
		"a service in capitals":      certified("spiffe://headgate/service/EDGE"),
		"a service with a path":      certified("spiffe://headgate/service/edge/x"),
		"two services":               certified("spiffe://headgate/service/edge", "spiffe://headgate/service/console"),
		"an unverified certificate":  func(r *http.Request) { serviceCert("edge")(r); r.TLS.VerifiedChains = nil },
		"a strange cert and a token": func(r *http.Request) { certified("spiffe://headgate/service/x")(r); withToken("token-of-platform")(r) },
		"a service and a bad token":  func(r *http.Request) { serviceCert("edge")(r); withToken("stolen")(r) },
		"a header that says edge":    func(r *http.Request) { r.Header.Set("X-Forwarded-Client-Cert", "URI=spiffe://headgate/service/edge") },
	}
	for name, change := range cases {
		for _, m := range methods(t) {
			if a := post(t, mux, m, "{}", change); a.code != "unauthenticated" || a.reason != faultv1.Reason_REASON_UNAUTHENTICATED || a.message == "" {
				t.Errorf("%s with %s: %d %s %v %q", m.FullName(), name, a.status, a.code, a.reason, a.body)
			}
		}
	}
}

func TestNoMethodOpensWhenWhoCallsCannotBeChecked(t *testing.T) {
	past := timestamppb.New(time.Unix(1_000, 0))
	cases := map[string]struct {
		authenticate func(context.Context, string) (*identityv1.Caller, error)
		code         string
	}{
		"no authenticator": {nil, "unauthenticated"},
		"identity is down": {func(context.Context, string) (*identityv1.Caller, error) {
			return nil, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "identity does not answer")
		}, "unavailable"},
		"a strange error": {func(context.Context, string) (*identityv1.Caller, error) { return nil, errors.New("boom") }, "internal"},
		"an answer of nobody": {func(context.Context, string) (*identityv1.Caller, error) {
			return nil, nil // the mistake that the mux must survive
		}, "unauthenticated"},
		"an empty answer": {func(context.Context, string) (*identityv1.Caller, error) { return &identityv1.Caller{}, nil }, "unauthenticated"},
		"a person without a tenant": {func(context.Context, string) (*identityv1.Caller, error) {
			return &identityv1.Caller{Name: "ana", Rights: []optionsv1.Role{optionsv1.Role_ROLE_PLATFORM}}, nil
		}, "unauthenticated"},
		"an expired answer": {func(context.Context, string) (*identityv1.Caller, error) {
			return &identityv1.Caller{Name: "ana", Tenant: "acme", Rights: []optionsv1.Role{optionsv1.Role_ROLE_PLATFORM}, ExpiresAt: past}, nil
		}, "unauthenticated"},
	}
	for name, c := range cases {
		mux := muxOf(rpc.MuxConfig{Authenticate: c.authenticate, Record: (&journal{}).record, Now: clock.Fixed(time.Unix(1_000, 0))})
		for _, m := range methods(t) {
			if string(m.Parent().FullName()) != "headgate.trust.v1.TrustService" {
				continue
			}
			if a := post(t, mux, m, "{}", withToken("token-of-platform")); a.code != c.code || strings.Contains(a.body, "boom") {
				t.Errorf("%s with %s: %s", m.FullName(), name, a.body)
			}
		}
	}
}

func TestAServiceWinsOverAPersonOnlyWhereItIsListed(t *testing.T) {
	mux := everyService(t, &journal{})
	for _, m := range methods(t) {
		for _, service := range serviceNames {
			for _, person := range roleNames {
				a := post(t, mux, m, "{}", func(r *http.Request) { serviceCert(service)(r); withToken("token-of-" + person)(r) })
				alone := declared(m)
				if want := slices.Contains(alone, service) || slices.Contains(alone, "person:"+person); want == a.refused() {
					t.Errorf("%s by service %s for person %s: %s", m.FullName(), service, person, a.body)
				}
			}
		}
	}
}

func TestNoMethodTakesAnotherTenant(t *testing.T) {
	mux := everyService(t, &journal{})
	bodies := func(m protoreflect.MethodDescriptor) []string {
		if m.Input().Fields().ByName("tenant") != nil {
			return []string{`{"tenant":"beta"}`}
		}
		if m.Input().Fields().ByName("resources") == nil {
			return nil
		}
		var all []string
		kinds := m.Input().Fields().ByName("resources").Message().Fields()
		for i := range kinds.Len() {
			all = append(all, fmt.Sprintf(`{"resources":[{"%[1]s":{"metadata":{"tenant":"acme"}}},{"%[1]s":{"metadata":{"tenant":"beta"}}}]}`, kinds.Get(i).JSONName()))
		}
		return all
	}
	checked := 0
	for _, m := range methods(t) {
		if access(m).GetTenant() != optionsv1.TenantScope_TENANT_SCOPE_FROM_TOKEN {
			continue
		}
		for _, body := range bodies(m) {
			for _, role := range roleNames {
				a := post(t, mux, m, body, withToken("token-of-"+role))
				switch {
				case !slices.Contains(declared(m), "person:"+role):
					if a.reason != faultv1.Reason_REASON_ROLE_REQUIRED {
						t.Errorf("%s as %s: %s", m.FullName(), role, a.body)
					}
				case role == "platform":
					if a.refused() {
						t.Errorf("%s as %s: %s", m.FullName(), role, a.body)
					}
				case a.reason != faultv1.Reason_REASON_WRONG_TENANT || a.status != http.StatusForbidden && !m.IsStreamingServer(): // a stream has begun with 200
					t.Errorf("%s as %s with %s: %s", m.FullName(), role, body, a.body)
				default:
					checked++
				}
				own := strings.ReplaceAll(body, "beta", "acme")
				if a := post(t, mux, m, own, withToken("token-of-"+role)); a.reason == faultv1.Reason_REASON_WRONG_TENANT {
					t.Errorf("%s as %s with their own tenant: %s", m.FullName(), role, a.body)
				}
			}
		}
	}
	if checked < 60 {
		t.Errorf("only %d calls were refused for their tenant", checked)
	}
}

func TestTenantIsTheCallersOwn(t *testing.T) {
	person := func(tenant string, rights ...optionsv1.Role) rpc.Caller {
		return rpc.Caller{Person: &identityv1.Caller{Name: "ana", Tenant: tenant, Rights: rights}}
	}
	cases := []struct {
		name              string
		caller            rpc.Caller
		requested, tenant string
		reason, filter    faultv1.Reason
	}{
		{"a person, none", person("acme"), "", "acme", 0, 0},
		{"a person, their own", person("acme"), "acme", "acme", 0, 0},
		{"a person, another", person("acme", optionsv1.Role_ROLE_ADMIN), "beta", "", faultv1.Reason_REASON_WRONG_TENANT, faultv1.Reason_REASON_WRONG_TENANT},
		{"the platform, one", person("system", optionsv1.Role_ROLE_PLATFORM), "beta", "beta", 0, 0},
		{"the platform, none", person("system", optionsv1.Role_ROLE_PLATFORM), "", "", faultv1.Reason_REASON_INVALID, 0},
		{"a service, one", rpc.Caller{Service: optionsv1.Service_SERVICE_EDGE}, "beta", "beta", 0, 0},
		{"a service, none", rpc.Caller{Service: optionsv1.Service_SERVICE_EDGE}, "", "", faultv1.Reason_REASON_INVALID, 0},
		{"nobody", rpc.Caller{}, "acme", "", faultv1.Reason_REASON_UNAUTHENTICATED, faultv1.Reason_REASON_UNAUTHENTICATED},
		{"a person of no tenant", person(""), "", "", faultv1.Reason_REASON_UNAUTHENTICATED, faultv1.Reason_REASON_UNAUTHENTICATED},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ctx := rpc.WithCaller(t.Context(), c.caller)
			if got, err := rpc.Tenant(ctx, c.requested); got != c.tenant || reasonOf(err) != c.reason {
				t.Errorf("Tenant: %q, %v", got, err)
			}
			if got, err := rpc.TenantFilter(ctx, c.requested); got != c.tenant || reasonOf(err) != c.filter {
				t.Errorf("TenantFilter: %q, %v", got, err)
			}
		})
	}
}

func reasonOf(err error) faultv1.Reason {
	if err == nil {
		return 0
	}
	return fault.From(err).Reason
}

func TestServiceNames(t *testing.T) {
	for _, name := range serviceNames {
		if got := rpc.ServiceName(rpc.ServiceByName(name)); got != name {
			t.Errorf("%s becomes %s", name, got)
		}
	}
	for _, name := range []string{"", "unspecified", "unknown", "EDGE", "Edge", "SERVICE_EDGE", "edge "} {
		if got := rpc.ServiceByName(name); got != optionsv1.Service_SERVICE_UNSPECIFIED {
			t.Errorf("%q is service %v", name, got)
		}
	}
}

func TestReflectionIsForServicesAndHealthForAll(t *testing.T) {
	mux := everyService(t, &journal{})
	call := func(path string, change func(*http.Request)) *http.Response {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(`{}`))
		r.Header.Set("Content-Type", "application/json")
		r.ProtoMajor = 2
		if change != nil {
			change(r)
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w.Result()
	}
	if got := call("/grpc.health.v1.Health/Check", nil); got.StatusCode != http.StatusOK {
		t.Errorf("health: %d", got.StatusCode)
	}
	reflection := func(change func(*http.Request)) answer {
		return read(t, call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", func(r *http.Request) {
			r.Header.Set("Content-Type", "application/connect+json")
			if change != nil {
				change(r)
			}
		}), true)
	}
	if got := reflection(nil); got.code != "unauthenticated" {
		t.Errorf("reflection for nobody: %s", got.body)
	}
	if got := reflection(withToken("token-of-platform")); got.code != "unauthenticated" {
		t.Errorf("reflection for a person: %s", got.body)
	}
	if got := reflection(serviceCert("console")); got.refused() {
		t.Errorf("reflection for a service: %s", got.body)
	}
}
