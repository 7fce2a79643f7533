package e2e

import (
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
)

// recorded looks at the whole suite's calls: each is found, once, with everything that an analyst asks for.
func recorded(t *testing.T, s *scene) {
	ana := s.Client("ana", "echo", true)
	if answer := s.call(ana, "echo", map[string]any{"text": "the last"}); !answer.OK() {
		t.Fatalf("%s", answer.Body)
	}
	took := product.Eventually(t, 2*time.Second, "every call is found within two seconds", func() bool { return len(s.calls()) >= s.sent })
	t.Logf("%d calls, the last found after %s", s.sent, took)
	calls := s.calls()
	if len(calls) != s.sent {
		t.Errorf("%d calls were sent and %d are recorded", s.sent, len(calls))
	}
	seen := map[string]bool{}
	for _, record := range s.Records() {
		id := record.Get("event.id")
		if seen[id] || id == "" {
			t.Errorf("the record %q is there twice", id)
		}
		seen[id] = true
	}
	effects := map[string]int{}
	for _, record := range calls {
		effects[record.Get("headgate.decision.effect")]++
		for _, field := range []string{"@timestamp", "event.id", "event.outcome", "event.reason", "event.sequence", "event.provider", "event.duration", "organization.id",
			"user.id", "gen_ai.agent.id", "gen_ai.tool.name", "mcp.method.name", "headgate.decision.effect", "headgate.decision.id", "headgate.server.id", "headgate.call.id"} {
			if record.Get(field) == "" {
				t.Errorf("a record of %s has no %s: %v", record.Get("gen_ai.tool.name"), field, record)
				return
			}
		}
		if record.Get("event.code") == "rule" && (record.Get("rule.name") != "small" || record.Get("rule.version") == "" || record.Get("headgate.tool.definition_hash") == "") {
			t.Errorf("a refusal by a rule has no rule, version or definition: %v", record)
		}
	}
	for _, effect := range []string{"allow", "block", "escalate", "modify"} {
		if effects[effect] == 0 || len(s.Records("--action", "tool-call", "--effect", effect)) < effects[effect] {
			t.Errorf("effect %s: %d records, the filter finds %d", effect, effects[effect], len(s.Records("--action", "tool-call", "--effect", effect)))
		}
	}
	for _, code := range []string{"unauthenticated", "parse", "header-mismatch", "forbidden-origin", "not-granted", "definition-changed", "killed"} {
		if len(s.Records("-q", code)) == 0 {
			t.Errorf("no record of a refusal with the code %s", code)
		}
	}
	if len(s.Records("--person", "bob", "--tool", "echo")) == 0 || len(s.Records("--person", "nobody")) != 0 {
		t.Error("the filters by person and tool do not work")
	}
	checkSequences(t, s.Records())
}

// calls are the records of the calls that got as far as a tool's name. Requests that were refused before are recorded too, but were not counted.
func (s *scene) calls() []product.Record {
	var calls []product.Record
	for _, record := range s.Records("--action", "tool-call") {
		switch record.Get("event.code") {
		case "parse", "header-mismatch", "unauthenticated", "protocol-version", "forbidden-origin", "invalid", "too-large":
		default:
			calls = append(calls, record)
		}
	}
	return calls
}

// checkSequences finds a record that stands twice at one place of a writer. Gaps are for started records, which searches leave out.
func checkSequences(t *testing.T, records []product.Record) {
	t.Helper()
	places := map[string]bool{}
	for _, record := range records {
		place := record.Get("headgate.integrity.writer") + "/" + record.Get("event.sequence")
		if places[place] {
			t.Errorf("two records stand at %s", place)
		}
		places[place] = true
	}
}
