package audit_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/kafka/kafkatest"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// hostileTenants are names that mean something to an index, a topic, a path or a query.
func hostileTenants() []string {
	return []string{
		"../../etc", "/etc/passwd", "acme,globex", "*", "_all", "-acme", "+acme", ".", "..", "Acme", "acme globex", "acme\n", "a\x00b", "<acme-{now/d}>", "logs-*",
		`a"b\c`, "acme/ana", "acme%2fana", "ａｃｍｅ", "\u202eemca", "default", "acme?x=1#y", "acme|tenant=globex", strings.Repeat("t", 300),
	}
}

// hostileTexts are values that mean something to a spreadsheet, a log format, a terminal or a page.
func hostileTexts() []string {
	return []string{
		"=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "\t=1+1", "\r=1", " =1", "＝1+1", "a|b\\c=d\ne", "CEF:0|x|y|1|2|3|9|act=allow", "\x1b[2J\x1b]0;x\x07", "\x00\x01\x7f\u0085",
		"</script><script>alert(1)</script>", "${jndi:ldap://x}", "a\"b,c\r\nd", "\u2028\u2029\u202e", "'; DROP TABLE events; --", "{{.}}", strings.Repeat("A", 9000), `\N`,
	}
}

// TestHostileInputIsRecordedAndDoesNothing sends names and texts that mean something to somebody on the road, records of versions to come and what is none at all.
func TestHostileInputIsRecordedAndDoesNothing(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b *kafkatest.Broker) {
		t.Helper()
		h := &house{t: t, broker: b, config: config(t, b)}
		h.hostile()
	})
}

// hostile sends everything down the road and looks at every end of it.
func (h *house) hostile() {
	h.t.Helper()
	h.ship()
	h.open()
	if err := kafka.EnsureTopics(h.t.Context(), h.config.Kafka, kafka.IndexGroup, kafka.AnomalyGroup); err != nil {
		h.t.Fatal(err)
	}
	var ids []string
	for i, tenant := range hostileTenants() {
		ids = append(ids, fmt.Sprint("tenant-", i))
		h.record(ids[len(ids)-1], tenant, "ana")
	}
	for i, text := range hostileTexts() {
		ids = append(ids, fmt.Sprint("text-", i))
		h.record(ids[len(ids)-1], "acme", text, hostileEverywhere(text))
	}
	h.record("huge", "acme", "ana", func(ev *eventsv1.Event) {
		ev.Arguments = &eventsv1.Payload{Document: `{"a":` + strings.Repeat(`{"b":`, 5000) + "1" + strings.Repeat("}", 5001), Bytes: 5 << 20}
	})
	ids = append(ids, "huge")
	h.await("admin", &auditv1.SearchRequest{Action: "tool-call", PageSize: 1000}, func(found []*eventsv1.Event) bool { return len(ids) == len(found) }) // every partition is there
	h.fromTheFuture()
	ids = append(ids, "future-field", "future-enum")
	h.await("admin", &auditv1.SearchRequest{Action: "tool-call", PageSize: 1000}, func(found []*eventsv1.Event) bool { return len(ids) == len(found) })
	var found []string
	answer, err := h.search("admin", &auditv1.SearchRequest{Action: "tool-call", PageSize: 1000})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, ev := range answer.GetEvents() {
		found = append(found, ev.GetId())
		if at := slices.Index(ids, ev.GetId()); at < len(hostileTenants()) && ev.GetTenant() != hostileTenants()[max(at, 0)] {
			h.t.Errorf("%s is of the tenant %q now", ev.GetId(), ev.GetTenant())
		}
	}
	slices.Sort(found)
	slices.Sort(ids)
	if !slices.Equal(found, ids) {
		h.t.Errorf("found %v, want %v", found, ids)
	}
	if got := h.ids("gus", &auditv1.SearchRequest{}); len(got) != 0 {
		h.t.Errorf("an auditor of globex finds %v", got)
	}
	aside := map[string]int{}
	for _, l := range h.letters("index", 3) {
		aside[l.Class]++
	}
	if aside["unknown-schema"] != 1 || aside["undecodable"] != 2 {
		h.t.Errorf("aside are %v", aside)
	}
	h.exportsAreHarmless(len(ids))
}

func hostileEverywhere(text string) func(ev *eventsv1.Event) {
	return func(ev *eventsv1.Event) {
		ev.Principal = &eventsv1.Principal{Person: text, Email: text, DisplayName: text, Agent: text, ClientName: text, Roles: []string{text}}
		ev.Target = &eventsv1.Target{Server: text, Tool: text, Resource: text, Labels: []string{text}, Address: text}
		ev.Request = &eventsv1.Request{Method: text, Endpoint: text, Id: text}
		ev.Source = &eventsv1.Source{Ip: text, UserAgent: text}
		ev.Decision = &eventsv1.Decision{Effect: "block", Rule: text, Sentence: text}
		ev.Findings = &eventsv1.Findings{Notes: []string{text}}
		ev.Change = &eventsv1.Change{Kind: text, Name: text, Action: text, Reason: text}
	}
}

// fromTheFuture publishes what a later version would write, and what nobody would.
func (h *house) fromTheFuture() {
	h.t.Helper()
	event := func(id string, change func(ev *eventsv1.Event)) []byte {
		ev := &eventsv1.Event{Id: id, Action: "tool-call", Phase: eventsv1.Phase_PHASE_FINAL, Tenant: "acme", Time: timestamppb.Now(), Writer: "w-" + id, Sequence: 1}
		change(ev)
		data, err := proto.Marshal(ev)
		if err != nil {
			h.t.Fatal(err)
		}
		return data
	}
	field := protowire.AppendString(protowire.AppendTag(event("future-field", func(*eventsv1.Event) {}), 9000, protowire.BytesType), "what this version does not know")
	unknown := event("future-enum", func(ev *eventsv1.Event) { ev.Outcome, ev.Phase = 77, 77 })
	later := event("future-version", func(*eventsv1.Event) {})
	schema := func(name string) []journal.Header { return []journal.Header{{Key: "schema", Value: []byte(name)}} }
	h.publish(
		journal.Message{Key: []byte("acme/ana"), Value: field, Headers: schema("headgate.events.v1.Event")},
		journal.Message{Key: []byte("acme/ana"), Value: unknown, Headers: schema("headgate.events.v1.Event")},
		journal.Message{Key: []byte("acme/ana"), Value: later, Headers: schema("headgate.events.v7.Event")},
		journal.Message{Key: []byte("../*"), Value: []byte("\xff\xfe no event")},
		journal.Message{Key: nil, Value: nil},
	)
}

// exportsAreHarmless reads every form as who gets it would.
func (h *house) exportsAreHarmless(events int) {
	h.t.Helper()
	h.holds(h.mustExport("admin", &auditv1.ExportRequest{}))
	table := h.mustExport("admin", &auditv1.ExportRequest{Format: auditv1.Format_FORMAT_CSV})
	rows, err := csv.NewReader(bytes.NewReader(table)).ReadAll()
	if err != nil || len(rows) < 1+events {
		h.t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, cell := range slices.Concat(rows...) {
		if first := strings.TrimLeftFunc(cell, unicode.IsSpace); strings.ContainsAny(first[:min(1, len(first))], "=+-@") || strings.HasPrefix(first, "＝") || strings.ContainsFunc(cell, unicode.IsControl) {
			h.t.Errorf("a spreadsheet runs %.40q", cell)
		}
	}
	for line := range bytes.Lines(h.mustExport("admin", &auditv1.ExportRequest{Format: auditv1.Format_FORMAT_CEF})) {
		head := strings.ReplaceAll(strings.ReplaceAll(string(line), `\\`, ""), `\|`, "")
		if !strings.HasPrefix(head, "CEF:0|Headgate|headgate|1|") || len(strings.SplitN(head, "|", 8)) != 8 || strings.ContainsFunc(strings.TrimSuffix(head, "\n"), unicode.IsControl) {
			h.t.Errorf("no line of CEF: %.200q", line)
		}
		if effects := strings.Count(head, " act="); effects != 1 && strings.Contains(head, "externalId=text-") {
			h.t.Errorf("a text says what was decided: %.300q", line)
		}
	}
	lines := 0
	for line := range bytes.Lines(h.mustExport("admin", &auditv1.ExportRequest{Format: auditv1.Format_FORMAT_OCSF})) {
		if lines++; !json.Valid(line) {
			h.t.Errorf("no JSON: %.200q", line)
		}
	}
	if lines < events {
		h.t.Errorf("%d lines of OCSF", lines)
	}
}
