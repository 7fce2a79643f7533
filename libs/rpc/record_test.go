package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/flood"
	"headgate.dev/libs/rpc"
)

// revoking is an identity service whose Revoke ends as told.
func revoking(end error) *identity {
	return &identity{revoke: func(context.Context, *identityv1.RevokeRequest) error { return end }}
}

func revoke(m *rpc.Mux, t *testing.T, name string, r *identityv1.RevokeRequest) error {
	t.Helper()
	r.What = &identityv1.RevokeRequest_Person{Person: "ana"}
	_, err := asPerson(m, name).Revoke(t.Context(), connect.NewRequest(r))
	return err
}

func TestAnAuditedCallIsRecordedBeforeAndAfterIt(t *testing.T) {
	cases := map[string]struct {
		end     error
		outcome eventsv1.Outcome
		effect  string
		reason  faultv1.Reason
		status  int32
	}{
		"done":      {nil, eventsv1.Outcome_OUTCOME_SUCCESS, "allow", 0, http.StatusOK},
		"not there": {fault.NotFound("No such person."), eventsv1.Outcome_OUTCOME_FAILURE, "allow", faultv1.Reason_REASON_NOT_FOUND, http.StatusNotFound},
		"killed": {
			fault.New(faultv1.Reason_REASON_KILLED, "Stopped."), eventsv1.Outcome_OUTCOME_FAILURE, "block", faultv1.Reason_REASON_KILLED, http.StatusForbidden,
		},
		"broken": {errors.New("boom"), eventsv1.Outcome_OUTCOME_FAILURE, "allow", faultv1.Reason_REASON_INTERNAL, http.StatusInternalServerError},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var j journal
			if err := revoke(revoking(c.end).serve(rpc.MuxConfig{Record: j.record}), t, "admin", &identityv1.RevokeRequest{}); (err == nil) != (c.end == nil) {
				t.Errorf("Revoke: %v", err)
			}
			events := j.take()
			if len(events) != 2 {
				t.Fatalf("%d records", len(events))
			}
			started, final := events[0], events[1]
			if started.GetPhase() != eventsv1.Phase_PHASE_STARTED || started.GetOutcome() != eventsv1.Outcome_OUTCOME_UNKNOWN || started.GetDecision() != nil {
				t.Errorf("started: %v", started)
			}
			if final.GetPhase() != eventsv1.Phase_PHASE_FINAL || final.GetOutcome() != c.outcome || final.GetRequest().GetHttpStatus() != c.status ||
				final.GetDecision().GetEffect() != c.effect || final.GetDecision().GetReason() != c.reason || final.GetDecision().GetSentence() == "" {
				t.Errorf("final: %v", final)
			}
			for _, ev := range events {
				if ev.GetCallId() != started.GetCallId() || ev.GetCallId() == "" || ev.GetTenant() != "acme" ||
					ev.GetService() != "identity" || ev.GetAction() != "api-call" ||
					ev.GetPrincipal().GetPerson() != "admin" || ev.GetPrincipal().GetAgent() != "claude" || ev.GetPrincipal().GetTokenId() != "jti-admin" ||
					ev.GetRequest().GetMethod() != "Revoke" || ev.GetId() == "" || ev.GetTime() == nil {
					t.Errorf("record: %v", ev)
				}
			}
		})
	}
}

func TestARefusedAuditedCallIsRecordedOnce(t *testing.T) {
	cases := map[string]struct {
		token, body    string
		reason         faultv1.Reason
		tenant, person string
		finals         int
	}{
		"no right":     {"token-of-member", `{"person":"ana"}`, faultv1.Reason_REASON_ROLE_REQUIRED, "acme", "member", 1},
		"wrong tenant": {"token-of-admin", `{"person":"ana","tenant":"beta"}`, faultv1.Reason_REASON_WRONG_TENANT, "acme", "admin", 1},
		"bad token":    {"stolen", `{"person":"ana"}`, faultv1.Reason_REASON_UNAUTHENTICATED, "system", "", 1},
		"unreadable":   {"token-of-admin", `{"person":`, faultv1.Reason_REASON_INVALID, "acme", "admin", 1},
		"schema":       {"token-of-admin", `{}`, faultv1.Reason_REASON_INVALID, "acme", "admin", 2},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var j journal
			post(t, revoking(errors.New("the handler was reached")).serve(rpc.MuxConfig{Record: j.record}), method(t, "Revoke"), c.body, withToken(c.token))
			events := j.take()
			if len(events) != c.finals {
				t.Fatalf("%d records: %v", len(events), events)
			}
			ev := events[len(events)-1]
			if ev.GetPhase() != eventsv1.Phase_PHASE_FINAL || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || ev.GetDecision().GetReason() != c.reason ||
				ev.GetTenant() != c.tenant || ev.GetPrincipal().GetPerson() != c.person || ev.GetSource().GetIp() != "192.0.2.1" {
				t.Errorf("record: %v", ev)
			}
		})
	}
}

func TestWithoutAJournalNothingHappens(t *testing.T) {
	reached := false
	service := &identity{revoke: func(context.Context, *identityv1.RevokeRequest) error { reached = true; return nil }}
	full := &journal{full: errors.New("the disk is full")}
	err := revoke(service.serve(rpc.MuxConfig{Record: full.record}), t, "admin", &identityv1.RevokeRequest{})
	if !fault.Is(err, faultv1.Reason_REASON_JOURNAL) || reached {
		t.Errorf("with a full journal: %v, reached %v", err, reached)
	}
	late := &journal{}
	service.revoke = func(context.Context, *identityv1.RevokeRequest) error {
		late.mu.Lock()
		defer late.mu.Unlock()
		late.full = errors.New("the disk is full")
		return nil
	}
	if err := revoke(service.serve(rpc.MuxConfig{Record: late.record}), t, "admin", &identityv1.RevokeRequest{}); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("with a journal that fills up: %v", err)
	}
}

func TestCallsThatAreNotAuditedAreNotRecorded(t *testing.T) {
	var j journal
	service := &identity{
		whoAmI:       func(context.Context) (*identityv1.WhoAmIResponse, error) { return &identityv1.WhoAmIResponse{}, nil },
		authenticate: people,
	}
	m := service.serve(rpc.MuxConfig{Record: j.record})
	if _, err := whoAmI(t.Context(), asPerson(m, "member")); err != nil {
		t.Error(err)
	}
	request := connect.NewRequest(&identityv1.AuthenticateRequest{Token: "token-of-ana"})
	if _, err := asService(m, optionsv1.Service_SERVICE_EDGE).Authenticate(t.Context(), request); err != nil {
		t.Error(err)
	}
	if events := j.take(); len(events) != 0 {
		t.Errorf("records: %v", events)
	}
}

func TestAPlatformAdministratorsCallIsRecordedInTheTenantThatItIsAbout(t *testing.T) {
	for requested, want := range map[string]string{"beta": "beta", "": "system"} {
		var j journal
		if err := revoke(revoking(nil).serve(rpc.MuxConfig{Record: j.record}), t, "platform", &identityv1.RevokeRequest{Tenant: requested}); err != nil {
			t.Error(err)
		}
		for _, ev := range j.take() {
			if ev.GetTenant() != want {
				t.Errorf("about %q: %v", requested, ev)
			}
		}
	}
}

func TestAPanicInAnAuditedCallLeavesItsFinalRecord(t *testing.T) {
	var j journal
	m := (&identity{revoke: func(context.Context, *identityv1.RevokeRequest) error { panic("boom") }}).serve(rpc.MuxConfig{Record: j.record})
	if err := revoke(m, t, "admin", &identityv1.RevokeRequest{}); !fault.Is(err, faultv1.Reason_REASON_INTERNAL) {
		t.Errorf("Revoke: %v", err)
	}
	if events := j.take(); len(events) != 2 || events[1].GetDecision().GetReason() != faultv1.Reason_REASON_INTERNAL {
		t.Errorf("records: %v", events)
	}
}

// counting is a mux whose refusals are counted until stop.
func counting(t *testing.T, j *journal) (m *rpc.Mux, stop func()) {
	t.Helper()
	m = everyService(t, j)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- m.Run(ctx) }()
	synctest.Wait()
	return m, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func from(address string) func(*http.Request) {
	return func(r *http.Request) { r.RemoteAddr = address + ":5000" }
}

// requests is how many requests of an address records tell of, by how many records.
func requests(events []*eventsv1.Event, address string) (records, requests int64) {
	for _, ev := range events {
		if ev.GetSource().GetIp() == address {
			records, requests = records+1, requests+max(1, ev.GetRepeats())
		}
	}
	return records, requests
}

func TestT22AFloodOfCallsThatNobodyMayMakeDoesNotFillTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m, stop := counting(t, &j)
		search := methodOf(t, "headgate.audit.v1.AuditService.Search")
		const many = 3000
		for range many {
			if a := post(t, m, search, "{}", from("192.0.2.7")); a.reason != faultv1.Reason_REASON_UNAUTHENTICATED {
				t.Fatalf("%v", a)
			}
		}
		post(t, m, search, "{}", from("192.0.2.8"))
		events := j.take()
		if n, _ := requests(events, "192.0.2.7"); n != flood.AtOnce {
			t.Errorf("%d records before the count", n)
		}
		if n, _ := requests(events, "192.0.2.8"); n != 1 {
			t.Errorf("another address has %d records", n)
		}
		time.Sleep(flood.Every)
		synctest.Wait()
		counts := j.take()
		if n, of := requests(counts, "192.0.2.7"); n != 1 || of != many-flood.AtOnce {
			t.Fatalf("%d counts of %d requests", n, of)
		}
		count := counts[0]
		if d := count.GetDecision(); d.GetEffect() != "block" || d.GetReason() != faultv1.Reason_REASON_UNAUTHENTICATED || d.GetStage() != "access" ||
			count.GetTenant() != "system" || count.GetAction() != "api-call" || count.GetRequest().GetMethod() != "Search" || count.GetRequest().GetHttpStatus() != 401 ||
			count.GetId() == "" || count.GetCallId() == "" || count.GetService() == "" {
			t.Errorf("the count says %v", count)
		}
		stop()
		if left := j.take(); len(left) != 0 {
			t.Errorf("counted twice: %v", left)
		}
	})
}

func TestWhoIsRefusedOverAndOverIsCountedByMethodAndReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var j journal
		m, stop := counting(t, &j)
		for i := range 400 {
			post(t, m, method(t, "Revoke"), "{}", func(r *http.Request) {
				withToken("token-of-member")(r)
				from(fmt.Sprint("192.0.2.", i%200))(r)
			})
			post(t, m, method(t, "Rotate"), "{}", withToken("token-of-member"))
		}
		stop()
		events, counts := j.take(), map[string]int64{}
		for _, ev := range events {
			if ev.GetPrincipal().GetPerson() != "member" || ev.GetTenant() != "acme" || ev.GetDecision().GetReason() != faultv1.Reason_REASON_ROLE_REQUIRED {
				t.Fatalf("%v", ev)
			}
			counts[ev.GetRequest().GetMethod()] += max(1, ev.GetRepeats())
		}
		if len(events) != flood.AtOnce+2 || counts["Revoke"] != 400 || counts["Rotate"] != 400 {
			t.Errorf("%d records of %v", len(events), counts)
		}
		post(t, m, method(t, "Rotate"), "{}", withToken("token-of-member"))
		if left := j.take(); len(left) != 1 || left[0].GetRepeats() != 0 {
			t.Errorf("after the end a refusal is recorded as %v", left)
		}
	})
}
