package record

import (
	"slices"
	"strings"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// What services record besides the calls of agents. Each is one word of event.action.
const (
	ServiceStarted       = "service-started"
	ServiceStopped       = "service-stopped"
	ConfigurationChanged = "configuration-changed"
	ClockStepped         = "clock-stepped"
	SignIn               = "sign-in"
	LedgerCheck          = "ledger-check"
	RelationsCheck       = "relations-check"
	RelationsModel       = "relations-model-pinned"
	ResourceRelations    = "resource-relations"
	PolicyMisfit         = "policy-misfit" // a tool was approved in another shape than a policy in force is about
	AuditDrop            = "audit-drop"    // an alert when nothing is dropped because the clock is not believed
	AuditAside           = "audit-aside"   // records that a consumer cannot use went to its dead-letter topic
	AuditReplay          = "audit-replay"  // and came back from there
	AuditRead            = "audit-read"    // somebody from outside was shown records of the tenant
	LedgerStands         = "ledger-stands"
	LedgerWitness        = "ledger-witness" // somebody outside knows another log
	CredentialRevoked    = "credential-revoked"
	ApprovalRequest      = "approval-requested" // these four come from who asks people; a call that a rule escalates says so itself
	ApprovalGrant        = "approval-granted"
	ApprovalDenial       = "approval-denied"
	ApprovalExpiry       = "approval-expired"
	TrustMoved           = "trust-moved" // from who scores; what people decide says how trust moved beside what they did
)

// Actions lists every word of event.action that services write. A mapping, an export and a detection can rely on it.
func Actions() []string {
	return []string{
		// Agents, at the edge.
		"tool-call", "tool-list", "prompt-get", "prompt-list", "resource-read", "resource-list", "completion", "subscribe", "unsubscribe",
		"task-get", "task-update", "task-cancel", "task-result", "request", "fact-read",
		// People and programs, at the API.
		"api-call", "resource-applied", "resource-deleted", "audit-export", "audit-report", "audit-tail", AuditRead, "audit-reveal", "audit-erase", "audit-hold",
		"audit-retention", "audit-key-rotated", AuditReplay, RelationsModel, ResourceRelations, SignIn, "token-issued", "token-revoked", "key-rotated",
		"credential-leased", CredentialRevoked, ApprovalRequest, ApprovalGrant, ApprovalDenial, "kill", "revive", "server-approved", "server-quarantined", "definition-approved",
		// Services, by themselves.
		ApprovalExpiry, TrustMoved, "definition-changed", "decision-unavailable", "journal-opened", AuditDrop, AuditAside, LedgerWitness, LedgerCheck, LedgerStands, RelationsCheck, PolicyMisfit, ServiceStarted, ServiceStopped, ConfigurationChanged, ClockStepped,
	}
}

// Uses lists the actions that make use of what a relation gives: something of a server was called or read.
func Uses() []string { return []string{"tool-call", "fact-read", "prompt-get", "resource-read"} }

// The kinds of alerts that records themselves are.
const (
	AlertFailClosed        = "fail-closed"        // something was refused because what decides it was not there or not fresh
	AlertMassChange        = "mass-change"        // a call that would have deleted or changed much was blocked
	AlertDefinitionChanged = "definition-changed" // a server shows something else than what was approved
	AlertJournalGap        = "journal-gap"        // a writer's records are not all there
	AlertLedger            = "ledger"             // the ledger does not hold, could not be checked, or takes no records
	AlertDeadLetter        = "dead-letter"        // records were put aside that the ledger, the index or the alerts' road cannot use
	AlertStopped           = "stopped"            // somebody was stopped everywhere
	AlertRelations         = "relations"          // OpenFGA holds something else than the directory says
	AlertPolicy            = "policy"             // a policy does not fit the tools that it is about any more
	AlertClock             = "clock-stepped"      // times of records around it cannot be compared
	AlertRetention         = "retention"          // the platform's administrator has a tenant's records kept for less time
	AlertRule              = "rule"               // a rule asks for an alert
)

// Alert says which kind of alert a record is; empty for none.
func Alert(ev *eventsv1.Event) string {
	switch {
	case ev.GetAction() == LedgerCheck && ev.GetAlert():
		return ledgerAlert(ev.GetFindings().GetNotes())
	case failedClosed(ev):
		return AlertFailClosed
	case !ev.GetAlert():
		return ""
	case ev.GetAction() == LedgerWitness, ev.GetAction() == LedgerStands:
		return AlertLedger
	case ev.GetAction() == AuditAside:
		return AlertDeadLetter
	case ev.GetAction() == RelationsCheck:
		return AlertRelations
	case ev.GetAction() == PolicyMisfit:
		return AlertPolicy
	case ev.GetAction() == "decision-unavailable":
		return AlertFailClosed
	case ev.GetAction() == "definition-changed":
		return AlertDefinitionChanged
	case ev.GetAction() == "kill":
		return AlertStopped
	case ev.GetAction() == "audit-retention":
		return AlertRetention
	case ev.GetAction() == ClockStepped || ev.GetAction() == AuditDrop:
		return AlertClock
	case ev.GetDecision().GetEffect() == Block && slices.Contains(ev.GetTarget().GetLabels(), "destructive"):
		return AlertMassChange
	default:
		return AlertRule
	}
}

// failedClosed reports whether a refusal is the gate's own trouble: nobody decided against the call, somebody could not decide for it.
func failedClosed(ev *eventsv1.Event) bool {
	return ev.GetPhase() != eventsv1.Phase_PHASE_STARTED && refused(ev.GetDecision()) && Alarming(ev.GetDecision().GetReason())
}

// Alarming reports whether somebody must look at why something was refused: not the caller's fault, and not what a rule or a relation says, but that it
// could not be judged or recorded.
func Alarming(reason faultv1.Reason) bool {
	switch reason {
	case faultv1.Reason_REASON_STALE, faultv1.Reason_REASON_JOURNAL, faultv1.Reason_REASON_UNAVAILABLE, faultv1.Reason_REASON_RULE_ERROR,
		faultv1.Reason_REASON_FACT_UNAVAILABLE, faultv1.Reason_REASON_INTERNAL, faultv1.Reason_REASON_CLOCK, faultv1.Reason_REASON_RULE_COST,
		faultv1.Reason_REASON_RULE_TYPE, faultv1.Reason_REASON_RELATION_UNAVAILABLE:
		return true
	default:
		return false
	}
}

// ledgerAlert tells records that are missing from a ledger that does not hold.
func ledgerAlert(problems []string) string {
	missing := func(text string) bool {
		return strings.Contains(text, " is missing: ") || strings.Contains(text, " are missing: ")
	}
	if len(problems) > 0 && !slices.ContainsFunc(problems, func(text string) bool { return !missing(text) }) {
		return AlertJournalGap
	}
	return AlertLedger
}
