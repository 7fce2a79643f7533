package export_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"headgate.dev/libs/record"
	"headgate.dev/libs/record/recordtest"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/export"
	"headgate.dev/services/audit/internal/index/indextest"
)

// everything is each kind of event with every field, and a day as services write it, where most fields are empty.
func everything() []*eventsv1.Event {
	all := recordtest.Every()
	for _, r := range slices.Concat(indextest.Day(), indextest.Later()) {
		all = append(all, r.Event)
	}
	return append(all, &eventsv1.Event{Id: "bare", Action: "request", Time: recordtest.Filled().GetTime()})
}

// oneOf reports whether an object has one of the members that its definition asks for at least one of, and it says something.
func oneOf(value any, members ...string) bool {
	object, _ := value.(map[string]any)
	return slices.ContainsFunc(members, func(name string) bool { return object[name] != nil && object[name] != "" })
}

func TestOCSFHasWhatTheClassRequiresOfEveryEvent(t *testing.T) {
	activities := map[float64]int{}
	for _, ev := range everything() {
		var got map[string]any
		if err := json.Unmarshal([]byte(line(t, export.OCSF(), ev)), &got); err != nil {
			t.Fatal(err)
		}
		var wrong []string
		for _, name := range []string{"activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id"} {
			if _, ok := got[name].(float64); !ok {
				wrong = append(wrong, name)
			}
		}
		api, _ := got["api"].(map[string]any)
		metadata, _ := got["metadata"].(map[string]any)
		activity, _ := got["activity_id"].(float64)
		activities[activity]++
		for name, holds := range map[string]bool{
			"actor":              oneOf(got["actor"], "user", "app_name", "app_uid", "process", "session"),
			"src_endpoint":       oneOf(got["src_endpoint"], "ip", "svc_name", "uid", "hostname", "name"),
			"api.operation":      api["operation"] != nil && api["operation"] != "",
			"metadata.version":   metadata["version"] == "1.8.0",
			"metadata.product":   oneOf(metadata["product"], "name", "uid"),
			"type_uid":           got["type_uid"] == 600300+activity,
			"activity_name":      got["activity_name"] != "" && got["activity_name"] != "Other",
			"activity of a call": activity != 99 || ev.GetAction() != "tool-call" || !slices.Contains(ev.GetTarget().GetLabels(), "destructive"),
		} {
			if !holds {
				wrong = append(wrong, name)
			}
		}
		if actor, _ := got["actor"].(map[string]any); actor["user"] != nil && !oneOf(actor["user"], "uid", "name", "account") {
			wrong = append(wrong, "actor.user")
		}
		if len(wrong) > 0 {
			t.Fatalf("%s %s lacks %v: %v", ev.GetId(), ev.GetAction(), wrong, got)
		}
	}
	for _, id := range []float64{1, 2, 3, 4} {
		if activities[id] == 0 {
			t.Errorf("no event has the activity %v", id)
		}
	}
	t.Logf("events by activity: %v", activities)
}

func TestOCSFSaysOfACallWhatItsToolDoes(t *testing.T) {
	for labels, want := range map[string]string{
		"destructive": `"activity_id":4,`, "read-only": `"activity_id":2,`, "reads-private": `"activity_id":2,`, "reads-private destructive": `"activity_id":4,`,
		"egress": `"activity_name":"tool-call"`,
	} {
		got := line(t, export.OCSF(), event(func(ev *eventsv1.Event) {
			ev.Target.Labels, ev.Target.Address = strings.Fields(labels), "tickets.acme.example:443"
		}))
		if !strings.Contains(got, want) || !strings.Contains(got, `"dst_endpoint":{"hostname":"tickets.acme.example","port":443}`) {
			t.Errorf("%s: %s", labels, got)
		}
	}
}

// texts are the texts of a message, each with the path of its field.
func texts(m protoreflect.Message, path string, into map[string]string) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := strings.TrimPrefix(path+"."+string(f.Name()), ".")
		switch {
		case f.IsList() && f.Kind() == protoreflect.StringKind:
			into[at] = v.List().Get(0).String()
		case f.IsList():
		case f.Message() != nil:
			texts(v.Message(), at, into)
		case f.Kind() == protoreflect.StringKind:
			into[at] = v.String()
		}
		return true
	})
}

// What a record says is in every form of it: a field that is added to the schema is in this test by itself.
func TestNoFormLosesWhatARecordSays(t *testing.T) {
	ev := recordtest.Filled()
	ev.Grants = []*eventsv1.Grant{{What: record.GrantGiven, Holder: "person:zoe", Right: "role:night"}, {What: record.GrantTaken, Holder: "person:yan", Right: "role:night"}}
	said := map[string]string{"a right that was given": "person:zoe role:night", "a right that was taken": "person:yan role:night"}
	texts(ev.ProtoReflect(), "", said)
	for _, c := range []struct {
		form    string
		format  export.Format
		without []string // what the form has no use for, or says in another way
	}{
		// Copies of arguments and results are for the index and the ledger; an id of JSON-RPC loses its quotes, an address is host and port.
		{"OCSF", export.OCSF(), []string{"arguments.document", "result.document", "request.id", "target.address"}},
		{"CEF", export.CEF(), []string{
			"arguments.document", "result.document", "arguments.sealed.key", "result.sealed.key", "arguments.subject_key", "result.subject_key", "request.id", "request.protocol_version", "request.endpoint", "principal.display_name",
			"principal.roles", "principal.client_name", "principal.client_version", "principal.client_id", "principal.token_id", "principal.service", "source.user_agent",
			"decision.id", "decision.policy", "decision.via", "decision.changed", "decision.shadow", "decision.matched", "decision.failed", "decision.near", "decision.stage", "trace.span_id", "session_hash",
			"approval.approvers",
			"approval.arguments_hmac", "trust.reasons",
		}},
		{"CSV", export.CSV(), []string{
			"arguments.document", "result.document", "arguments.sealed.key", "result.sealed.key", "arguments.subject_key", "result.subject_key", "request.id", "request.protocol_version", "request.endpoint", "principal.display_name",
			"principal.client_name", "principal.client_version", "principal.client_id", "principal.token_id", "principal.service", "source.user_agent", "target.address",
			"decision.id", "decision.policy", "decision.via", "decision.changed", "decision.shadow", "decision.stage", "trace.span_id", "session_hash", "approval.approvers",
			"approval.arguments_hmac", "trust.reasons",
		}},
	} {
		got := line(t, c.format, ev)
		for path, text := range said {
			if !slices.Contains(c.without, path) && !strings.Contains(got, text) {
				t.Errorf("%s lacks %s (%s)", c.form, path, text)
			}
		}
	}
}

// A call that was refused because nobody could decide is an alert, whatever its record's flag says.
func TestWhatFailedClosedIsAnAlertInEveryForm(t *testing.T) {
	ev := event(func(ev *eventsv1.Event) { ev.Decision.Reason, ev.Alert = faultv1.Reason_REASON_STALE, false })
	if got := line(t, export.CEF(), ev); !strings.Contains(got, "|8|") || !strings.Contains(got, " headgateAlert=fail-closed ") {
		t.Errorf("CEF: %s", got)
	}
	if got := line(t, export.OCSF(), ev); !strings.Contains(got, `"severity_id":4,`) || !strings.Contains(got, `"headgate.alert.kind":"fail-closed"`) {
		t.Errorf("OCSF: %s", got)
	}
	head, err := export.CSV().Head()
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(head) + line(t, export.CSV(), ev))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if at := slices.Index(rows[0], "alert"); at < 0 || rows[1][at] != "fail-closed" {
		t.Errorf("CSV: %s", fmt.Sprint(rows))
	}
}
