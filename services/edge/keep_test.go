package edge_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect"

	"headgate.dev/libs/sealed"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// subjects answers keys to seal with.
type subjects interface {
	SubjectKey(ctx context.Context, r *connect.Request[auditv1.SubjectKeyRequest]) (*connect.Response[auditv1.SubjectKeyResponse], error)
}

// registry gives the same key to every subject.
type registry struct {
	private, public []byte
	asked           atomic.Pointer[auditv1.SubjectKeyRequest]
	down            atomic.Bool
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	private, public, err := sealed.NewKey()
	must(t, err)
	return &registry{private: private, public: public}
}

func (r *registry) SubjectKey(_ context.Context, in *connect.Request[auditv1.SubjectKeyRequest]) (*connect.Response[auditv1.SubjectKeyResponse], error) {
	if r.down.Load() {
		return nil, errors.New("away")
	}
	r.asked.Store(in.Msg)
	return connect.NewResponse(&auditv1.SubjectKeyResponse{Id: "k1", PublicKey: r.public}), nil
}

func (r *registry) open(t *testing.T, ev *eventsv1.Event, part sealed.Part, p *eventsv1.Payload) string {
	t.Helper()
	text, err := sealed.Open(r.private, sealed.Binding{Tenant: "acme", Key: "k1", Call: ev.GetCallId(), Part: part}, p.GetSealed().GetBox())
	must(t, err)
	return string(text)
}

// recording makes the echo server's record hold more than hashes.
func recording(w *world, u *upstream, wish *resourcev1.Recording) {
	w.server("echo", u.url(), []string{echoTool}, func(s *trustv1.ServerState) { s.Server.Spec.Record = wish })
}

func TestWhatIsSealedIsNeverOnTheEdgesDiskInClear(t *testing.T) {
	u := newUpstream(t, echoTool)
	w, keys := support(t, u), newRegistry(t)
	w.subjects = keys
	recording(w, u, &resourcev1.Recording{Arguments: "sealed", Results: "sealed", Subject: &resourcev1.Subject{Kind: "patient", Path: "/text"}})
	h := start(t, w, nil)
	r := h.client("ana", "/mcp/echo", true).call("echo", `{"text":"P-4711-confidential"}`)
	if r.refused() {
		t.Fatalf("%s", r.body)
	}
	ev := h.final(r.id)
	if got := keys.open(t, ev, sealed.Arguments, ev.GetArguments()); got != `{"text":"P-4711-confidential"}` {
		t.Errorf("arguments: %s", got)
	}
	if got := keys.open(t, ev, sealed.Result, ev.GetResult()); !strings.Contains(got, "P-4711-confidential") {
		t.Errorf("result: %s", got)
	}
	if of := keys.asked.Load().GetSubject(); keys.asked.Load().GetTenant() != "acme" || of.GetKind() != "patient" || of.GetName() != "P-4711-confidential" {
		t.Errorf("the key is %v's", keys.asked.Load())
	}
	started := h.find("the started record", func(one *eventsv1.Event) bool {
		return one.GetCallId() == ev.GetCallId() && one.GetPhase() == eventsv1.Phase_PHASE_STARTED
	})
	if got := keys.open(t, started, sealed.Arguments, started.GetArguments()); got != `{"text":"P-4711-confidential"}` {
		t.Errorf("arguments of the started record: %s", got)
	}
	read := 0
	must(t, filepath.WalkDir(h.journalDir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		read += len(data)
		if strings.Contains(string(data), "confidential") {
			t.Errorf("%s shows what was sealed", filepath.Base(path))
		}
		return err
	}))
	if read == 0 {
		t.Error("nothing of the journal was read")
	}
	if strings.Contains(h.logged.String(), "confidential") {
		t.Error("the log shows what was sealed")
	}
}

func TestWithoutAKeyToSealWithTheServerSeesNothing(t *testing.T) {
	u := newUpstream(t, echoTool)
	w, keys := support(t, u), newRegistry(t)
	w.subjects = keys
	keys.down.Store(true)
	recording(w, u, &resourcev1.Recording{Arguments: "sealed"})
	h := start(t, w, nil)
	r := h.client("ana", "/mcp/echo", true).call("echo", `{"text":"x"}`)
	if r.reason() != "journal" || !strings.Contains(string(r.body), "its record has to be sealed") || len(u.called()) != 0 {
		t.Errorf("%d calls arrived: %s", len(u.called()), r.body)
	}
	if ev := h.final(r.id); ev.GetArguments().GetHmac() == "" || ev.GetArguments().GetSealed() != nil || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE {
		t.Errorf("%v", ev)
	}
}

// A call that is recorded by hashes alone says whom it is about by the id of a key, in both of its records, so that a report finds it.
func TestARecordOfHashesSaysWhomTheCallIsAbout(t *testing.T) {
	u := newUpstream(t, echoTool)
	w, keys := support(t, u), newRegistry(t)
	w.subjects = keys
	recording(w, u, &resourcev1.Recording{Subject: &resourcev1.Subject{Kind: "patient", Path: "/text"}})
	h := start(t, w, nil)
	c := h.client("ana", "/mcp/echo", true)
	r := c.call("echo", `{"text":"P-4711"}`)
	ev := h.final(r.id)
	if of := keys.asked.Load().GetSubject(); r.refused() || of.GetKind() != "patient" || of.GetName() != "P-4711" {
		t.Fatalf("the key is %v's: %s", keys.asked.Load(), r.body)
	}
	key := ev.GetArguments().GetSubjectKey()
	if key == "" || ev.GetArguments().GetSealed() != nil || ev.GetArguments().GetDocument() != "" || strings.Contains(ev.String(), "P-4711") {
		t.Errorf("recorded %v", ev)
	}
	h.find("the started record", func(one *eventsv1.Event) bool {
		return one.GetCallId() == ev.GetCallId() && one.GetPhase() == eventsv1.Phase_PHASE_STARTED && one.GetArguments().GetSubjectKey() == key
	})
	keys.down.Store(true)
	if r := c.call("echo", `{"text":"P-4712"}`); r.reason() != "journal" || len(u.called()) != 1 {
		t.Errorf("whom it is about could not be recorded, and it was called: %s", r.body)
	}
}

func TestARefusedCallsCopyNamesNobodyNew(t *testing.T) {
	u := newUpstream(t, echoTool)
	w, keys := support(t, u), newRegistry(t)
	w.subjects = keys
	recording(w, u, &resourcev1.Recording{Arguments: "sealed", Subject: &resourcev1.Subject{Kind: "patient", Path: "/text"}})
	w.policy("no", onEcho(rule("never", "true", "block")))
	h := start(t, w, nil)
	r := h.client("ana", "/mcp/echo", true).call("echo", `{"text":"made-up"}`)
	ev := h.final(r.id)
	if got := keys.open(t, ev, sealed.Arguments, ev.GetArguments()); r.reason() != "rule" || got != `{"text":"made-up"}` {
		t.Errorf("%s: %s", r.reason(), got)
	}
	if of := keys.asked.Load().GetSubject(); of.GetKind() != "person" || of.GetName() != "ana" {
		t.Errorf("the key is %v's", of)
	}
}

func TestARedactedCopyLeavesOutWhatItShould(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	recording(w, u, &resourcev1.Recording{Arguments: "redacted", Results: "redacted", RedactClasses: []string{"card"}})
	h := start(t, w, nil)
	r := h.client("ana", "/mcp/echo", true).call("echo", `{"text":"4111 1111 1111 1111","n":3}`)
	ev := h.final(r.id)
	if r.refused() || ev.GetArguments().GetDocument() != `{"text":"[redacted:card]","n":3}` || strings.Contains(ev.GetResult().GetDocument(), "4111") || ev.GetResult().GetDocument() == "" {
		t.Errorf("%s\n%v", r.body, ev)
	}
}
