package export

import (
	"fmt"
	"strconv"
	"strings"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// CEF is ArcSight's Common Event Format, version 0, a line a record.
func CEF() Format {
	return Format{Line: func(ev *eventsv1.Event) ([]byte, error) {
		var b strings.Builder
		fmt.Fprintf(&b, "CEF:0|Headgate|headgate|1|%s|%s|%d|", cefHead(ev.GetAction()), cefHead(title(ev)), severity(ev))
		separator := ""
		for _, f := range cefFields(ev) {
			if f[1] != "" {
				b.WriteString(separator + f[0] + "=" + cefValue(f[1]))
				separator = " "
			}
		}
		b.WriteByte('\n')
		return []byte(b.String()), nil
	}}
}

func cefFields(ev *eventsv1.Event) [][2]string {
	p, t, d := ev.GetPrincipal(), ev.GetTarget(), ev.GetDecision()
	fields := [][2]string{
		{"rt", strconv.FormatInt(ev.GetTime().AsTime().UnixMilli(), 10)}, {"externalId", ev.GetId()}, {"suid", record.PersonOf(ev)}, {"suser", p.GetEmail()}, {"src", ev.GetSource().GetIp()},
		{"act", d.GetEffect()}, {"outcome", record.Outcome(ev)}, {"reason", reasonCode(ev)}, {"msg", record.Reason(ev)}, {"requestMethod", ev.GetRequest().GetMethod()}, {"request", t.GetResource()},
		{"requestClientApplication", p.GetAgent()}, {"dvchost", ev.GetService()}, {"dhost", t.GetAddress()},
	}
	for i, custom := range [][2]string{{"tenant", ev.GetTenant()}, {"server", t.GetServer()}, {"tool", t.GetTool()}, {"rule", d.GetRule()}, {"callId", ev.GetCallId()}, {"phase", phase(ev)}} {
		if custom[1] != "" {
			name := "cs" + strconv.Itoa(i+1)
			fields = append(fields, [2]string{name, custom[1]}, [2]string{name + "Label", custom[0]})
		}
	}
	if n := ev.GetRepeats(); n > 0 {
		fields = append(fields, [2]string{"cnt", strconv.FormatInt(n, 10)})
	}
	fields = append(fields, [2]string{"cn1", strconv.FormatUint(ev.GetSequence(), 10)}, [2]string{"cn1Label", "sequence"})
	return append(fields, cefOwn(ev)...)
}

// cefOwn is what CEF has no key for, under keys of our own, which begin with the vendor's name as the format asks.
func cefOwn(ev *eventsv1.Event) [][2]string {
	c, f, a, m := ev.GetChange(), ev.GetFindings(), ev.GetApproval(), ev.GetTrust()
	return [][2]string{
		{"headgateAlert", record.Alert(ev)}, {"headgateLabels", strings.Join(ev.GetTarget().GetLabels(), " ")}, {"headgateDefinitionHash", ev.GetTarget().GetDefinitionHash()},
		{"headgateChangeKind", c.GetKind()}, {"headgateChangeName", c.GetName()}, {"headgateChangeAction", c.GetAction()}, {"headgateChangeVersion", positive(c.GetVersion())},
		{"headgateOldHash", c.GetOldHash()}, {"headgateNewHash", c.GetNewHash()}, {"headgateChangeReason", c.GetReason()},
		{"headgateRightsTaken", rights(ev, record.GrantTaken)}, {"headgateRightsGiven", rights(ev, record.GrantGiven)}, {"headgateRightsChanged", rights(ev, record.GrantChanged)},
		{"headgateFindings", strings.Join(f.GetNotes(), "; ")}, {"headgateSecrets", positive(int64(f.GetSecrets()))}, {"headgateHidden", positive(int64(f.GetHidden()))},
		{"headgateConnection", ev.GetCredential().GetConnection()}, {"headgateLease", ev.GetCredential().GetLeaseId()},
		{"headgateApproval", a.GetId()}, {"headgateApprovalState", a.GetState()}, {"headgateApprover", a.GetApprover()},
		{"headgateTrustOf", m.GetSubject()}, {"headgateTrustBefore", m.GetPreviousBand()}, {"headgateTrust", m.GetBand()},
		{"headgateActors", strings.Join(record.Delegation(ev.GetPrincipal()), " ")}, {"headgateArgumentsHmac", ev.GetArguments().GetHmac()},
		{"headgateResultHmac", ev.GetResult().GetHmac()}, {"headgateTraceId", ev.GetTrace().GetTraceId()}, {"headgateWriter", ev.GetWriter()},
	}
}

func rights(ev *eventsv1.Event, what string) string {
	return strings.Join(record.Rights(ev, what), "; ")
}

// title is what the record is in a few words.
func title(ev *eventsv1.Event) string {
	t, c := ev.GetTarget(), ev.GetChange()
	switch {
	case t.GetTool() != "":
		return ev.GetAction() + " " + t.GetServer() + "." + t.GetTool()
	case c.GetName() != "":
		return ev.GetAction() + " " + c.GetKind() + " " + c.GetName()
	default:
		return ev.GetAction()
	}
}

// severity is 0 to 10: what is refused and what is an alert stands out.
func severity(ev *eventsv1.Event) int {
	switch {
	case record.Alert(ev) != "":
		return 8
	case ev.GetDecision().GetEffect() == record.Block:
		return 6
	case ev.GetDecision().GetEffect() == record.Escalate, ev.GetOutcome() == eventsv1.Outcome_OUTCOME_UNKNOWN && ev.GetPhase() == eventsv1.Phase_PHASE_FINAL:
		return 4
	case ev.GetOutcome() == eventsv1.Outcome_OUTCOME_FAILURE:
		return 3
	default:
		return 1
	}
}

// cefHead is text for the head of a line, without what could end a field or a line, or steer a terminal.
func cefHead(text string) string {
	return strings.NewReplacer(`\`, `\\`, `|`, `\|`).Replace(seen(text))
}

// cefValue is the same for a value, which may have lines.
func cefValue(text string) string {
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	for i, text := range lines {
		lines[i] = strings.NewReplacer(`\`, `\\`, `=`, `\=`).Replace(seen(text))
	}
	return strings.Join(lines, `\n`)
}
