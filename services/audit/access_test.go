package audit_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
)

// mark is in everything that nobody but acme's own readers may see.
const mark = "zebra"

// ask calls one method as somebody, about a tenant or without naming one, and answers everything that came.
type ask func(ctx context.Context, h *house, as, tenant string) (string, error)

func unary[Q any, A any, PA interface {
	proto.Message
	*A
}](ctx context.Context, call func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), as string, message *Q) (string, error) {
	answer, err := call(ctx, bearer(as, message))
	if err != nil {
		return "", err
	}
	return prototext.Format(PA(answer.Msg)), nil
}

func streamed[A any](stream *connect.ServerStreamForClient[A], err error, text func(*A) string) (string, error) {
	if err != nil {
		return "", err
	}
	defer func() { _ = stream.Close() }()
	var out strings.Builder
	for stream.Receive() {
		out.WriteString(text(stream.Msg()))
	}
	return out.String(), stream.Err()
}

// asks has every method of the service.
func asks() map[string]ask {
	subject := &auditv1.Subject{Kind: "patient", Name: "P-1"}
	return map[string]ask{
		"Search": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			return unary(ctx, h.client.Search, as, &auditv1.SearchRequest{Tenant: tenant})
		},
		"Export": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			stream, err := h.client.Export(ctx, bearer(as, &auditv1.ExportRequest{Tenant: tenant, Format: auditv1.Format_FORMAT_CSV}))
			return streamed(stream, err, func(m *auditv1.ExportResponse) string { return string(m.GetLines()) })
		},
		"Report": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			stream, err := h.client.Report(ctx, bearer(as, &auditv1.ReportRequest{Tenant: tenant, Kind: auditv1.ReportKind_REPORT_KIND_DENIED, Table: true}))
			return streamed(stream, err, func(m *auditv1.ReportResponse) string { return string(m.GetPart()) })
		},
		"Tail": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			stream, err := h.client.Tail(ctx, bearer(as, &auditv1.TailRequest{Tenant: tenant}))
			sent := false
			text, err := streamed(stream, err, func(m *auditv1.TailResponse) string {
				if !sent { // the stream stands: what comes now must reach its readers alone
					sent = true
					id := fmt.Sprintf("tailed-%s-%s", as, tenant)
					h.marked(id, "acme", "bob")
					h.await("vera", &auditv1.SearchRequest{Text: id}, func(found []*eventsv1.Event) bool { return len(found) == 1 })
					cancel()
				}
				return m.String()
			})
			if sent {
				err = nil // it ended because the test has seen enough
			}
			return text, err
		},
		"ListUses": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			stream, err := h.client.ListUses(ctx, bearer(as, &auditv1.ListUsesRequest{Tenant: tenant, Since: timestamppb.New(time.Unix(0, 0))}))
			return streamed(stream, err, func(m *auditv1.ListUsesResponse) string { return m.String() })
		},
		"Prove": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			return unary(ctx, h.client.Prove, as, &auditv1.ProveRequest{Tenant: tenant, EventId: mark + "-bob"})
		},
		"SubjectKey": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			if tenant == "" {
				tenant = "acme"
			}
			return unary(ctx, h.client.SubjectKey, as, &auditv1.SubjectKeyRequest{Tenant: tenant, Subject: subject})
		},
		"Reveal": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			return unary(ctx, h.client.Reveal, as, &auditv1.RevealRequest{Tenant: tenant, EventId: mark + "-bob", Reason: "to look"})
		},
		"Erase": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			return unary(ctx, h.client.Erase, as, &auditv1.EraseRequest{Tenant: tenant, Subject: subject, Reason: "to hide"})
		},
		"AddHold": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			return unary(ctx, h.client.AddHold, as, &auditv1.AddHoldRequest{Tenant: tenant, Reason: "a case"})
		},
		"ListHolds": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			return unary(ctx, h.client.ListHolds, as, &auditv1.ListHoldsRequest{Tenant: tenant})
		},
		"ReleaseHold": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			return unary(ctx, h.client.ReleaseHold, as, &auditv1.ReleaseHoldRequest{Tenant: tenant, Id: h.hold, Reason: "over"})
		},
		"GetRetention": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			return unary(ctx, h.client.GetRetention, as, &auditv1.GetRetentionRequest{Tenant: tenant})
		},
		"SetRetention": func(ctx context.Context, h *house, as, tenant string) (string, error) {
			return unary(ctx, h.client.SetRetention, as, &auditv1.SetRetentionRequest{Tenant: tenant, Days: 200, Reason: "asked"})
		},
		"RotateKey": func(ctx context.Context, h *house, as, _ string) (string, error) {
			return unary(ctx, h.client.RotateKey, as, &auditv1.RotateKeyRequest{Kind: auditv1.KeyKind_KEY_KIND_LOG})
		},
		"GetLog": func(ctx context.Context, h *house, as, _ string) (string, error) {
			return unary(ctx, h.client.GetLog, as, &auditv1.GetLogRequest{})
		},
	}
}

// marked records a refused call whose every text has the mark.
func (h *house) marked(id, tenant, person string) {
	h.record(mark+"-"+id, tenant, person, func(ev *eventsv1.Event) {
		ev.CallId = mark
		ev.Target = &eventsv1.Target{Server: mark, Tool: mark}
		ev.Decision = &eventsv1.Decision{Effect: "block", Rule: mark, Sentence: mark}
		ev.Arguments = &eventsv1.Payload{Document: `{"x":"` + mark + `"}`, Bytes: 13}
	})
}

// none says that a method may answer somebody, but nothing of acme's.
const none = faultv1.Reason_REASON_UNSPECIFIED

// answers is what each method says to: a member of the tenant who is not bob; of another tenant an auditor, a security officer and an administrator, each of whom
// names acme at first and then none.
func answers() map[string][7]faultv1.Reason {
	role, wrong, missing := faultv1.Reason_REASON_ROLE_REQUIRED, faultv1.Reason_REASON_WRONG_TENANT, faultv1.Reason_REASON_NOT_FOUND
	return map[string][7]faultv1.Reason{
		"Search": {none, wrong, none, wrong, none, wrong, none}, "Export": {none, wrong, none, wrong, none, wrong, none},
		"Report": {none, wrong, none, wrong, none, wrong, none}, "Tail": {none, wrong, none, wrong, none, wrong, none},
		"Prove": {missing, wrong, missing, wrong, missing, wrong, missing}, "ListUses": {role, wrong, none, wrong, none, wrong, none},
		"SubjectKey": {role, role, role, role, role, role, role}, "Reveal": {role, role, role, wrong, missing, role, role},
		"Erase": {role, role, role, wrong, none, role, role}, "AddHold": {role, role, role, wrong, none, role, role},
		"ListHolds": {role, wrong, none, wrong, none, wrong, none}, "ReleaseHold": {role, role, role, wrong, missing, role, role},
		"GetRetention": {role, wrong, none, wrong, none, wrong, none}, "SetRetention": {role, role, role, role, role, wrong, none},
		"RotateKey": {role, role, role, role, role, role, role}, "GetLog": {none, none, none, none, none, none, none},
	}
}

// refused calls a method that must be refused for a reason, of which nothing may come but that, and which is recorded when the method is audited.
func (h *house) refused(method protoreflect.MethodDescriptor, call ask, as, tenant string, want faultv1.Reason) {
	h.t.Helper()
	name := string(method.Name())
	h.calls.take()
	text, err := call(h.t.Context(), h, as, tenant)
	switch {
	case !fault.Is(err, want):
		h.t.Errorf("%s as %q about %q: %v, want %s", name, as, tenant, err, want)
	case text != "", strings.Contains(strings.ReplaceAll(err.Error(), mark+"-bob", ""), mark):
		h.t.Errorf("%s as %q about %q shows: %s %v", name, as, tenant, text, err)
	}
	access, _ := proto.GetExtension(method.Options(), optionsv1.E_Access).(*optionsv1.Access)
	var finals []*eventsv1.Event
	person, strange := as, map[string]string{"desk": "vera", "mallory": ""}
	if real, is := strange[as]; is {
		person = real
	}
	for _, ev := range h.calls.take() { // the end of somebody's tail before may come among them
		if ev.GetPhase() == eventsv1.Phase_PHASE_FINAL && ev.GetRequest().GetMethod() == name && ev.GetPrincipal().GetPerson() == person {
			finals = append(finals, ev)
		}
	}
	if !access.GetAudited() {
		return
	}
	if len(finals) != 1 || finals[0].GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || finals[0].GetDecision().GetReason() != want {
		h.t.Errorf("%s as %q about %q is recorded as %v", name, as, tenant, finals)
	}
}

// strangers are who has no token or one that nobody knows, an agent of acme's auditor, who is no more than a member, and a service that has nothing to ask.
func (h *house) strangers(method protoreflect.MethodDescriptor, call ask, member faultv1.Reason) {
	h.t.Helper()
	h.refused(method, call, "mallory", "", faultv1.Reason_REASON_UNAUTHENTICATED)
	h.refused(method, call, "", "", faultv1.Reason_REASON_UNAUTHENTICATED)
	h.refused(method, call, "", "acme", faultv1.Reason_REASON_UNAUTHENTICATED)
	if member != none {
		h.refused(method, call, "desk", "", member)
	} else if text, err := call(h.t.Context(), h, "desk", ""); err != nil || strings.Contains(text, mark) {
		h.t.Errorf("%s as an agent: %s, %v", method.Name(), text, err)
	}
	people := h.client
	defer func() { h.client = people }()
	h.client = h.trust
	text, err := call(h.t.Context(), h, "", "acme")
	if !fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) || text != "" {
		h.t.Errorf("%s as another service: %s, %v", method.Name(), text, err)
	}
}

// methods are all of the service.
func methods(yield func(protoreflect.MethodDescriptor) bool) {
	all := auditv1.File_headgate_audit_v1_audit_proto.Services().Get(0).Methods()
	for i := range all.Len() {
		if !yield(all.Get(i)) {
			return
		}
	}
}

func TestNobodyGetsAnythingOfAnotherTenantOrWithoutTheRight(t *testing.T) {
	h := start(t)
	h.marked("bob", "acme", "bob")
	h.record("own", "globex", "gus")
	h.eventually("vera", &auditv1.SearchRequest{}, mark+"-bob")
	h.record(mark+"-used", "acme", "bob", func(ev *eventsv1.Event) {
		ev.Target, ev.Decision = &eventsv1.Target{Server: mark, Tool: mark}, &eventsv1.Decision{Effect: "allow"}
	})
	h.eventually("vera", &auditv1.SearchRequest{Effect: "allow"}, mark+"-used")
	held, err := h.client.AddHold(t.Context(), bearer("sofia", &auditv1.AddHoldRequest{Reason: mark + " case"}))
	if err != nil {
		t.Fatal(err)
	}
	h.hold = held.Msg.GetHold().GetId()
	role := faultv1.Reason_REASON_ROLE_REQUIRED
	table := answers()
	callers := [7]struct{ as, tenant string }{{"ana", ""}, {"gus", "acme"}, {"gus", ""}, {"stan", "acme"}, {"stan", ""}, {"greta", "acme"}, {"greta", ""}}
	kept, err := h.client.GetRetention(t.Context(), bearer("alma", &auditv1.GetRetentionRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	every := asks()
	for method := range methods {
		name := string(method.Name())
		call, known := every[name]
		wants, tabled := table[name]
		if !known || !tabled {
			t.Errorf("%s is not in this test: say who gets nothing from it", name)
			continue
		}
		for n, c := range callers {
			if wants[n] != none {
				h.refused(method, call, c.as, c.tenant, wants[n])
				continue
			}
			if text, err := call(t.Context(), h, c.as, c.tenant); err != nil || strings.Contains(text, mark) {
				t.Errorf("%s as %s about %q: %s, %v", name, c.as, c.tenant, text, err)
			}
		}
		h.strangers(method, call, wants[0])
	}
	// The table would be worth nothing if the mark were not there to be seen.
	for _, name := range []string{"Search", "Export", "Report", "ListUses", "Prove", "ListHolds"} {
		if text, err := every[name](t.Context(), h, "vera", ""); err != nil || name != "Prove" && !strings.Contains(text, mark) || text == "" {
			t.Errorf("%s as acme's auditor: %v\n%s", name, err, text)
		}
	}
	if held, err := h.client.ListHolds(t.Context(), bearer("sofia", &auditv1.ListHoldsRequest{})); err != nil || len(held.Msg.GetHolds()) != 1 {
		t.Errorf("the hold was touched: %v, %v", held, err)
	}
	if now, err := h.client.GetRetention(t.Context(), bearer("alma", &auditv1.GetRetentionRequest{})); err != nil || !proto.Equal(now.Msg, kept.Msg) {
		t.Errorf("acme's records are kept otherwise than before: %v, %v", now, err)
	}
	// An administrator of acme changes how long its records are kept and reads them, and has nothing of what security alone may.
	own := map[string]faultv1.Reason{"SetRetention": none, "Search": none, "Reveal": role, "Erase": role, "AddHold": role, "ReleaseHold": role, "RotateKey": role}
	for name, want := range own {
		if _, err := every[name](t.Context(), h, "alma", "acme"); want == none && err != nil || want != none && !fault.Is(err, want) {
			t.Errorf("%s as acme's administrator: %v, want %s", name, err, want)
		}
	}
}
