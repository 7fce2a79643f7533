package rpc_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"

	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"
	"headgate.dev/proto/gen/headgate/edge/v1/edgev1connect"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal keeps the records of a test; when full it refuses.
type journal struct {
	mu     sync.Mutex
	events []*eventsv1.Event
	full   error
}

func (j *journal) record(ev *eventsv1.Event) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.full != nil {
		return j.full
	}
	j.events = append(j.events, ev)
	return nil
}

func (j *journal) take() []*eventsv1.Event {
	j.mu.Lock()
	defer j.mu.Unlock()
	taken := j.events
	j.events = nil
	return taken
}

// people are the tokens of the tests: one person for each right, all of tenant acme but the platform's.
func people(_ context.Context, token string) (*identityv1.Caller, error) {
	name, found := strings.CutPrefix(token, "token-of-")
	if !found {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token is not known. Sign in again.")
	}
	p := &identityv1.Caller{Tenant: "acme", Name: name, Email: name + "@acme.example", Agent: "claude", ClientId: "cli", TokenId: "jti-" + name}
	p.Rights = []optionsv1.Role{optionsv1.Role_ROLE_MEMBER}
	if role := optionsv1.Role(optionsv1.Role_value["ROLE_"+strings.ToUpper(name)]); role > optionsv1.Role_ROLE_MEMBER {
		p.Rights = append(p.Rights, role)
	}
	if p.GetRights()[len(p.GetRights())-1] == optionsv1.Role_ROLE_PLATFORM {
		p.Tenant = "system"
	}
	return p, nil
}

// everyService is a mux with all six services, none of whose methods does anything.
func everyService(t testing.TB, j *journal) *rpc.Mux {
	t.Helper()
	return muxOf(rpc.MuxConfig{Self: optionsv1.Service_SERVICE_IDENTITY, Authenticate: people, Record: j.record})
}

func muxOf(cfg rpc.MuxConfig) *rpc.Mux {
	m := rpc.NewMux(cfg)
	rpc.Handle[identityv1connect.IdentityServiceHandler](m, identityv1connect.NewIdentityServiceHandler, identityv1connect.UnimplementedIdentityServiceHandler{})
	rpc.Handle[authzv1connect.AuthzServiceHandler](m, authzv1connect.NewAuthzServiceHandler, authzv1connect.UnimplementedAuthzServiceHandler{})
	rpc.Handle[credentialsv1connect.CredentialsServiceHandler](m, credentialsv1connect.NewCredentialsServiceHandler,
		credentialsv1connect.UnimplementedCredentialsServiceHandler{})
	rpc.Handle[trustv1connect.TrustServiceHandler](m, trustv1connect.NewTrustServiceHandler, trustv1connect.UnimplementedTrustServiceHandler{})
	rpc.Handle[auditv1connect.AuditServiceHandler](m, auditv1connect.NewAuditServiceHandler, auditv1connect.UnimplementedAuditServiceHandler{})
	rpc.Handle[edgev1connect.EdgeServiceHandler](m, edgev1connect.NewEdgeServiceHandler, edgev1connect.UnimplementedEdgeServiceHandler{})
	return m
}

// methods are all methods of all services of Headgate.
func methods(t testing.TB) []protoreflect.MethodDescriptor {
	t.Helper()
	var found []protoreflect.MethodDescriptor
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			if s := f.Services().Get(i); strings.HasPrefix(string(s.FullName()), "headgate.") {
				for j := range s.Methods().Len() {
					found = append(found, s.Methods().Get(j))
				}
			}
		}
		return true
	})
	slices.SortFunc(found, func(a, b protoreflect.MethodDescriptor) int { return strings.Compare(procedure(a), procedure(b)) })
	return found
}

// method is one of the identity service's.
func method(t testing.TB, name string) protoreflect.MethodDescriptor {
	t.Helper()
	m := identityv1.File_headgate_identity_v1_identity_proto.Services().ByName("IdentityService").Methods().ByName(protoreflect.Name(name))
	if m == nil {
		t.Fatalf("there is no method %s", name)
	}
	return m
}

// methodOf is a method by its full name.
func methodOf(t testing.TB, name string) protoreflect.MethodDescriptor {
	t.Helper()
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	m, ok := found.(protoreflect.MethodDescriptor)
	if err != nil || !ok {
		t.Fatalf("there is no method %s: %v", name, err)
	}
	return m
}

func procedure(m protoreflect.MethodDescriptor) string {
	return "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
}

func access(m protoreflect.MethodDescriptor) *optionsv1.Access {
	a, _ := proto.GetExtension(m.Options(), optionsv1.E_Access).(*optionsv1.Access)
	return a
}

// answer is what came back over JSON.
type answer struct {
	status    int
	code      string // empty when the call was answered
	message   string
	reason    faultv1.Reason
	requestID string
	body      string
}

// refused reports whether the call was turned away for who made it.
func (a answer) refused() bool { return a.code == "unauthenticated" || a.code == "permission_denied" }

type wireError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Details []struct {
		Type  string `json:"type"`
		Value string `json:"value"`
	} `json:"details"`
}

// post calls a method as curl would, with the Connect protocol's JSON, unary or streaming.
func post(t testing.TB, h http.Handler, m protoreflect.MethodDescriptor, body string, change func(*http.Request)) answer {
	t.Helper()
	contentType, payload := "application/json", []byte(body)
	if m.IsStreamingServer() {
		contentType = "application/connect+json"
		payload = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, procedure(m), bytes.NewReader(payload))
	r.Header.Set("Content-Type", contentType)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return read(t, w.Result(), m.IsStreamingServer())
}

func read(t testing.TB, response *http.Response, stream bool) answer {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode, requestID: response.Header.Get("Headgate-Request-Id"), body: string(body)}
	var failed wireError
	if stream && len(body) >= 5 {
		var end struct {
			Error *wireError `json:"error"`
		}
		if body[0]&2 == 0 || json.Unmarshal(body[5:], &end) != nil || end.Error == nil {
			return a
		}
		failed = *end.Error
	} else if response.StatusCode == http.StatusOK || json.Unmarshal(body, &failed) != nil {
		return a
	}
	a.code, a.message = failed.Code, failed.Message
	for _, d := range failed.Details {
		if raw, err := base64.RawStdEncoding.DecodeString(d.Value); err == nil && d.Type == "headgate.fault.v1.Fault" {
			var f faultv1.Fault
			if err := proto.Unmarshal(raw, &f); err != nil {
				t.Fatal(err)
			}
			a.reason = f.GetReason()
		}
	}
	return a
}

func withToken(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}
