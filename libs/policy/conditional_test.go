package policy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func conditional(server, tool, via string, c *authzv1.CallCondition) *authzv1.Entitlement {
	return &authzv1.Entitlement{Server: server, Tool: tool, CanSee: true, Via: via, CallIf: c}
}

func within(maximum, pointer string) *authzv1.CallCondition {
	return &authzv1.CallCondition{Argument: "/amount", Max: maximum, Currency: "EUR", CurrencyArgument: pointer}
}

func paying(address, args string) *policy.Request {
	return &policy.Request{
		Principal: policy.Principal{Name: "ana"}, Server: policy.Server{Name: "pay"}, Tool: policy.Tool{Name: "transfer"},
		SourceIP: address, Args: json.RawMessage(args), At: noon,
	}
}

func TestAGrantHoldsForCallsThatMeetItsCondition(t *testing.T) {
	inside := &authzv1.CallCondition{Networks: []string{"10.0.0.0/8", "2001:db8::/32"}}
	both := &authzv1.CallCondition{Networks: inside.GetNetworks(), Argument: "/amount", Max: "1000.00", Currency: "EUR"}
	for name, c := range map[string]struct {
		condition *authzv1.CallCondition
		address   string
		args      string
		unmet     string // empty where the call is allowed
	}{
		"from the network":                    {inside, "10.9.8.7", "", ""},
		"from the other network":              {inside, "2001:db8::1", "", ""},
		"from the network, written as IPv6":   {inside, "::ffff:10.9.8.7", "", ""},
		"from elsewhere":                      {inside, "192.0.2.7", "", "this call came from 192.0.2.7"},
		"from nobody knows where":             {inside, "", "", "it is not known where this call came from"},
		"from what is no address":             {inside, "10.0.0.1:80", "", "this call came from"},
		"the largest amount":                  {within("1000.00", ""), "", `{"amount":1000}`, ""},
		"a cent more":                         {within("1000.00", ""), "", `{"amount":1000.01}`, "the amount of this call is larger"},
		"a tenth of a cent more":              {within("1000.00", ""), "", `{"amount":1000.001}`, "no amount in EUR at /amount"},
		"a text":                              {within("1000.00", ""), "", `{"amount":"999.99"}`, ""},
		"a text with its currency":            {within("1000.00", ""), "", `{"amount":"999.99 EUR"}`, ""},
		"another currency":                    {within("1000.00", ""), "", `{"amount":"1.00 JPY"}`, "no amount in EUR"},
		"the currency of another argument":    {within("1000.00", "/to/currency"), "", `{"amount":5,"to":{"currency":"EUR"}}`, ""},
		"another currency there":              {within("1000.00", "/to/currency"), "", `{"amount":5,"to":{"currency":"USD"}}`, "no amount in EUR"},
		"no currency there":                   {within("1000.00", "/to/currency"), "", `{"amount":5}`, "no amount in EUR"},
		"a currency that is none":             {within("1000.00", "/to/currency"), "", `{"amount":5,"to":{"currency":["EUR"]}}`, "no amount in EUR"},
		"no amount":                           {within("1000.00", ""), "", `{"sum":5}`, "no amount in EUR"},
		"no arguments":                        {within("1000.00", ""), "", "", "no amount in EUR"},
		"less than nothing":                   {within("1000.00", ""), "", `{"amount":-5}`, "the amount of this call is negative"},
		"a power of ten":                      {within("1000.00", ""), "", `{"amount":1e9}`, "no amount in EUR"},
		"more digits than a double has":       {within("9007199254740992", ""), "", `{"amount":9007199254740993}`, "larger"},
		"a list":                              {within("1000.00", ""), "", `{"amount":[5]}`, "no amount in EUR"},
		"an escaped name":                     {within("1000.00", ""), "", `{"\u0061mount":5000}`, "larger"},
		"from the network, too much":          {both, "10.0.0.1", `{"amount":1001}`, "larger"},
		"little enough, from elsewhere":       {both, "192.0.2.7", `{"amount":1}`, "192.0.2.7"},
		"little enough, from the network":     {both, "10.0.0.1", `{"amount":1}`, ""},
		"a condition that asks nothing known": {&authzv1.CallCondition{}, "10.0.0.1", "", "cannot read this condition"},
		"a network that is none":              {&authzv1.CallCondition{Networks: []string{"10.0.0.0/8", "home"}}, "10.0.0.1", "", "cannot read this condition"},
		"a currency that is not known":        {&authzv1.CallCondition{Argument: "/amount", Max: "1", Currency: "QQQ"}, "", `{"amount":1}`, "cannot read this condition"},
	} {
		e := policy.NewEntitlements([]*authzv1.Entitlement{conditional("pay", "transfer", "ana → role a → tool pay.transfer", c.condition)})
		req := paying(c.address, c.args)
		open := e.Lookup("pay", "transfer", noon)
		if !open.See || open.Call || !open.May() || open.Reason != faultv1.Reason_REASON_CONDITION {
			t.Errorf("%s, before the call is known: %+v", name, open)
		}
		if req.Relation = open; policy.NewBundle(nil).Evaluate(req).Effect != policy.Block {
			t.Errorf("%s: a relation that was not settled let a call pass", name)
		}
		req.Relation = open.For(req)
		d := policy.NewBundle(nil).Evaluate(req)
		allowed := d.Effect == policy.Allow && c.unmet == ""
		refused := d.Effect == policy.Block && c.unmet != "" && d.Reason == faultv1.Reason_REASON_CONDITION && strings.Contains(d.Sentence, c.unmet) &&
			strings.Contains(d.Sentence, "role a → tool pay.transfer")
		if !allowed && !refused {
			t.Errorf("%s: %s %s %s", name, d.Effect, d.Reason, d.Sentence)
		}
	}
}

func TestOfSeveralGrantsOneThatHoldsIsEnough(t *testing.T) {
	office, small := &authzv1.CallCondition{Networks: []string{"10.0.0.0/8"}}, within("100", "")
	e := policy.NewHoldings().Entitlements([]*authzv1.Entitlement{
		entitlement("pay", "*", true, false, "ana → role viewer → server pay", time.Time{}),
		conditional("pay", "transfer", "ana → role office → tool pay.transfer", office),
		conditional("pay", "*", "ana → role clerk → server pay", small),
		conditional("pay", "both", "ana → role office → tool pay.both", office),
		entitlement("pay", "both", true, true, "ana → role all → tool pay.both", noon.Add(time.Hour)),
	})
	for _, c := range []struct{ address, args, via string }{
		{"10.0.0.1", `{"amount":5000}`, "ana → role office → tool pay.transfer"},
		{"192.0.2.7", `{"amount":50}`, "ana → role clerk → server pay"},
		{"192.0.2.7", `{"amount":5000}`, ""},
	} {
		r := e.Lookup("pay", "transfer", noon).For(paying(c.address, c.args))
		if r.Call != (c.via != "") || r.Call && r.Via != c.via {
			t.Errorf("%v: %+v", c, r)
		}
	}
	req := paying("192.0.2.7", `{"amount":5000}`)
	req.Relation = e.Lookup("pay", "transfer", noon).For(req)
	if d := policy.NewBundle(nil).Evaluate(req); d.Sentence != "transfer on pay was refused: the grant holds for some calls alone (ana → role office → tool pay.transfer), and "+
		"this call came from 192.0.2.7, nor is it with /amount at most 100 EUR (the amount of this call is larger); call it as the grant says, or ask an administrator for another grant." {
		t.Errorf("refused by both: %s", d.Sentence)
	}
	if words := e.Lookup("pay", "transfer", noon).If(); words != "from 10.0.0.0/8, or with /amount at most 100 EUR" {
		t.Errorf("in words: %s", words)
	}
	if r := e.Lookup("pay", "both", noon); !r.Call || r.If() != "" {
		t.Errorf("one without a condition: %+v", r)
	}
	if r := e.Lookup("pay", "both", noon.Add(time.Hour)); r.Call || !r.May() {
		t.Errorf("when that has ended: %+v", r)
	}
	again := policy.NewEntitlements(e.List(noon))
	if r := again.Lookup("pay", "transfer", noon).For(paying("10.0.0.1", "")); !r.Call || len(again.List(noon)) != 5 {
		t.Errorf("what was listed says something else: %+v", r)
	}
}

// Who does not know of conditions sees tools that may not be called.
func TestAnOlderEdgeDoesNotTakeAConditionForNone(t *testing.T) {
	of := conditional("pay", "transfer", "v", within("1", ""))
	of.CallIf = nil
	if r := policy.NewEntitlements([]*authzv1.Entitlement{of}).Lookup("pay", "transfer", noon); !r.See || r.May() {
		t.Errorf("%+v", r)
	}
	if both := conditional("pay", "transfer", "v", within("1", "")); true {
		both.CanCall = true // a condition is never overlooked
		if r := policy.NewEntitlements([]*authzv1.Entitlement{both}).Lookup("pay", "transfer", noon); r.Call {
			t.Errorf("%+v", r)
		}
	}
}

func TestAnAgentAndItsPersonEachMeetTheirConditions(t *testing.T) {
	lookup := func(e *authzv1.Entitlement) policy.Relation {
		return policy.NewEntitlements([]*authzv1.Entitlement{e}).Lookup("pay", "transfer", noon)
	}
	office, small := &authzv1.CallCondition{Networks: []string{"10.0.0.0/8"}}, within("100", "")
	person, agent := lookup(conditional("pay", "transfer", "ana → a", office)), lookup(conditional("pay", "transfer", "agent scout → b", small))
	full, none := lookup(entitlement("pay", "transfer", true, true, "full", time.Time{})), policy.Relation{Reason: faultv1.Reason_REASON_NOT_GRANTED}
	for name, c := range map[string]struct {
		person, agent policy.Relation
		address, args string
		call          bool
		reason        faultv1.Reason
	}{
		"both meet":             {person, agent, "10.0.0.1", `{"amount":5}`, true, 0},
		"the person does not":   {person, agent, "192.0.2.7", `{"amount":5}`, false, faultv1.Reason_REASON_CONDITION},
		"the agent does not":    {person, agent, "10.0.0.1", `{"amount":500}`, false, faultv1.Reason_REASON_CONDITION},
		"the person has none":   {full, agent, "192.0.2.7", `{"amount":5}`, true, 0},
		"the agent has none":    {person, full, "10.0.0.1", `{"amount":500}`, true, 0},
		"the agent may nothing": {person, none, "10.0.0.1", `{"amount":5}`, false, faultv1.Reason_REASON_AGENT},
		"nor may the person":    {none, agent, "10.0.0.1", `{"amount":5}`, false, faultv1.Reason_REASON_NOT_GRANTED},
	} {
		open := policy.Smaller(c.person, c.agent)
		if open.Call {
			t.Errorf("%s: callable before the call is known", name)
		}
		if r := open.For(paying(c.address, c.args)); r.Call != c.call || r.Reason != c.reason {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if words := policy.Smaller(person, agent).If(); words != "from 10.0.0.0/8; and for the agent with /amount at most 100 EUR" {
		t.Errorf("in words: %s", words)
	}
}

func TestConditionsThatDifferAreNotShared(t *testing.T) {
	h := policy.NewHoldings()
	of := func(c *authzv1.CallCondition) policy.Relation {
		return h.Entitlements([]*authzv1.Entitlement{conditional("pay", "transfer", "v", c)}).Lookup("pay", "transfer", noon)
	}
	narrow, wide := of(&authzv1.CallCondition{Networks: []string{"10.0.0.0/8"}}), of(&authzv1.CallCondition{Networks: []string{"10.0.0.0/8", "192.0.2.0/24"}})
	if req := paying("192.0.2.7", ""); narrow.For(req).Call || !wide.For(req).Call {
		t.Error("what one holds was given to the other")
	}
	if narrow.If() == wide.If() {
		t.Errorf("two conditions are one in words: %s", narrow.If())
	}
}
