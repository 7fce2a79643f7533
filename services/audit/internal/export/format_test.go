package export_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/export"
)

func event(change ...func(ev *eventsv1.Event)) *eventsv1.Event {
	ev := &eventsv1.Event{
		Id: "0197a3c4", Action: "tool-call", Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Tenant: "acme", Service: "edge", CallId: "call_1",
		Time:      timestamppb.New(time.Date(2026, 11, 22, 12, 0, 0, 5_000_000, time.UTC)),
		Principal: &eventsv1.Principal{Person: "ana", Email: "ana@acme.example", Agent: "client:claude"}, Source: &eventsv1.Source{Ip: "192.0.2.1"},
		Target:   &eventsv1.Target{Server: "tickets", Tool: "close_ticket", DefinitionHash: "abc"},
		Decision: &eventsv1.Decision{Effect: "block", Rule: "tickets/no", Reason: faultv1.Reason_REASON_RULE, Sentence: "Never on a Sunday."}, Writer: "edge-1", Sequence: 7,
	}
	for _, c := range change {
		c(ev)
	}
	return ev
}

func line(t *testing.T, f export.Format, ev *eventsv1.Event) string {
	t.Helper()
	text, err := f.Line(ev)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(text), "\n") || strings.Count(string(text), "\n") != 1 || strings.Contains(string(text), "\r") {
		t.Fatalf("not one line: %q", text)
	}
	return string(text)
}

func TestNothingThatAnAgentWroteRunsInASpreadsheet(t *testing.T) {
	f := export.CSV()
	head, err := f.Head()
	if err != nil {
		t.Fatal(err)
	}
	for _, formula := range []string{
		`=HYPERLINK("http://evil.example","x")`, `+1+1`, `-1+1`, `@SUM(A1)`, "\t=1+1", "\r=1+1", "\n=1+1", " =1+1", `＝1+1`, `=cmd|' /C calc'!A0`, "\x00=1", "plain", "a;=1+1", "a; =1+1", `a;"=1+1"`, "a|@SUM(A1)", "a|\t＋1", ";;-1", "\u202e=1+1", `a "quoted", comma`,
	} {
		row := line(t, f, event(func(ev *eventsv1.Event) {
			ev.Target.Resource, ev.Decision.Sentence, ev.Principal.Agent, ev.Principal.DisplayName = formula, formula, formula, formula
		}))
		rows, err := csv.NewReader(strings.NewReader(string(head) + row)).ReadAll()
		if err != nil || len(rows) != 2 {
			t.Fatalf("%q: %v, %v", formula, rows, err)
		}
		for i, cell := range rows[1] {
			if trimmed := strings.TrimSpace(cell); trimmed != "" && strings.ContainsAny(trimmed[:1], "=+-@") || strings.HasPrefix(trimmed, "＝") || strings.ContainsAny(cell, "\t\r\n\x00") {
				t.Errorf("%q stands as %q in %s", formula, cell, rows[0][i])
			}
			for _, part := range strings.FieldsFunc(cell, func(r rune) bool { return r == ';' || r == '|' }) {
				if part = strings.Trim(part, ` "`); part != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(part)[0]) {
					t.Errorf("%q has the cell %q where its separator ends one, in %s", formula, part, rows[0][i])
				}
			}
		}
	}
}

func TestCEFKeepsItsFieldsApart(t *testing.T) {
	got := line(t, export.CEF(), event(func(ev *eventsv1.Event) {
		ev.Action, ev.Target.Tool, ev.Decision.Sentence = `a|b\c`, "x|y\nz", "one=1 \\ two\r\nthree\u2028four\x1b[31m"
	}))
	const want = `CEF:0|Headgate|headgate|1|a\|b\\c|a\|b\\c tickets.x\|y z|6|rt=1795348800005 externalId=0197a3c4 suid=ana suser=ana@acme.example src=192.0.2.1 act=block outcome=failure ` +
		`reason=rule msg=one\=1 \\ two\nthree\\u{2028}four [31m requestClientApplication=client:claude dvchost=edge cs1=acme cs1Label=tenant cs2=tickets cs2Label=server cs3=x|y\nz cs3Label=tool ` +
		`cs4=tickets/no cs4Label=rule cs5=call_1 cs5Label=callId cs6=final cs6Label=phase cn1=7 cn1Label=sequence headgateDefinitionHash=abc headgateActors=client:claude headgateWriter=edge-1` + "\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNoTextTurnsOrBreaksAnother(t *testing.T) {
	for _, r := range "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\u061c\u200b\ufeff\U000e0041" {
		ev := event(func(ev *eventsv1.Event) {
			ev.Action, ev.Target.Tool, ev.Decision.Sentence = "a"+string(r)+"b", "a"+string(r)+"b", "a"+string(r)+"b"
		})
		shown := fmt.Sprintf(`u{%X}`, r)
		for name, f := range map[string]export.Format{"CSV": export.CSV(), "CEF": export.CEF()} {
			if got := line(t, f, ev); strings.ContainsRune(got, r) || strings.Count(got, shown) < 3 {
				t.Errorf("%s: %+q", name, got)
			}
		}
	}
}

func TestOCSFSaysWhatTheClassRequires(t *testing.T) {
	var got map[string]any
	if err := json.Unmarshal([]byte(line(t, export.OCSF(), event())), &got); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]any{
		"class_uid": 6003.0, "category_uid": 6.0, "activity_id": 99.0, "type_uid": 600399.0, "time": 1795348800005.0, "severity_id": 3.0, "status_id": 2.0, "status_detail": "Never on a Sunday.",
		"metadata.version": "1.8.0", "metadata.uid": "0197a3c4", "metadata.product.name": "Headgate", "metadata.tenant_uid": "acme", "actor.user.uid": "ana", "api.operation": "close_ticket",
		"api.service.name": "tickets", "src_endpoint.ip": "192.0.2.1", "ai_agent.uid": "client:claude", "unmapped.headgate": nil,
	} {
		var at any = got
		for step := range strings.SplitSeq(path, ".") {
			m, _ := at.(map[string]any)
			at = m[step]
		}
		if at != want {
			t.Errorf("%s is %v, want %v", path, at, want)
		}
	}
	changed := line(t, export.OCSF(), event(func(ev *eventsv1.Event) {
		ev.Change = &eventsv1.Change{Kind: "Policy", Name: "tickets", Action: "deleted"}
	}))
	if !strings.Contains(changed, `"activity_name":"Delete"`) {
		t.Error(changed)
	}
}

// One record may stand for many requests that were refused alike: each form says so, and the report of refused calls counts both.
func TestRepeatsAreSeenAndCounted(t *testing.T) {
	ev := &eventsv1.Event{Id: "1", Repeats: 41}
	line, err := export.CSV().Line(ev)
	if err != nil || !strings.Contains(string(line), ",41,") {
		t.Errorf("CSV: %s, %v", line, err)
	}
	var count export.Count
	count.Add(ev)
	count.Add(&eventsv1.Event{Id: "2"})
	for name, c := range map[string]struct {
		layout          export.Layout
		line, end, none string
	}{
		"page":  {export.Page(), "<td>41</td>", "2 records of 42 requests.", "2 records."},
		"table": {export.Table(), ",41", "Records,2\nRequests,42\n", "Records,2\n"},
	} {
		row, err := c.layout.Line(ev)
		if err != nil || !strings.Contains(string(row), c.line) {
			t.Errorf("%s: %s, %v", name, row, err)
		}
		end, err := c.layout.End(export.Cover{Report: export.Denied()}, count)
		if err != nil || !strings.Contains(string(end), c.end) {
			t.Errorf("%s: %s, %v", name, end, err)
		}
		end, err = c.layout.End(export.Cover{Report: export.ByPerson()}, count)
		if err != nil || !strings.Contains(string(end), c.none) || strings.Contains(string(end), "42") {
			t.Errorf("%s: %s, %v", name, end, err)
		}
	}
}
