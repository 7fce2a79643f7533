package rpc_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"

	"headgate.dev/libs/rpc"
)

// FuzzAuthorization proves that only one header with one bearer token opens a method, and that the token arrives as it was sent.
func FuzzAuthorization(f *testing.F) {
	row := method(f, "WhoAmI")
	f.Fuzz(func(t *testing.T, header string) {
		var got string
		m := (&identity{whoAmI: func(context.Context) (*identityv1.WhoAmIResponse, error) { return &identityv1.WhoAmIResponse{}, nil }}).
			serve(rpc.MuxConfig{Authenticate: func(_ context.Context, token string) (*identityv1.Caller, error) {
				got = token
				return &identityv1.Caller{Tenant: "acme", Name: "ana"}, nil
			}})
		a := post(t, m, row, "{}", func(r *http.Request) { r.Header["Authorization"] = []string{header} })
		wellFormed := len(header) > 7 && strings.EqualFold(header[:7], "bearer ") &&
			!strings.ContainsFunc(header[7:], func(r rune) bool { return r <= ' ' || r > '~' })
		if opened := a.code == ""; opened != (wellFormed && len(header) <= 7+16<<10) || opened && got != header[7:] {
			t.Errorf("%q: opened %v with %q: %s", header, opened, got, a.body)
		}
	})
}

// FuzzBody proves that whatever the body is, the answer is one of the wire's errors or an answer, never a crash.
func FuzzBody(f *testing.F) {
	row := method(f, "Revoke")
	m := (&identity{revoke: func(context.Context, *identityv1.RevokeRequest) error { return errors.New("reached") }}).serve(rpc.MuxConfig{})
	f.Fuzz(func(t *testing.T, body string) {
		switch a := post(t, m, row, body, withToken("token-of-admin")); a.code {
		case "invalid_argument", "permission_denied", "internal", "resource_exhausted":
		default:
			t.Errorf("%q: %d %s", body, a.status, a.body)
		}
	})
}
