package audit_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ledger"
	"headgate.dev/libs/sealed"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// sealedRecord records a call about a patient, as an edge does.
func (h *house) sealedRecord(id, patient string) {
	h.t.Helper()
	answer, err := h.edge.SubjectKey(h.t.Context(), connect.NewRequest(&auditv1.SubjectKeyRequest{Tenant: "acme", Subject: &auditv1.Subject{Kind: "patient", Name: patient}}))
	if err != nil {
		h.t.Fatal(err)
	}
	key, err := sealed.ParsePublic(answer.Msg.GetPublicKey())
	if err != nil {
		h.t.Fatal(err)
	}
	h.record(id, "acme", "ana", func(ev *eventsv1.Event) {
		ev.CallId = "call-" + id
		for part, into := range map[sealed.Part]**eventsv1.Payload{sealed.Arguments: &ev.Arguments, sealed.Result: &ev.Result} {
			box, err := key.Seal(sealed.Binding{Tenant: "acme", Key: answer.Msg.GetId(), Call: ev.GetCallId(), Part: part}, []byte(`{"`+string(part)+`":"`+patient+`"}`))
			if err != nil {
				h.t.Fatal(err)
			}
			*into = &eventsv1.Payload{Hmac: "ab", Bytes: 3, Sealed: &eventsv1.Sealed{Key: answer.Msg.GetId(), Box: box}}
		}
	})
}

func (h *house) reveal(as, id string) (*auditv1.RevealResponse, error) {
	answer, err := h.client.Reveal(h.t.Context(), bearer(as, &auditv1.RevealRequest{EventId: id, Reason: "complaint 4711"}))
	if err != nil {
		return nil, err
	}
	return answer.Msg, nil
}

func (h *house) erase(as, patient string) (int32, error) {
	answer, err := h.client.Erase(h.t.Context(), bearer(as, &auditv1.EraseRequest{Subject: &auditv1.Subject{Kind: "patient", Name: patient}, Reason: "asked for"}))
	if err != nil {
		return 0, err
	}
	return answer.Msg.GetKeys(), nil
}

func TestSealedCopiesOpenForWhoMayAndThatIsRecordedFirst(t *testing.T) {
	h := start(t)
	h.sealedRecord("s1", "P-1")
	h.record("plain", "acme", "ana")
	h.eventually("vera", &auditv1.SearchRequest{}, "plain", "s1")
	got, err := h.reveal("sofia", "s1")
	if err != nil || string(got.GetArguments()) != `{"arguments":"P-1"}` || string(got.GetResult()) != `{"result":"P-1"}` {
		t.Fatalf("%v, %v", got, err)
	}
	for who, want := range map[string]faultv1.Reason{
		"ana": faultv1.Reason_REASON_ROLE_REQUIRED, "vera": faultv1.Reason_REASON_ROLE_REQUIRED, "admin": faultv1.Reason_REASON_ROLE_REQUIRED,
		"stan": faultv1.Reason_REASON_NOT_FOUND, "mallory": faultv1.Reason_REASON_UNAUTHENTICATED,
	} {
		if _, err := h.reveal(who, "s1"); !fault.Is(err, want) {
			t.Errorf("%s: %v", who, err)
		}
		if _, err := h.erase(who, "P-1"); who != "stan" && !fault.Is(err, want) {
			t.Errorf("%s erases: %v", who, err)
		}
	}
	if _, err := h.reveal("sofia", "plain"); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) || !strings.Contains(err.Error(), "keyed hashes alone") {
		t.Errorf("a record without copies: %v", err)
	}
	if _, err := h.client.Reveal(t.Context(), bearer("sofia", &auditv1.RevealRequest{EventId: "s1", Reason: "   "})); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("without a reason: %v", err)
	}
	h.await("sofia", &auditv1.SearchRequest{Action: "audit-reveal"}, func(all []*eventsv1.Event) bool {
		return len(all) == 1 && all[0].GetChange().GetName() == "s1" && all[0].GetChange().GetReason() == "complaint 4711" && all[0].GetPrincipal().GetPerson() == "sofia"
	})
}

func TestAfterAnErasureNothingOpensAndEveryProofHolds(t *testing.T) {
	h := start(t)
	h.sealedRecord("s1", "P-1")
	h.sealedRecord("s2", "P-2")
	h.eventually("vera", &auditv1.SearchRequest{}, "s2", "s1")
	before := h.mustExport("vera", &auditv1.ExportRequest{})
	if n, err := h.erase("stan", "P-1"); err != nil || n != 0 {
		t.Errorf("another tenant's security officer erased %d keys, %v", n, err)
	}
	if n, err := h.erase("sofia", "P-1"); err != nil || n != 1 {
		t.Fatalf("%d keys were erased, %v", n, err)
	}
	if _, err := h.reveal("sofia", "s1"); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) || !strings.Contains(err.Error(), "erased") {
		t.Errorf("%v", err)
	}
	if got, err := h.reveal("sofia", "s2"); err != nil || string(got.GetArguments()) != `{"arguments":"P-2"}` {
		t.Errorf("another patient's: %v, %v", got, err)
	}
	h.await("sofia", &auditv1.SearchRequest{Action: "audit-erase"}, func(all []*eventsv1.Event) bool {
		return len(all) == 2 && !slices.ContainsFunc(all, func(ev *eventsv1.Event) bool { return strings.Contains(ev.String(), "P-1") })
	})
	h.await("sofia", &auditv1.SearchRequest{Action: "audit-reveal"}, func(all []*eventsv1.Event) bool { // newest first; of what did not open none says that it did
		return len(all) == 2 && all[0].GetOutcome() == eventsv1.Outcome_OUTCOME_SUCCESS && all[1].GetOutcome() == eventsv1.Outcome_OUTCOME_FAILURE &&
			all[1].GetDecision().GetReason() == faultv1.Reason_REASON_NOT_FOUND && strings.Contains(all[1].GetDecision().GetSentence(), "erased")
	})
	after := h.mustExport("vera", &auditv1.ExportRequest{})
	h.holds(before)
	if report := h.holds(after); report.Records < 4 {
		t.Errorf("%+v", report)
	}
	if strings.Contains(string(after), "P-1") {
		t.Error("the export shows who was erased")
	}
}

func TestAnErasureThatFindsNoKeySaysSoAndIsRecorded(t *testing.T) {
	h := start(t)
	h.sealedRecord("s1", "P-1")
	for _, c := range []struct {
		patient       string
		keys, earlier int32
	}{{"P-none", 0, 0}, {"p-1", 1, 0}, {"P-1", 0, 1}} {
		answer, err := h.client.Erase(t.Context(), bearer("sofia", &auditv1.EraseRequest{Subject: &auditv1.Subject{Kind: "patient", Name: c.patient}, Reason: "asked for"}))
		if err != nil || answer.Msg.GetKeys() != c.keys || answer.Msg.GetEarlier() != c.earlier {
			t.Errorf("%s: %v, %v", c.patient, answer, err)
		}
	}
	h.await("sofia", &auditv1.SearchRequest{Action: "audit-erase"}, func(all []*eventsv1.Event) bool {
		none := slices.DeleteFunc(slices.Clone(all), func(ev *eventsv1.Event) bool { return ev.GetChange().GetAction() != "not-found" })
		return len(all) == 6 && len(none) == 1 && none[0].GetChange().GetName() == "patient" && !strings.Contains(none[0].String(), "P-none")
	})
}

func TestALegalHoldStopsAnErasureUntilItIsReleased(t *testing.T) {
	h := start(t)
	h.sealedRecord("s1", "P-1")
	h.eventually("vera", &auditv1.SearchRequest{}, "s1")
	of := &auditv1.Subject{Kind: "patient", Name: "P-1"}
	held, err := h.client.AddHold(t.Context(), bearer("sofia", &auditv1.AddHoldRequest{Subject: of, Reason: "case 7"}))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := h.erase("sofia", "P-1"); n != 0 || !fault.Is(err, faultv1.Reason_REASON_CONFLICT) {
		t.Errorf("%d keys were erased, %v", n, err)
	}
	if _, err := h.reveal("sofia", "s1"); err != nil {
		t.Error(err)
	}
	if _, err := h.client.ReleaseHold(t.Context(), bearer("sofia", &auditv1.ReleaseHoldRequest{Id: held.Msg.GetHold().GetId(), Reason: "closed"})); err != nil {
		t.Fatal(err)
	}
	if n, err := h.erase("sofia", "P-1"); n != 1 || err != nil {
		t.Errorf("%d keys were erased, %v", n, err)
	}
}

func TestKeysAreReplacedWhileTheServiceRuns(t *testing.T) {
	h := start(t)
	h.sealedRecord("s1", "P-1")
	h.eventually("vera", &auditv1.SearchRequest{}, "s1")
	old := h.keys()
	before := h.mustExport("vera", &auditv1.ExportRequest{})
	rotate := func(kind auditv1.KeyKind) *auditv1.RotateKeyResponse {
		answer, err := h.client.RotateKey(t.Context(), bearer("admin", &auditv1.RotateKeyRequest{Kind: kind}))
		if err != nil {
			t.Fatal(err)
		}
		return answer.Msg
	}
	first, second := rotate(auditv1.KeyKind_KEY_KIND_LOG).GetPublicKey(), rotate(auditv1.KeyKind_KEY_KIND_LOG).GetPublicKey()
	if first == "" || first == second {
		t.Errorf("the new keys are %q and %q", first, second)
	}
	if n := rotate(auditv1.KeyKind_KEY_KIND_SEALING).GetWrapped(); n != 1 {
		t.Errorf("%d keys were wrapped anew", n)
	}
	if got, err := h.reveal("sofia", "s1"); err != nil || string(got.GetArguments()) != `{"arguments":"P-1"}` {
		t.Errorf("%v, %v", got, err)
	}
	h.await("admin", &auditv1.SearchRequest{Action: "audit-key-rotated"}, func(all []*eventsv1.Event) bool { return len(all) == 3 })
	after := h.mustExport("vera", &auditv1.ExportRequest{})
	for name, data := range map[string][]byte{"from before": before, "from after, by whom trusts the key of before": after} {
		report, err := ledger.Verify(bytes.NewReader(data), old)
		if err != nil || !report.Holds() {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
	}
}
