package policy_test

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func entitlement(server, tool string, see, call bool, via string, until time.Time) *authzv1.Entitlement {
	e := &authzv1.Entitlement{Server: server, Tool: tool, CanSee: see, CanCall: call, Via: via}
	if !until.IsZero() {
		e.Until = timestamppb.New(until)
	}
	return e
}

func TestEntitlements(t *testing.T) {
	ended, later := noon.Add(-time.Second), noon.Add(time.Hour)
	e := policy.NewEntitlements([]*authzv1.Entitlement{
		entitlement("tickets", "*", true, false, "all", time.Time{}),
		entitlement("tickets", "read", true, true, "one", time.Time{}),
		entitlement("tickets", "close", true, true, "temporary", later),
		entitlement("crm", "*", false, true, "caller", time.Time{}),
		entitlement("crm", "read", true, false, "seer", time.Time{}),
		entitlement("old", "*", true, true, "ended", ended),
		entitlement("now", "*", true, true, "ends now", noon),
		entitlement("none", "*", false, false, "nothing", time.Time{}),
	})
	for _, c := range []struct {
		server, tool     string
		at               time.Time
		known, see, call bool
		via              string
	}{
		{"tickets", "read", noon, true, true, true, "one"},
		{"tickets", "other", noon, true, true, false, "all"},
		{"tickets", "close", noon, true, true, true, "temporary"},
		{"tickets", "close", later, true, true, false, "all"},
		{"tickets", "*", noon, true, true, false, "all"},
		{"crm", "read", noon, true, true, true, "caller"},
		{"crm", "write", noon, true, true, true, "caller"},
		{"old", "read", noon, false, false, false, ""},
		{"old", "read", ended.Add(-1), true, true, true, "ended"},
		{"now", "read", noon, false, false, false, ""},
		{"none", "read", noon, false, false, false, ""},
		{"unheard", "read", noon, false, false, false, ""},
	} {
		r := e.Lookup(c.server, c.tool, c.at)
		reason := faultv1.Reason_REASON_NOT_GRANTED
		if c.call {
			reason = 0
		}
		if r != (policy.Relation{Known: c.known, See: c.see, Call: c.call, Via: c.via, Reason: reason}) {
			t.Errorf("%s.%s: %+v", c.server, c.tool, r)
		}
	}
	if got := e.Servers(noon); !slices.Equal(got, []string{"crm", "tickets"}) {
		t.Errorf("servers %v", got)
	}
	var none *policy.Entitlements
	if r := none.Lookup("tickets", "read", noon); r.Known || r.Reason != faultv1.Reason_REASON_NOT_GRANTED || none.Servers(noon) != nil {
		t.Errorf("%+v", r)
	}
}

func blocked(server, tool, from, via string, until time.Time) *authzv1.Entitlement {
	e := entitlement(server, tool, false, false, via, until)
	e.Blocked = from
	return e
}

func TestWhatIsBlockListedWinsOverEveryGrant(t *testing.T) {
	later := noon.Add(time.Hour)
	e := policy.NewHoldings().Entitlements([]*authzv1.Entitlement{
		entitlement("tickets", "*", true, true, "ana → role all", time.Time{}),
		entitlement("crm", "*", true, true, "ana → role all", time.Time{}),
		entitlement("wiki", "*", true, true, "ana → role all", time.Time{}),
		blocked("tickets", "close", "call", "ana → block list a", later),
		blocked("tickets", "purge", "call", "ana → block list a", time.Time{}),
		blocked("tickets", "purge", "see", "ana → block list b", time.Time{}),
		blocked("crm", "*", "see", "ana → group g → block list c", time.Time{}),
		blocked("none", "*", "call", "ana → block list d", time.Time{}),
		blocked("wiki", "edit", "a word of tomorrow", "ana → block list e", time.Time{}),
	})
	for _, c := range []struct {
		server, tool string
		at           time.Time
		see, call    bool
		via          string
		reason       faultv1.Reason
	}{
		{"tickets", "list", noon, true, true, "ana → role all", 0},
		{"tickets", "close", noon, true, false, "ana → block list a", faultv1.Reason_REASON_BLOCK_LISTED},
		{"tickets", "close", later, true, true, "ana → role all", 0},
		{"tickets", "purge", noon, false, false, "ana → block list b", faultv1.Reason_REASON_BLOCK_LISTED},
		{"crm", "read", noon, false, false, "ana → group g → block list c", faultv1.Reason_REASON_BLOCK_LISTED},
		{"none", "read", noon, false, false, "", faultv1.Reason_REASON_NOT_GRANTED},
		{"wiki", "edit", noon, false, false, "ana → block list e", faultv1.Reason_REASON_BLOCK_LISTED},
	} {
		if r := e.Lookup(c.server, c.tool, c.at); r.See != c.see || r.Call != c.call || r.Via != c.via || r.Reason != c.reason {
			t.Errorf("%s.%s: %+v", c.server, c.tool, r)
		}
	}
	if got := e.Servers(noon); !slices.Equal(got, []string{"tickets", "wiki"}) {
		t.Errorf("servers %v", got)
	}
	if again := policy.NewEntitlements(e.List(noon)); again.Lookup("crm", "read", noon) != e.Lookup("crm", "read", noon) || len(e.List(later)) != len(e.List(noon))-1 {
		t.Errorf("what was listed says something else: %v", e.List(noon))
	}
	everything := policy.NewEntitlements([]*authzv1.Entitlement{entitlement("crm", "*", true, true, "ana → x", time.Time{}), blocked("*", "*", "see", "ana → y", time.Time{})})
	if r := everything.Lookup("crm", "read", noon); r.See || r.Reason != faultv1.Reason_REASON_BLOCK_LISTED || len(everything.Servers(noon)) != 0 {
		t.Errorf("everything: %+v %v", r, everything.Servers(noon))
	}
}

func TestAnAgentsRightIsTheSmaller(t *testing.T) {
	full := policy.Relation{Known: true, See: true, Call: true, Via: "v"}
	see := policy.Relation{Known: true, See: true, Via: "v", Reason: faultv1.Reason_REASON_NOT_GRANTED}
	none := policy.Relation{Reason: faultv1.Reason_REASON_NOT_GRANTED}
	killed := policy.Relation{Reason: faultv1.Reason_REASON_KILLED}
	for _, c := range []struct {
		person, agent    policy.Relation
		known, see, call bool
		reason           faultv1.Reason
	}{
		{full, full, true, true, true, 0},
		{full, see, true, true, false, faultv1.Reason_REASON_AGENT},
		{full, none, false, false, false, faultv1.Reason_REASON_AGENT},
		{full, killed, false, false, false, faultv1.Reason_REASON_KILLED},
		{see, full, true, true, false, faultv1.Reason_REASON_NOT_GRANTED},
		{none, full, false, false, false, faultv1.Reason_REASON_NOT_GRANTED},
		{none, none, false, false, false, faultv1.Reason_REASON_NOT_GRANTED},
		{policy.Relation{}, full, false, false, false, faultv1.Reason_REASON_NOT_GRANTED},
	} {
		c.agent.Via = "w"
		r := policy.Smaller(c.person, c.agent)
		if r.Known != c.known || r.See != c.see || r.Call != c.call || r.Reason != c.reason {
			t.Errorf("%+v and %+v: %+v", c.person, c.agent, r)
		}
	}
	if r := policy.Smaller(full, policy.Relation{Known: true, See: true, Call: true, Via: "w"}); r.Via != "v and w" {
		t.Errorf("%q", r.Via)
	}
}
