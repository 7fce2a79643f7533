package record_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	started = eventsv1.Phase_PHASE_STARTED
	final   = eventsv1.Phase_PHASE_FINAL
	success = eventsv1.Outcome_OUTCOME_SUCCESS
	failure = eventsv1.Outcome_OUTCOME_FAILURE
)

// call is a tool call with everything that a record can say of it.
func call() *eventsv1.Event {
	return &eventsv1.Event{
		Id: "0197a3c4-0000-7000-8000-000000000001", Action: "tool-call", Phase: final, Outcome: success, DurationNs: 41_230_000,
		Time: timestamppb.New(time.Date(2026, 11, 22, 10, 15, 30, 123_000_000, time.UTC)), Tenant: "acme-eu", Service: "edge", CallId: "call_9",
		Principal: &eventsv1.Principal{
			Person: "ana", Email: "ana@acme.example", DisplayName: "Ana Ruiz", Roles: []string{"support"}, Agent: "client:claude",
			ClientName: "claude-code", ClientVersion: "2.1.0", ClientId: "claude", TokenId: "tok_1",
		},
		Source:  &eventsv1.Source{Ip: "203.0.113.7", UserAgent: "claude-code/2.1.0"},
		Request: &eventsv1.Request{Method: "tools/call", Id: `"r-17"`, ProtocolVersion: "2026-07-28", Endpoint: "/mcp/tickets", HttpStatus: 200},
		Target: &eventsv1.Target{
			Server: "tickets", Tool: "close_ticket", DefinitionHash: "sha256:0f1e", Address: "tickets.acme.example:443", Labels: []string{"destructive"},
		},
		Decision: &eventsv1.Decision{
			Id: "dec_1", Effect: record.Allow, Rule: "tickets/support-may-close", Policy: "tickets", PolicyVersion: 12,
			Via:    "ana → role support → server tickets",
			Shadow: []string{"tickets/stricter"}, AuthzRevision: 42, Matched: []string{"tickets/support", "tickets/stricter"}, Failed: []string{"tickets/broken"},
			Near: []string{"tickets/juniors: args.limit <= 100"},
		},
		Arguments: &eventsv1.Payload{Hmac: "8c69", Bytes: 34}, Result: &eventsv1.Payload{Hmac: "fe12", Bytes: 150},
		Credential: &eventsv1.Credential{Connection: "tickets", LeaseId: "lease_1"},
		Trace:      &eventsv1.Trace{TraceId: "4bf92f3577b34da6a3ce929d0e0e4736", SpanId: "00f067aa0ba902b7"},
		Findings:   &eventsv1.Findings{Hidden: 2, Secrets: 1, Notes: []string{"zero width space"}}, SessionHash: "ab12",
		Writer: "edge-1", Sequence: 918273, PreviousHash: []byte{0xde, 0xad},
	}
}

func with(change func(ev *eventsv1.Event)) *eventsv1.Event {
	ev := call()
	change(ev)
	return ev
}

func TestECSDocumentsAreAsAgreed(t *testing.T) {
	for name, ev := range map[string]*eventsv1.Event{
		"allowed": call(),
		"started": with(func(ev *eventsv1.Event) { ev.Phase, ev.Outcome, ev.DurationNs, ev.Result = started, 0, 0, nil }),
		"blocked": with(func(ev *eventsv1.Event) {
			ev.Outcome, ev.Result, ev.Alert = failure, nil, true
			ev.Decision = &eventsv1.Decision{
				Id: "dec_2", Effect: record.Block, Rule: "tickets/no-deletes", Policy: "tickets",
				PolicyVersion: 3, Reason: faultv1.Reason_REASON_RULE,
				Sentence: "close_ticket is blocked by tickets/no-deletes. Ask the owner of the policy.", Stage: "decide",
			}
		}),
		"unknown-tool": with(func(ev *eventsv1.Event) {
			ev.Outcome, ev.Result, ev.Credential, ev.Target = failure, nil, nil, &eventsv1.Target{Tool: "nothing"}
			ev.Request.ErrorCode, ev.Request.Id = -32602, "17"
			ev.Decision = record.Refused(fault.New(faultv1.Reason_REASON_UNKNOWN_TOOL, "Unknown tool: nothing"))
		}),
		"resource-applied": {
			Id: "e-2", Action: "resource-applied", Phase: final, Outcome: success, Time: call().GetTime(), Tenant: "acme-eu", Service: "identity",
			Principal: record.Person(&identityv1.Caller{Tenant: "acme-eu", Name: "root", Email: "root@acme.example", Roles: []string{"admin"}}),
			Request:   &eventsv1.Request{Method: "/headgate.identity.v1.IdentityService/Apply"},
			Change:    &eventsv1.Change{Kind: "Person", Name: "ana", Action: "created", Version: 1, NewHash: "sha256:aa"},
			Writer:    "identity-1", Sequence: 1,
		},
		"list": {
			Id: "e-3", Action: "tool-list", Phase: final, Outcome: success, Time: call().GetTime(), Tenant: "acme-eu", Service: "edge", Principal: record.Service("edge"),
			Request: &eventsv1.Request{Method: "tools/list"}, List: &eventsv1.ListCounts{Total: 12, Shown: 0}, Writer: "edge-1", Sequence: 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			encoder := json.NewEncoder(&got)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(record.ECS(ev)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "ecs", name+".json")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("%s differs:\n%s", path, got.String())
			}
		})
	}
}

func TestEveryFinalRecordSaysWhy(t *testing.T) {
	decided := func(d *eventsv1.Decision) *eventsv1.Event {
		return with(func(ev *eventsv1.Event) { ev.Decision = d })
	}
	for want, ev := range map[string]*eventsv1.Event{
		"allowed by tickets/support-may-close":                  decided(&eventsv1.Decision{Effect: record.Allow, Rule: "tickets/support-may-close", Via: "x"}),
		"allowed by relation: ana → role support → server echo": decided(&eventsv1.Decision{Effect: record.Allow, Via: "ana → role support → server echo"}),
		"allowed: no rule forbids it":                           decided(&eventsv1.Decision{Effect: record.Allow}),
		"changed by sql/limit: /limit, /force": decided(&eventsv1.Decision{
			Effect: record.Modify, Rule: "sql/limit", Changed: []string{"/limit", "/force"},
		}),
		"block by sql/default":   decided(&eventsv1.Decision{Effect: record.Block, Rule: "sql/default"}),
		"refused: not-granted":   decided(&eventsv1.Decision{Effect: record.Block, Reason: faultv1.Reason_REASON_NOT_GRANTED}),
		"the sentence":           decided(&eventsv1.Decision{Effect: record.Escalate, Rule: "a/b", Sentence: "the sentence"}),
		"Policy tickets updated": {Phase: final, Change: &eventsv1.Change{Kind: "Policy", Name: "tickets", Action: "updated"}},
		"stolen laptop":          {Phase: final, Change: &eventsv1.Change{Kind: "person", Name: "ana", Reason: "stolen laptop"}},
		"tool-list: success":     {Action: "tool-list", Phase: final, Outcome: success},
		"tool-call: unknown":     {Action: "tool-call", Phase: final},
	} {
		if got := record.Reason(ev); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestDecodeRefusesWhatIsNoEvent(t *testing.T) {
	encode := func(ev *eventsv1.Event) []byte {
		data, err := proto.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if ev, err := record.Decode(encode(call())); err != nil || !proto.Equal(ev, call()) {
		t.Errorf("decoded %v, %v", ev, err)
	}
	for name, data := range map[string][]byte{
		"nothing":    {},
		"not proto":  []byte("hello, world"),
		"no id":      encode(with(func(ev *eventsv1.Event) { ev.Id = "" })),
		"no action":  encode(with(func(ev *eventsv1.Event) { ev.Action = "" })),
		"no time":    encode(with(func(ev *eventsv1.Event) { ev.Time = nil })),
		"wrong time": encode(with(func(ev *eventsv1.Event) { ev.Time.Nanos = -1 })),
	} {
		if ev, err := record.Decode(data); err == nil {
			t.Errorf("%s: decoded %v", name, ev)
		}
	}
}

func TestRefusedKeepsTheReasonAndHidesTheCause(t *testing.T) {
	d := record.Refused(fault.New(faultv1.Reason_REASON_QUARANTINED, "The server is quarantined.").Because(errors.New("secret cause")))
	if d.GetEffect() != record.Block || d.GetReason() != faultv1.Reason_REASON_QUARANTINED || d.GetSentence() != "The server is quarantined." {
		t.Errorf("decision %v", d)
	}
	d = record.Refused(errors.New("secret cause"))
	if d.GetReason() != faultv1.Reason_REASON_INTERNAL || bytes.Contains([]byte(d.GetSentence()), []byte("secret")) {
		t.Errorf("decision %v", d)
	}
}

// Whatever bytes come, decoding ends, and what decodes has an ECS form that is JSON.
func FuzzDecode(f *testing.F) {
	for _, ev := range []*eventsv1.Event{call(), with(func(ev *eventsv1.Event) { ev.Phase, ev.Decision = started, nil })} {
		data, err := proto.Marshal(ev)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ev, err := record.Decode(data)
		if err != nil {
			return
		}
		if _, err := json.Marshal(record.ECS(ev)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNoTwoTenantsShareANamespace(t *testing.T) {
	seen := map[string]string{}
	for _, tenant := range []string{"", "default", "acme", "a-b", "a_b", "A-B", "a.b", "a/b", "..", "*", "é", "ACME", strings.Repeat("a", 64), strings.Repeat("a", 65),
		strings.Repeat("a", 66), "a b", "a,b", "a\x00b", "default__37a8eec1ce19687d"} {
		got := record.Namespace(tenant)
		if other, taken := seen[got]; taken {
			t.Errorf("%q and %q are both in %s", tenant, other, got)
		}
		seen[got] = tenant
		if len(got) > 100 || strings.ContainsFunc(got, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' }) {
			t.Errorf("%q is in %q, which no data stream may be named", tenant, got)
		}
	}
	for tenant, want := range map[string]string{"": "default", "acme": "acme", "a-b": "a_b"} {
		if got := record.Namespace(tenant); got != want {
			t.Errorf("%q is in %q, want %q", tenant, got, want)
		}
	}
}
