package policy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func pointer[T any](v T) *T { return &v }

func circumstances() *policy.Request {
	req := ana(`{"id":"T-1","ids":["T-1","T-2"]}`)
	req.Session = policy.Session{
		Started: noon.Add(-2 * time.Hour), Issued: noon.Add(-3 * time.Hour), AuthTime: noon.Add(-4 * time.Hour), ACR: "urn:acme:mfa", AMR: []string{"pwd", "otp"},
		Client: "claude-code", ClientVersion: "2.1", Purpose: "treatment",
	}
	req.Device = policy.Device{ID: pointer("laptop-7"), Managed: pointer(true)}
	req.Purpose, req.Country = "treatment", "DE"
	return req
}

func TestRulesSeeSessionDeviceAndPurpose(t *testing.T) {
	for _, when := range []string{
		`session.started == timestamp("2026-03-04T10:00:00Z")`, `session.age == duration("2h")`, `session.issued < session.started`,
		`session.authAge > duration("3h59m") && session.authTime < session.issued`, `session.acr == "urn:acme:mfa"`, `"otp" in session.amr`,
		`session.client == "claude-code" && session.clientVersion.startsWith("2.")`, `session.purpose == "treatment"`,
		`device.id == "laptop-7"`, `device.managed == true`, `device.compliant == null`, `!has(device.compliant) && has(device.managed)`,
		`purpose == "treatment"`, `purpose in ["treatment", "billing"]`, `purpose != null && purpose.startsWith("treat")`, `device.managed && true`,
	} {
		if d := one(t, when).Evaluate(circumstances()); d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_RULE {
			t.Errorf("%s: %s: %s", when, d.Effect, d.Sentence)
		}
	}
}

func TestT26WhatIsNotKnownOfACallBlocksTheRuleThatReadsIt(t *testing.T) {
	for when, says := range map[string]string{
		`session.started < request.time`:    "session.started is not known",
		`session.age < duration("8h")`:      "session.age is not known",
		`session.authAge < duration("8h")`:  "session.authAge is not known",
		`session.acr == "x"`:                "session.acr is not known",
		`session.client == "x"`:             "session.client is not known",
		`session.purpose == "x"`:            "session.purpose is not known",
		`request.country == "DE"`:           "request.country is not known",
		`device.managed && true`:            "no such overload",
		`purpose.startsWith("x")`:           "no such overload",
		`related("ticket:T-1", "owner")`:    "ticket:T-1#owner was not looked up",
		`related(args.id, "owner")`:         `"T-1" is not an object`,
		`related("ticket:" + args.id, "*")`: "",
	} {
		if when == `related("ticket:" + args.id, "*")` {
			if _, err := policy.Compile(parse(t, "p", oneSpec(t, when))); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
				t.Errorf("%s: %v", when, err)
			}
			continue
		}
		if d := one(t, when).Evaluate(ana(`{"id":"T-1"}`)); d.Effect != policy.Block || d.Reason == faultv1.Reason_REASON_RULE || !strings.Contains(d.Rules[0].Error, says) {
			t.Errorf("%s: %s %s", when, d.Effect, d.Rules[0].Error)
		}
	}
	for _, unknown := range []string{`device.managed == null && device.id == null`, `purpose == null`, `!has(session.started) && !has(session.acr)`} {
		if d := one(t, unknown).Evaluate(ana(`{}`)); d.Reason != faultv1.Reason_REASON_RULE {
			t.Errorf("%s: %s", unknown, d.Sentence)
		}
	}
}

// A clock that jumped back makes what was seem to lie ahead: nothing counts as young because of it.
func TestT26ATimeInTheFutureBlocks(t *testing.T) {
	for _, when := range []string{`session.age > duration("8h")`, `session.authAge > duration("5m")`} {
		req := circumstances()
		req.At = noon.Add(-5 * time.Hour)
		if d := one(t, when).Evaluate(req); d.Effect != policy.Block || !strings.Contains(d.Sentence, "check the clocks") || !d.Alert {
			t.Errorf("%s: %+v", when, d)
		}
		req.At = noon.Add(-2*time.Hour - 20*time.Second) // the other machine's clock may be a little ahead
		if d := one(t, when).Evaluate(req); when == `session.age > duration("8h")` && d.Effect != policy.Allow {
			t.Errorf("%s: %+v", when, d)
		}
	}
}

func stepUpSpec(stepUp string) string {
	return rulesOf(`{"name":"fresh","when":"args.amount > 100","effect":"step-up","stepUp":` + stepUp + `,"reason":"Large sums need a fresh sign-in"},
		{"name":"all","when":"true","effect":"allow"}`)
}

func TestAStepUpRefusesUntilTheSignInIsAsItMustBe(t *testing.T) {
	strong := policy.Session{ACR: "mfa", AuthTime: noon.Add(-time.Minute)}
	for _, c := range []struct {
		stepUp, args string
		session      policy.Session
		effect       string
	}{
		{`{"acrValues":["mfa"],"maxAge":"5m"}`, `{"amount":1}`, policy.Session{}, policy.Allow},
		{`{"acrValues":["mfa"],"maxAge":"5m"}`, `{"amount":101}`, policy.Session{}, policy.Block},
		{`{"acrValues":["mfa"],"maxAge":"5m"}`, `{"amount":101}`, strong, policy.Allow},
		{`{"acrValues":["hwk"]}`, `{"amount":101}`, strong, policy.Block},
		{`{"acrValues":["hwk","mfa"]}`, `{"amount":101}`, strong, policy.Allow},
		{`{"maxAge":"59s"}`, `{"amount":101}`, strong, policy.Block},
		{`{"maxAge":"1m"}`, `{"amount":101}`, strong, policy.Allow},
		{`{"maxAge":"1m"}`, `{"amount":101}`, policy.Session{ACR: "mfa"}, policy.Block},
		{`{"maxAge":"1m"}`, `{"amount":101}`, policy.Session{AuthTime: noon.Add(time.Hour)}, policy.Block},
	} {
		req := ana(c.args)
		req.Session = c.session
		d := bundle(t, "p", stepUpSpec(c.stepUp)).Evaluate(req)
		future := c.session.AuthTime.After(noon)
		if d.Effect != c.effect || (d.Effect == policy.Block) != (d.StepUp != nil || future) || future && !d.Alert {
			t.Errorf("%s %s: %+v", c.stepUp, c.args, d)
		}
		if d.StepUp != nil && (d.Reason != faultv1.Reason_REASON_STEP_UP || !strings.Contains(d.Sentence, "Large sums need a fresh sign-in; it needs a sign-in")) {
			t.Errorf("%+v", d)
		}
	}
	both := rulesOf(`{"name":"fresh","when":"true","effect":"step-up","stepUp":{"maxAge":"1m"}},{"name":"never","when":"true","effect":"block"}`)
	if d := bundle(t, "p", both).Evaluate(ana(`{}`)); d.Rule != "p/never" || d.StepUp != nil {
		t.Errorf("nobody signs in for a call that is refused anyway: %+v", d)
	}
	for _, wrong := range []string{`{}`, `{"maxAge":"0s"}`} {
		if _, err := policy.Compile(parse(t, "p", stepUpSpec(wrong))); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestRelationsAreAskedForAllAtOnceAndOnlyWhereARuleNeedsThem(t *testing.T) {
	b := one(t, `!args.ids.all(id, related("ticket:" + id, "owner")) && (related("role:supervisor", "assignee") || related("team:care", "lead"))`)
	var asked [][]policy.Relationship
	answer := map[string]bool{"ticket:T-1#owner": true, "team:care#lead": true}
	ask := func(r []policy.Relationship) ([]bool, error) {
		asked = append(asked, r)
		held := make([]bool, len(r))
		for i, one := range r {
			held[i] = answer[one.String()]
		}
		return held, nil
	}
	if d := b.Settle(circumstances(), ask); d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_RULE {
		t.Errorf("%+v", d)
	}
	if len(asked) != 1 || len(asked[0]) != 4 {
		t.Errorf("asked %v", asked)
	}
	answer["ticket:T-2#owner"], asked = true, nil
	if d := b.Settle(circumstances(), ask); d.Effect != policy.Allow || len(asked) != 1 {
		t.Errorf("%+v, asked %v", d, asked)
	}
	if w := b.Wants("tickets", "close_ticket"); !w.Any || !w.Relations || w.Country {
		t.Errorf("%+v", w)
	}
	if w := b.Wants("other", "close_ticket"); w != (policy.Wants{}) {
		t.Errorf("%+v", w)
	}
	for _, when := range []string{`request.country == "DE"`, `has(request.country)`, `request == request`} {
		if w := one(t, when).Wants("tickets", "close_ticket"); !w.Country || w.Relations {
			t.Errorf("%s: %+v", when, w)
		}
	}
	d := one(t, `args.id == "T-9" && related("ticket:T-9", "owner")`).Settle(circumstances(), func([]policy.Relationship) ([]bool, error) {
		t.Error("asked though the rule does not get so far")
		return nil, nil
	})
	if d.Effect != policy.Allow {
		t.Errorf("%+v", d)
	}
}

func TestT26ARelationThatIsNotAnsweredBlocks(t *testing.T) {
	many := make([]string, 60)
	for i := range many {
		many[i] = fmt.Sprintf("%q", fmt.Sprint(i))
	}
	lots := circumstances()
	lots.Args = []byte(`{"ids":[` + strings.Join(many, ",") + `]}`)
	for name, c := range map[string]struct {
		req  *policy.Request
		ask  func([]policy.Relationship) ([]bool, error)
		says string
	}{
		"unreachable": {circumstances(), func([]policy.Relationship) ([]bool, error) { return nil, errors.New("authz does not answer") }, "authz does not answer"},
		"too few":     {circumstances(), func([]policy.Relationship) ([]bool, error) { return []bool{true}, nil }, "not all answered"},
		"too many": {lots, func(r []policy.Relationship) ([]bool, error) { return slices.Repeat([]bool{true}, len(r)), nil },
			"at most 50 relations"},
	} {
		d := one(t, `!args.ids.all(id, related("ticket:" + id, "owner"))`).Settle(c.req, c.ask)
		if d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_RELATION_UNAVAILABLE || !d.Alert || !strings.Contains(d.Sentence, c.says) {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

func TestAPolicysTestsSayUnderWhichCircumstances(t *testing.T) {
	spec := `"match":{"server":"records","tools":["read"]},"rules":[
		{"name":"managed","when":"device.managed == true && device.compliant != false","effect":"allow"},
		{"name":"purpose","when":"purpose != \"treatment\"","effect":"block"},
		{"name":"long","when":"has(session.started) && session.age > duration(\"8h\")","effect":"block"},
		{"name":"mine","when":"!related(\"patient:\" + args.id, \"carer\")","effect":"block"},
		{"name":"abroad","when":"!inRegion(request.country, \"EEA\")","effect":"step-up","stepUp":{"acrValues":["mfa"]}}],
	"tests":[
		{"name":"as it should be","as":{"device":{"managed":true},"purpose":"treatment","session":{"started":"2026-01-07T11:00:00Z"}},"args":{"id":"P-1"},
		 "related":["patient:P-1#carer"],"country":"DE","expect":"allow"},
		{"name":"an unknown device","as":{"purpose":"treatment"},"args":{"id":"P-1"},"related":["patient:P-1#carer"],"country":"DE","expect":"block"},
		{"name":"for something else","as":{"device":{"managed":true},"purpose":"research"},"args":{"id":"P-1"},"related":["patient:P-1#carer"],"country":"DE",
		 "expect":"block","rule":"purpose"},
		{"name":"for too long","as":{"device":{"managed":true},"purpose":"treatment","session":{"started":"2026-01-07T03:00:00Z"}},"args":{"id":"P-1"},
		 "related":["patient:P-1#carer"],"country":"DE","expect":"block","rule":"long"},
		{"name":"another's patient","as":{"device":{"managed":true},"purpose":"treatment"},"args":{"id":"P-2"},"related":["patient:P-1#carer"],"country":"DE",
		 "expect":"block","rule":"mine"},
		{"name":"from abroad","as":{"device":{"managed":true},"purpose":"treatment"},"args":{"id":"P-1"},"related":["patient:P-1#carer"],"country":"US",
		 "expect":"step-up","rule":"abroad"},
		{"name":"from abroad, signed in well","as":{"device":{"managed":true},"purpose":"treatment","session":{"acr":"mfa"}},"args":{"id":"P-1"},
		 "related":["patient:P-1#carer"],"country":"US","expect":"allow"}]`
	results, err := policy.RunTests(parse(t, "p", spec))
	if err != nil || len(results) != 7 {
		t.Fatal(results, err)
	}
	for _, r := range results {
		if !r.Passed {
			t.Errorf("%s: %s", r.Name, r.Problem)
		}
	}
}
