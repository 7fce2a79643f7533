package catalogue_test

import (
	"testing"
	"time"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/services/edge/internal/catalogue"
	"headgate.dev/services/edge/internal/guard"
)

// BenchmarkStill is what every call pays before it is made when nothing changed since it was resolved.
func BenchmarkStill(b *testing.B) {
	c := catalogue.New(catalogue.Parts{Changes: func() int64 { return 0 }, Now: time.Now})
	reach := policy.NewEntitlements([]*authzv1.Entitlement{{Server: "echo", Tool: "*", CanSee: true, CanCall: true}})
	who, tool := &guard.Caller{Tenant: "acme", Person: "ana"}, &guard.Tool{Server: &guard.Server{Tenant: "acme", Name: "echo"}, Name: "echo", Reach: reach}
	for b.Loop() {
		if err := c.Still(b.Context(), who, tool); err != nil {
			b.Fatal(err)
		}
	}
}
