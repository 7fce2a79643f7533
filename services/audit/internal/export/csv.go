package export

import (
	"bytes"
	"encoding/csv"
	"strconv"
	"strings"
	"time"
	"unicode"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/hidden"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Format is a form of records without proofs. Head is written before the first; Line is one record.
type Format struct {
	Head func() ([]byte, error)
	Line func(ev *eventsv1.Event) ([]byte, error)
}

// CSV is for spreadsheets (RFC 4180): a first line of names, then a line a record.
func CSV() Format {
	return Format{
		Head: func() ([]byte, error) {
			var names []string
			for _, c := range columns() {
				names = append(names, c.name)
			}
			return csvLine(names)
		},
		Line: func(ev *eventsv1.Event) ([]byte, error) {
			var cells []string
			for _, c := range columns() {
				cells = append(cells, cell(c.value(ev)))
			}
			return csvLine(cells)
		},
	}
}

func csvLine(cells []string) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.Write(cells); err != nil {
		return nil, err
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// cell is text that a spreadsheet shows and never runs. An apostrophe stands before what could begin a formula, also behind ; and |, which some spreadsheets take for the
// end of a cell; what is no visible character is shown.
func cell(text string) string {
	var out strings.Builder
	begins := true
	for _, r := range strings.ToValidUTF8(text, "\uFFFD") {
		switch {
		case r == ';' || r == '|':
			begins = true
		case begins && strings.ContainsRune("=+-@＝＋－＠", r):
			out.WriteByte('\'')
			begins = false
		case r != '"' && !unicode.IsSpace(r) && !unicode.IsControl(r):
			begins = false
		}
		out.WriteRune(r)
	}
	return hidden.Shown(out.String())
}

type column struct {
	name  string
	value func(ev *eventsv1.Event) string
}

func columns() []column { return append(earlier(), later()...) }

// later are the columns that came later: who reads a table by the place of its columns still can.
func later() []column {
	return []column{
		{"alert", record.Alert},
		{"change_version", func(ev *eventsv1.Event) string { return positive(ev.GetChange().GetVersion()) }},
		{"change_reason", func(ev *eventsv1.Event) string { return ev.GetChange().GetReason() }},
		{"rights_taken", func(ev *eventsv1.Event) string { return rights(ev, record.GrantTaken) }},
		{"rights_given", func(ev *eventsv1.Event) string { return rights(ev, record.GrantGiven) }},
		{"rights_changed", func(ev *eventsv1.Event) string { return rights(ev, record.GrantChanged) }},
		{"definition_hash", func(ev *eventsv1.Event) string { return ev.GetTarget().GetDefinitionHash() }},
		{"findings", func(ev *eventsv1.Event) string { return strings.Join(ev.GetFindings().GetNotes(), "; ") }},
		{"secrets", func(ev *eventsv1.Event) string { return positive(int64(ev.GetFindings().GetSecrets())) }},
		{"hidden", func(ev *eventsv1.Event) string { return positive(int64(ev.GetFindings().GetHidden())) }},
		{"connection", func(ev *eventsv1.Event) string { return ev.GetCredential().GetConnection() }},
		{"lease_id", func(ev *eventsv1.Event) string { return ev.GetCredential().GetLeaseId() }},
		{"approval_id", func(ev *eventsv1.Event) string { return ev.GetApproval().GetId() }},
		{"approval_state", func(ev *eventsv1.Event) string { return ev.GetApproval().GetState() }},
		{"approver", func(ev *eventsv1.Event) string { return ev.GetApproval().GetApprover() }},
		{"trust_of", func(ev *eventsv1.Event) string { return ev.GetTrust().GetSubject() }},
		{"trust_before", func(ev *eventsv1.Event) string { return ev.GetTrust().GetPreviousBand() }},
		{"trust", func(ev *eventsv1.Event) string { return ev.GetTrust().GetBand() }},
		{"actors", func(ev *eventsv1.Event) string { return strings.Join(record.Delegation(ev.GetPrincipal()), " ") }},
		{"rules_matched", func(ev *eventsv1.Event) string { return strings.Join(ev.GetDecision().GetMatched(), " ") }},
		{"rules_failed", func(ev *eventsv1.Event) string { return strings.Join(ev.GetDecision().GetFailed(), " ") }},
		{"rules_near", func(ev *eventsv1.Event) string { return strings.Join(ev.GetDecision().GetNear(), "; ") }},
	}
}

func earlier() []column {
	return []column{
		{"time", func(ev *eventsv1.Event) string { return ev.GetTime().AsTime().UTC().Format(time.RFC3339Nano) }},
		{"id", (*eventsv1.Event).GetId},
		{"action", (*eventsv1.Event).GetAction},
		{"phase", phase},
		{"outcome", record.Outcome},
		{"tenant", (*eventsv1.Event).GetTenant},
		{"service", (*eventsv1.Event).GetService},
		{"person", record.PersonOf},
		{"email", func(ev *eventsv1.Event) string { return ev.GetPrincipal().GetEmail() }},
		{"roles", func(ev *eventsv1.Event) string { return strings.Join(ev.GetPrincipal().GetRoles(), " ") }},
		{"agent", func(ev *eventsv1.Event) string { return ev.GetPrincipal().GetAgent() }},
		{"source", func(ev *eventsv1.Event) string { return ev.GetSource().GetIp() }},
		{"method", func(ev *eventsv1.Event) string { return ev.GetRequest().GetMethod() }},
		{"server", func(ev *eventsv1.Event) string { return ev.GetTarget().GetServer() }},
		{"tool", func(ev *eventsv1.Event) string { return ev.GetTarget().GetTool() }},
		{"resource", func(ev *eventsv1.Event) string { return ev.GetTarget().GetResource() }},
		{"labels", func(ev *eventsv1.Event) string { return strings.Join(ev.GetTarget().GetLabels(), " ") }},
		{"effect", func(ev *eventsv1.Event) string { return ev.GetDecision().GetEffect() }},
		{"rule", func(ev *eventsv1.Event) string { return ev.GetDecision().GetRule() }},
		{"policy_version", func(ev *eventsv1.Event) string { return positive(ev.GetDecision().GetPolicyVersion()) }},
		{"code", reasonCode},
		{"reason", record.Reason},
		{"change_kind", func(ev *eventsv1.Event) string { return ev.GetChange().GetKind() }},
		{"change_name", func(ev *eventsv1.Event) string { return ev.GetChange().GetName() }},
		{"change_action", func(ev *eventsv1.Event) string { return ev.GetChange().GetAction() }},
		{"change_old_hash", func(ev *eventsv1.Event) string { return ev.GetChange().GetOldHash() }},
		{"change_new_hash", func(ev *eventsv1.Event) string { return ev.GetChange().GetNewHash() }},
		{"duration_ns", func(ev *eventsv1.Event) string { return positive(ev.GetDurationNs()) }},
		{"arguments_hmac", func(ev *eventsv1.Event) string { return ev.GetArguments().GetHmac() }},
		{"result_hmac", func(ev *eventsv1.Event) string { return ev.GetResult().GetHmac() }},
		{"call_id", (*eventsv1.Event).GetCallId},
		{"trace_id", func(ev *eventsv1.Event) string { return ev.GetTrace().GetTraceId() }},
		{"writer", (*eventsv1.Event).GetWriter},
		{"sequence", func(ev *eventsv1.Event) string { return strconv.FormatUint(ev.GetSequence(), 10) }},
		{"repeats", func(ev *eventsv1.Event) string { return positive(ev.GetRepeats()) }},
	}
}

func positive(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func reasonCode(ev *eventsv1.Event) string {
	if ev.GetDecision().GetReason() == 0 {
		return ""
	}
	return fault.Code(ev.GetDecision().GetReason())
}

func phase(ev *eventsv1.Event) string {
	if ev.GetPhase() == eventsv1.Phase_PHASE_STARTED {
		return "started"
	}
	return "final"
}
