package index

import (
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Text is everything of an event that a person may search for by words.
func Text(ev *eventsv1.Event) string {
	var b strings.Builder
	add := func(values ...string) {
		for _, v := range values {
			if v != "" {
				b.WriteString(v)
				b.WriteByte(' ')
			}
		}
	}
	p, s, r, t, d, c := ev.GetPrincipal(), ev.GetSource(), ev.GetRequest(), ev.GetTarget(), ev.GetDecision(), ev.GetChange()
	add(ev.GetId(), ev.GetAction(), ev.GetTenant(), ev.GetService(), ev.GetCallId())
	add(p.GetPerson(), p.GetEmail(), p.GetDisplayName(), p.GetAgent(), p.GetClientName(), p.GetClientVersion(), p.GetClientId(), p.GetTokenId(), p.GetService())
	add(p.GetRoles()...)
	add(s.GetIp(), s.GetUserAgent(), r.GetMethod(), r.GetEndpoint())
	add(t.GetServer(), t.GetTool(), t.GetDefinitionHash(), t.GetAddress(), t.GetResource())
	add(t.GetLabels()...)
	add(d.GetId(), d.GetEffect(), d.GetRule(), d.GetVia(), d.GetStage())
	if d.GetReason() != 0 {
		add(fault.Code(d.GetReason()))
	}
	add(d.GetChanged()...)
	add(d.GetShadow()...)
	add(record.Reason(ev), ev.GetCredential().GetConnection(), ev.GetTrace().GetTraceId(), ev.GetArguments().GetHmac(), ev.GetResult().GetHmac())
	add(c.GetKind(), c.GetName(), c.GetAction(), c.GetReason(), c.GetOldHash(), c.GetNewHash())
	add(ev.GetFindings().GetNotes()...)
	if ev.GetAlert() {
		add("alert")
	}
	return b.String()
}
