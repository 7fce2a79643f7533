package trust_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

func TestAServerWaitsForAPerson(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"), tool("b", "two"))
	h.mustApply(echo(u.url))
	h.edge.knows("pending: a:pending b:pending")
	shown := h.show()
	first := shown.GetDefinitions()[0]
	if string(first.GetSeen()) != tool("a", "one") || first.GetApproved() != nil || shown.GetSeenHash() == "" || shown.GetSeenAt() == nil {
		t.Errorf("shown: %v", shown)
	}
	if _, err := h.approve(shown.GetSeenHash()); err != nil {
		t.Fatal(err)
	}
	h.edge.knows("approved: a:approved b:approved")
	h.edge.mu.Lock()
	got := h.edge.servers["acme/echo"].GetDefinitions()[0]
	h.edge.mu.Unlock()
	if string(got.GetApproved()) != tool("a", "one") || got.GetApprovedBy() != "sam" || got.GetApprovedHash() != got.GetSeenHash() || got.GetApprovedAt() == nil {
		t.Errorf("the edge was told: %v", got)
	}
	if n := len(h.journal.of("definition-approved")); n != 2 || h.journal.of("server-approved")[0].GetPrincipal().GetPerson() != "sam" {
		t.Errorf("%d records", n)
	}
}

func TestInitialPinsWhatIsShownFirst(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"))
	h.mustApply(echo(u.url, initial))
	h.edge.knows("approved: a:approved")
	u.shows(tool("a", "one"), tool("b", "two"))
	h.edge.knows("approved: a:approved b:pending")
	approvals := h.journal.of("server-approved")
	if len(approvals) != 1 || approvals[0].GetPrincipal().GetService() != "trust" || approvals[0].GetChange().GetReason() != "approve: initial" {
		t.Errorf("the records: %v", approvals)
	}
}

func TestAServerThatIsDownAtFirstIsPinnedWhenItComesUp(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"))
	u.set(func(u *upstream) { u.down = true })
	h.mustApply(echo(u.url, initial))
	if state := h.refresh(); told(state) != "pending:" || !strings.Contains(state.GetNote(), "could not be looked at") {
		t.Errorf("while it is down: %v", state)
	}
	if _, err := h.approve(""); !fault.Is(err, faultv1.Reason_REASON_UPSTREAM) {
		t.Errorf("approved while it is down: %v", err)
	}
	u.set(func(u *upstream) { u.down = false })
	h.edge.knows("approved: a:approved")
	u.set(func(u *upstream) { u.down = true })
	if got := told(h.refresh()); got != "approved: a:approved" {
		t.Errorf("a server that is down lost its pins: %s", got)
	}
}

func TestEveryKindOfDriftStopsTheToolUntilItIsApproved(t *testing.T) {
	const name = `{"name":"a","description":"one","inputSchema":{"type":"object"}}`
	for kind, changed := range map[string]string{
		"description":    `{"name":"a","description":"One","inputSchema":{"type":"object"}}`,
		"title":          `{"name":"a","title":"A","description":"one","inputSchema":{"type":"object"}}`,
		"input schema":   `{"name":"a","description":"one","inputSchema":{"type":"object","properties":{"x":{"type":"string"}}}}`,
		"schema keyword": `{"name":"a","description":"one","inputSchema":{"type":"object","unevaluatedProperties":true}}`,
		"output schema":  `{"name":"a","description":"one","inputSchema":{"type":"object"},"outputSchema":{"type":"object"}}`,
		"annotations":    `{"name":"a","description":"one","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`,
		"icons":          `{"name":"a","description":"one","inputSchema":{"type":"object"},"icons":[{"src":"https://a.example/i.png"}]}`,
		"unknown member": `{"name":"a","description":"one","inputSchema":{"type":"object"},"x-new":1}`,
		"big number":     `{"name":"a","description":"one","inputSchema":{"type":"object","maxProperties":9007199254740993}}`,
	} {
		t.Run(kind, func(t *testing.T) {
			h := start(t, t.TempDir())
			u := serve(t, name, tool("b", "two"))
			h.mustApply(echo(u.url, initial))
			h.edge.knows("approved: a:approved b:approved")
			u.shows(changed, tool("b", "two"))
			h.edge.knows("approved: a:changed b:approved")
			d := h.show().GetDefinitions()[0]
			if string(d.GetApproved()) != name || string(d.GetSeen()) != changed || d.GetApprovedHash() == d.GetSeenHash() {
				t.Errorf("the difference is not shown: %v", d)
			}
			events := h.journal.of("definition-changed")
			if len(events) != 1 || !events[0].GetAlert() ||
				events[0].GetChange().GetOldHash() != d.GetApprovedHash() || events[0].GetChange().GetNewHash() != d.GetSeenHash() ||
				events[0].GetTarget().GetTool() != "a" || events[0].GetTenant() != "acme" {
				t.Errorf("the alert: %v", events)
			}
			if _, err := h.approve("", "a"); err != nil {
				t.Fatal(err)
			}
			h.edge.knows("approved: a:approved b:approved")
		})
	}
}

func TestTheWayBackToWhatWasApprovedNeedsNobody(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"))
	h.mustApply(echo(u.url, initial))
	h.edge.knows("approved: a:approved")
	for _, away := range [][]string{{tool("a", "evil")}, {}, {tool("b", "two")}} {
		u.shows(away...)
		h.edge.await("the drift", func() bool { return told(h.edge.servers["acme/echo"]) != "approved: a:approved" })
		u.shows(tool("a", "one"))
		h.edge.knows("approved: a:approved")
	}
	// The order of members and escapes are no change.
	u.shows(`{"inputSchema":{"properties":{"a":{"type":"string"}},"type":"object"},"description":"\u006fne","name":"a"}`)
	if got := told(h.refresh()); got != "approved: a:approved" {
		t.Errorf("another spelling: %s", got)
	}
}

func TestT6HiddenCharactersAreNeverApproved(t *testing.T) {
	for kind, bad := range map[string]string{
		"zero width":             tool("bad", "a\u200bdd"),
		"an escaped tag":         `{"name":"bad","description":"x \udb40\udc41 y","inputSchema":{"type":"object"}}`,
		"bidi in a schema":       `{"name":"bad","inputSchema":{"type":"object","properties":{"x":{"type":"string","enum":["a\u202eb"]}}}}`,
		"escape in a title":      `{"name":"bad","title":"\u001b[2J","inputSchema":{"type":"object"}}`,
		"a property's name":      `{"name":"bad","inputSchema":{"type":"object","properties":{"a\u2060b":{"type":"string"}}}}`,
		"T3 a name with a blank": tool("bad name", "x"),
		"T3 a homoglyph":         tool("b\u0430d", "x"),
		"T3 a long name":         tool(strings.Repeat("b", 129), "x"),
	} {
		t.Run(kind, func(t *testing.T) {
			h := start(t, t.TempDir())
			u := serve(t, tool("a", "one"), bad)
			h.mustApply(echo(u.url, initial))
			h.edge.await("a good and a bad tool", func() bool {
				state := h.edge.servers["acme/echo"]
				return strings.HasPrefix(told(state), "approved: a:approved ") && strings.HasSuffix(told(state), ":pending")
			})
			state := h.show()
			if !strings.Contains(state.GetNote(), "never be approved") {
				t.Errorf("the note: %q", state.GetNote())
			}
			for _, tools := range [][]string{nil, {state.GetDefinitions()[1].GetName()}} {
				if _, err := h.approve("", tools...); !fault.Is(err, faultv1.Reason_REASON_INSPECTION) {
					t.Errorf("%v: %v", tools, err)
				}
			}
			if _, err := h.approve("", "a"); err != nil {
				t.Errorf("the good one: %v", err)
			}
		})
	}
}

func TestApproveIsGuardedByWhatThePersonSaw(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"))
	h.mustApply(echo(u.url))
	h.edge.knows("pending: a:pending")
	seen := h.show().GetSeenHash()
	u.shows(tool("a", "evil"))
	if _, err := h.approve(seen); !fault.Is(err, faultv1.Reason_REASON_CONFLICT) {
		t.Errorf("%v", err)
	}
	if got := told(h.show()); got != "pending: a:pending" {
		t.Error(got)
	}
	if _, err := h.approve(h.show().GetSeenHash()); err != nil {
		t.Error(err)
	}
}

func TestAnotherAddressWaitsForAPersonAlsoWithInitial(t *testing.T) {
	h := start(t, t.TempDir())
	first, second := serve(t, tool("a", "one")), serve(t, tool("a", "one"))
	h.mustApply(echo(first.url, initial))
	h.edge.knows("approved: a:approved")
	h.mustApply(echo(second.url, initial))
	h.edge.knows("pending: a:changed")
	if got := told(h.refresh()); got != "pending: a:changed" {
		t.Errorf("after it was seen there: %s", got)
	}
	if _, err := h.approve(""); err != nil {
		t.Fatal(err)
	}
	h.edge.knows("approved: a:approved")
}

func TestWhatAnEdgeReportsCountsAtOnce(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"))
	h.mustApply(echo(u.url, initial))
	h.edge.knows("approved: a:approved")
	u.set(func(u *upstream) { u.down = true }) // so that only the report says anything
	report := func(tenant, server string, tools ...string) error {
		req := &trustv1.ReportRequest{Tenant: tenant, Server: server}
		for _, each := range tools {
			req.Tools = append(req.Tools, []byte(each))
		}
		_, err := h.service(optionsv1.Service_SERVICE_EDGE).Report(t.Context(), connect.NewRequest(req))
		return err
	}
	if err := report("acme", "echo", tool("a", "evil"), tool("b", "two")); err != nil {
		t.Fatal(err)
	}
	h.edge.knows("approved: a:changed b:pending")
	if err := report("acme", "echo"); err != nil {
		t.Fatal(err)
	}
	h.edge.knows("approved: a:gone")
	if err := report("acme", "echo", tool("a", "one")); err != nil {
		t.Fatal(err)
	}
	h.edge.knows("approved: a:approved")
	for name, err := range map[string]error{"another tenant": report("rival", "echo", tool("a", "one")), "another server": report("acme", "other")} {
		if !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "{}", `{"name":"a"},{"name":"b"}`, `{"name":"a","name":"b"}`, `]}`} {
		if err := report("acme", "echo", bad); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	asPerson := connect.NewRequest(&trustv1.ReportRequest{Tenant: "acme", Server: "echo"})
	if _, err := h.as("acme/adam").Report(t.Context(), asPerson); !fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) {
		t.Errorf("a person: %v", err)
	}
}

func TestAReportApprovesNothing(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t)
	u.set(func(u *upstream) { u.down = true })
	h.mustApply(echo(u.url, initial))
	req := &trustv1.ReportRequest{Tenant: "acme", Server: "echo", Tools: [][]byte{[]byte(tool("a", "one"))}}
	if _, err := h.service(optionsv1.Service_SERVICE_EDGE).Report(t.Context(), connect.NewRequest(req)); err != nil {
		t.Fatal(err)
	}
	if got := told(h.show()); got != "pending:" {
		t.Error(got)
	}
}

func TestAnEdgeNeverHoldsBytesThatNobodyApproved(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"), tool("b", "secret plan"))
	h.mustApply(echo(u.url))
	h.edge.knows("pending: a:pending b:pending")
	if _, err := h.approve("", "a"); err != nil {
		t.Fatal(err)
	}
	h.edge.knows("approved: a:approved b:pending")
	h.edge.mu.Lock()
	defer h.edge.mu.Unlock()
	for _, m := range h.edge.messages {
		for _, s := range m.GetUpserts() {
			if slices.ContainsFunc(s.GetDefinitions(), func(d *trustv1.Definition) bool {
				return bytes.Contains(append(d.GetSeen(), d.GetApproved()...), []byte("secret plan"))
			}) {
				t.Error("it does")
			}
		}
	}
}

func TestNoRecordNoApproval(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"))
	h.mustApply(echo(u.url))
	h.edge.knows("pending: a:pending")
	h.journal.fail(true)
	if _, err := h.approve(""); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("%v", err)
	}
	if err := h.kill("person ana"); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("%v", err)
	}
	h.journal.fail(false)
	if got := told(h.show()); got != "pending: a:pending" || h.edge.killed("person ana") {
		t.Errorf("it happened all the same: %s", got)
	}
}

func TestAServerCannotFillTheJournal(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t)
	h.mustApply(echo(u.url, initial))
	h.edge.knows("approved:")
	var many []string
	for i := range 500 {
		many = append(many, tool("t"+strings.Repeat("x", i%100)+string(rune('a'+i/100)), "x"))
	}
	u.shows(many...)
	h.edge.await("500 tools", func() bool { return len(h.edge.servers["acme/echo"].GetDefinitions()) == 500 })
	events := h.journal.of("definition-changed")
	if len(events) != 101 || !slices.ContainsFunc(events, func(ev *eventsv1.Event) bool {
		return ev.GetChange().GetReason() == "400 more definitions" && ev.GetAlert()
	}) {
		t.Errorf("%d records", len(events))
	}
}
