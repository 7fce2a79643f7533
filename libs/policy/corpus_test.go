package policy_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// drawn is a request as a client makes it: what both places build theirs from.
type drawn struct {
	args, server, ip, country, purpose string
	facts                              map[string]any
	session                            *authzv1.Session
	device                             *authzv1.Device
	roles                              []string
	counts                             float64
}

func draw(r *rand.Rand) drawn {
	d := drawn{
		args:    fmt.Sprintf(`{"id":"T-%d","n":%d,"force":%v,"q":%q}`, r.IntN(5), r.IntN(200), r.IntN(2) == 0, []string{"SELECT 1", "DROP TABLE t"}[r.IntN(2)]),
		server:  []string{"tickets", "crm", "none"}[r.IntN(3)],
		ip:      []string{"", "192.0.2.7", "198.51.100.1"}[r.IntN(3)],
		country: []string{"", "DE", "US"}[r.IntN(3)], purpose: []string{"", "care", "research"}[r.IntN(3)],
		roles: [][]string{nil, {"support"}, {"support", "supervisor"}}[r.IntN(3)], counts: float64(r.IntN(20)),
	}
	if r.IntN(3) > 0 {
		d.facts = map[string]any{"f": map[string]any{"x": float64(r.IntN(3))}}
	}
	if r.IntN(2) == 0 {
		d.session = &authzv1.Session{Acr: []string{"", "mfa"}[r.IntN(2)], Client: []string{"", "claude"}[r.IntN(2)], Purpose: []string{"", "", "audit"}[r.IntN(3)]}
		if r.IntN(2) == 0 {
			d.session.AuthTime = timestamppb.New(noon.Add(time.Duration(1-r.IntN(90)) * time.Minute))
			d.session.Started = timestamppb.New(noon.Add(time.Duration(1-r.IntN(12)) * time.Hour))
		}
	}
	if r.IntN(2) == 0 {
		d.device = &authzv1.Device{Managed: []*bool{nil, pointer(true), pointer(false)}[r.IntN(3)]}
	}
	return d
}

// request builds a Request. One place has the arguments decoded and facts by their keys, the other has bytes and names, and gets session and device over the
// wire.
func (d drawn) request(t *testing.T, there bool) *policy.Request {
	t.Helper()
	req := ana(d.args)
	req.Server.Name, req.SourceIP, req.Country, req.Purpose, req.Principal.Roles, req.Facts = d.server, d.ip, d.country, d.purpose, d.roles, d.facts
	session, device := d.session, d.device
	req.Counts = map[string]float64{"counted/sent": d.counts, "counted/few": d.counts}
	if there {
		raw, err := proto.Marshal(&authzv1.DecideRequest{Session: d.session, Device: d.device})
		if err != nil {
			t.Fatal(err)
		}
		sent := &authzv1.DecideRequest{}
		if err := proto.Unmarshal(raw, sent); err != nil {
			t.Fatal(err)
		}
		session, device = sent.GetSession(), sent.GetDevice()
		value, err := policy.Decode(json.RawMessage(d.args))
		if err != nil {
			t.Fatal(err)
		}
		req.Decoded, _ = value.(map[string]any)
		if d.facts != nil {
			raw, err := json.Marshal(d.facts["f"])
			if err != nil {
				t.Fatal(err)
			}
			req.Facts = map[string]any{"facts/f": json.RawMessage(raw)}
		}
	}
	req.Session, req.Device = policy.SessionOf(session), policy.DeviceOf(device)
	if req.Session.Purpose != "" {
		req.Purpose = req.Session.Purpose
	}
	return req
}

func corpusPolicies(t *testing.T) []*authzv1.Policy {
	t.Helper()
	rules := func(server, def string, all ...string) string {
		return `"match":{"server":"` + server + `"},"default":"` + def + `","rules":[` + strings.Join(all, ",") + `]`
	}
	stepUp := `{"name":"fresh","when":"args.n > 150","effect":"step-up","stepUp":{"acrValues":["mfa"],"maxAge":"45m"}}`
	return []*authzv1.Policy{
		parse(t, "counted", rules("*", "allow", ruleJSON("many", policy.Block, "counters.sent > 15.0"),
			`{"name":"few","when":"args.force == true","effect":"limit","limit":{"calls":12,"window":"1h"}}`)+`,"counters":{"sent":{"window":"24h"}}`),
		parse(t, "facts", rules("tickets", "allow", ruleJSON("x", policy.Escalate, "facts.f.x == 2"), ruleJSON("sql", policy.Block, "!sql(args.q).readOnly && args.n < 20"))+
			`,"facts":{"f":{"tool":"get","args":{"id":"args.id"}}}`),
		parse(t, "places", rules("*", "allow", ruleJSON("abroad", policy.Block, `has(request.country) && !inRegion(request.country, "EEA") && args.n > 100`),
			ruleJSON("net", policy.Modify, `request.ip == "192.0.2.7"`), ruleJSON("~far", policy.Block, `request.country == "US"`))),
		parse(t, "who", rules("crm", "", ruleJSON("device", policy.Block, "device.managed == false"), ruleJSON("unknown", policy.Escalate, "device.managed == null && args.n > 180"),
			ruleJSON("purpose", policy.Allow, `purpose == "care" || "supervisor" in principal.roles`), ruleJSON("mine", policy.Allow, `related("ticket:" + args.id, "owner")`),
			ruleJSON("audit", policy.Alert, `has(session.purpose) && session.purpose == "audit"`))),
		parse(t, "session", rules("*", "allow", stepUp, ruleJSON("long", policy.Block, `has(session.started) && session.age > duration("9h")`),
			ruleJSON("client", policy.Block, `session.client == "claude" && args.n == 7`))),
	}
}

// What the edge decides with what it has at hand, authz decides with what comes over the wire: always the same, in words too.
func TestA100kCorpusIsDecidedAlikeInBothPlaces(t *testing.T) {
	const requests = 100_000
	var here, there []*policy.Compiled
	for _, p := range corpusPolicies(t) {
		for _, to := range []*[]*policy.Compiled{&here, &there} {
			c, err := policy.Compile(p)
			if err != nil {
				t.Fatal(err)
			}
			*to = append([]*policy.Compiled{c}, *to...)
		}
	}
	edge, authz := policy.NewBundle(here), policy.NewBundle(there)
	owner := func(asked []policy.Relationship) ([]bool, error) {
		held := make([]bool, len(asked))
		for i, one := range asked {
			held[i] = one.Object == "ticket:T-1"
		}
		return held, nil
	}
	random := rand.New(rand.NewPCG(7, 26))
	seen := map[string]int{}
	began := time.Now()
	for range requests {
		d := draw(random)
		first, second := edge.Settle(d.request(t, false), owner), authz.Settle(d.request(t, true), owner)
		if !proto.Equal(first.Proto(), second.Proto()) {
			t.Fatalf("%+v:\n%+v\n%+v", d, first, second)
		}
		seen[first.Effect+" "+first.Reason.String()]++
	}
	t.Logf("%d requests decided twice in %s: %v", requests, time.Since(began), seen)
	if len(seen) < 8 {
		t.Errorf("the corpus reaches only %v", seen)
	}
}
