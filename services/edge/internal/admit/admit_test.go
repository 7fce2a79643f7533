package admit_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/token"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/edge/internal/admit"
	"headgate.dev/services/edge/internal/directory"
	"headgate.dev/services/edge/internal/guard"
)

const base, issuer = "http://edge.test", "http://issuer.test"

// door is an admitter that knows ana, and a request of hers.
func door(t testing.TB, now clock.Now, cfg admit.Config) (*admit.Admitter, *directory.Directory, *guard.Inbound) {
	key, err := token.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	d := directory.New()
	err = d.Apply(&identityv1.WatchResponse{Snapshot: true, Keys: string(public), Upserts: []*identityv1.Resource{
		{Kind: &identityv1.Resource_Person{Person: &identityv1.Person{Metadata: &resourcev1.Metadata{Name: "ana", Tenant: "acme"}, Spec: &identityv1.PersonSpec{Roles: []string{"support"}}}}},
		{Kind: &identityv1.Resource_Group{Group: &identityv1.Group{Metadata: &resourcev1.Metadata{Name: "leads", Tenant: "acme"}, Spec: &identityv1.GroupSpec{Members: []string{"ana"}, Roles: []string{"supervisor"}}}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := token.Sign(key, token.Claims{
		Issuer: issuer, Subject: "ana", Tenant: "acme", ID: "t1", Audience: []string{base + "/mcp"}, IssuedAt: now(), Expires: now().Add(time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Base, cfg.Issuer, cfg.Hosts = base, issuer, []string{"edge.test"}
	return admit.New(cfg, d, now), d, &guard.Inbound{
		Verb: "POST", Endpoint: "/mcp/echo", Server: "echo", Host: "edge.test", Bearer: signed, ContentType: "application/json", Accept: "application/json, text/event-stream",
	}
}

func TestAKnownTokenIsStillHeldToTheClockAndTheDirectory(t *testing.T) {
	at := time.Now()
	a, d, in := door(t, func() time.Time { return at }, admit.Config{})
	c, err := a.Admit(in)
	if err != nil || c.Person != "ana" || len(c.Principal.Roles) != 2 {
		t.Fatalf("%+v %v", c, err)
	}
	err = d.Apply(&identityv1.WatchResponse{Deletions: []*identityv1.Deletion{{Kind: "Group", Tenant: "acme", Name: "leads"}}})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := a.Admit(in); err != nil || len(c.Principal.Roles) != 1 || len(c.Principal.Groups) != 0 {
		t.Errorf("the group's role is still there: %+v %v", c, err)
	}
	at = at.Add(time.Hour)
	if _, err := a.Admit(in); err == nil {
		t.Error("an expired token passed from memory")
	}
	at = at.Add(-time.Hour)
	if err := d.Apply(&identityv1.WatchResponse{Deletions: []*identityv1.Deletion{{Kind: "Person", Tenant: "acme", Name: "ana"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Admit(in); err == nil {
		t.Error("a person who is gone passed from memory")
	}
}

func TestTheBucketFillsWithTime(t *testing.T) {
	at := time.Now()
	a, _, in := door(t, func() time.Time { return at }, admit.Config{Rate: 1, Burst: 2})
	for i, want := range []bool{true, true, false} {
		if _, err := a.Admit(in); (err == nil) != want {
			t.Errorf("%d: %v", i, err)
		}
	}
	at = at.Add(time.Second)
	if _, err := a.Admit(in); err != nil {
		t.Error(err)
	}
}

func BenchmarkAdmit(b *testing.B) {
	a, _, in := door(b, clock.System, admit.Config{Rate: 1e9, Burst: 1e9})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Admit(in); err != nil {
			b.Fatal(err)
		}
	}
}
