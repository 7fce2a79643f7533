package indextest

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
)

// A day at acme and on the platform, as few records as the questions of a security operations centre need: each has an answer, and something beside it that must not be in it.

func call(person, agent, server, tool string) func(ev *eventsv1.Event) {
	return func(ev *eventsv1.Event) {
		ev.Principal = &eventsv1.Principal{Person: person, Email: person + "@acme.example", Agent: agent}
		ev.Target = &eventsv1.Target{Server: server, Tool: tool, Address: server + ".acme.example:443"}
		ev.Outcome, ev.Source = eventsv1.Outcome_OUTCOME_SUCCESS, &eventsv1.Source{Ip: "203.0.113.7"}
	}
}

func took(d time.Duration, bytes int64) func(ev *eventsv1.Event) {
	return func(ev *eventsv1.Event) {
		ev.DurationNs, ev.Result = d.Nanoseconds(), &eventsv1.Payload{Hmac: "fe12", Bytes: bytes}
	}
}

func labelled(labels ...string) func(ev *eventsv1.Event) {
	return func(ev *eventsv1.Event) { ev.Target.Labels = labels }
}

func decided(effect, rule string, why faultv1.Reason) func(ev *eventsv1.Event) {
	return func(ev *eventsv1.Event) {
		ev.Outcome = eventsv1.Outcome_OUTCOME_FAILURE
		ev.Decision = &eventsv1.Decision{Effect: effect, Rule: rule, Policy: "tickets", PolicyVersion: 3, Reason: why, Sentence: "Refused by " + rule + "."}
	}
}

func did(service, action string, change *eventsv1.Change) func(ev *eventsv1.Event) {
	return func(ev *eventsv1.Event) {
		ev.Service, ev.Action, ev.Change, ev.Target, ev.Decision = service, action, change, nil, nil
		ev.Principal, ev.Outcome = &eventsv1.Principal{Person: "root"}, eventsv1.Outcome_OUTCOME_SUCCESS
	}
}

func trusted(subject, before, now, reason string) func(ev *eventsv1.Event) {
	return func(ev *eventsv1.Event) {
		ev.Trust = &eventsv1.Trust{Subject: subject, PreviousBand: before, Band: now, Reasons: []string{reason}}
	}
}

func at(server, tool string) func(ev *eventsv1.Event) {
	return func(ev *eventsv1.Event) { ev.Target = &eventsv1.Target{Server: server, Tool: tool} }
}

func from(address string) func(ev *eventsv1.Event) {
	return func(ev *eventsv1.Event) { ev.Source = &eventsv1.Source{Ip: address} }
}

func itself(ev *eventsv1.Event)    { ev.Principal = record.Service(ev.GetService()) }
func alerting(ev *eventsv1.Event)  { ev.Alert = true }
func failing(ev *eventsv1.Event)   { ev.Outcome = eventsv1.Outcome_OUTCOME_FAILURE }
func undecided(ev *eventsv1.Event) { ev.Decision = nil }

// Day is what happened at acme and on the platform, as services write it: what is about the deployment itself, and who is not known yet, is of the tenant
// system.
func Day() []index.Record {
	return append(append(calls(), people()...), platform()...)
}

func calls() []index.Record {
	found := func(ev *eventsv1.Event) {
		ev.Findings = &eventsv1.Findings{Secrets: 2, Hidden: 3, Notes: []string{"zero width space"}}
	}
	asked := func(ev *eventsv1.Event) {
		ev.Approval = &eventsv1.Approval{Id: "apr_waits-1", State: record.ApprovalAsked, Approvers: []string{"role:supervisor"}, AskedAt: ev.GetTime()}
	}
	through := func(lease string) func(ev *eventsv1.Event) {
		return func(ev *eventsv1.Event) {
			ev.Principal.ClientId = "claude"
			ev.Credential = &eventsv1.Credential{Connection: ev.GetTarget().GetServer(), LeaseId: lease}
		}
	}
	return []index.Record{
		Event("old-1", "acme", "", -5*24*3600, call("ana", "client:claude", "tickets", "get_ticket"), took(10*time.Millisecond, 100)),
		Event("old-2", "acme", "", -24*3600, call("ana", "client:claude", "tickets", "get_ticket"), took(10*time.Millisecond, 100)),
		Event("read-1", "acme", "", 1, call("ana", "client:claude", "tickets", "get_ticket"), through("lease-1"), took(10*time.Millisecond, 100)),
		Event("read-2", "acme", "", 2, call("ana", "client:claude", "tickets", "get_ticket"), took(30*time.Millisecond, 300), found),
		Event("crm-1", "acme", "", 3, call("bob", "triage", "crm", "find"), through("lease-0"), took(200*time.Millisecond, 5000)),
		Event("delete-1", "acme", "", 4, call("bob", "triage", "tickets", "delete_ticket"), labelled("destructive"), took(20*time.Millisecond, 10)),
		Event("rule-1", "acme", "", 5, call("ana", "client:claude", "tickets", "close_ticket"), decided(record.Block, "tickets/no", faultv1.Reason_REASON_RULE)),
		Event("rule-2", "acme", "", 6, call("bob", "triage", "tickets", "delete_ticket"), labelled("destructive"), decided(record.Block, "tickets/mass", faultv1.Reason_REASON_RULE), alerting),
		Event("stale-1", "acme", "", 7, call("bob", "triage", "crm", "find"), decided(record.Block, "", faultv1.Reason_REASON_STALE)),
		Event("limit-1", "acme", "", 8, call("bob", "triage", "crm", "find"), decided(record.Block, "", faultv1.Reason_REASON_RATE_LIMITED)),
		Event("waits-1", "acme", "", 9, call("ana", "client:claude", "tickets", "close_ticket"), decided(record.Escalate, "tickets/supervisor", faultv1.Reason_REASON_APPROVAL_REQUIRED), asked),
		Event("slow-1", "acme", "", 10, call("bob", "triage", "crm", "find"), decided("", "", faultv1.Reason_REASON_UPSTREAM_TIMEOUT), took(30*time.Second, 0)),
		Event("after-1", "acme", "", 23, call("bob", "triage", "crm", "find"), from("198.51.100.77"), through("lease-0"), took(200*time.Millisecond, 70)), // its lease outlived its secret
	}
}

func people() []index.Record {
	signIn := func(person string) func(ev *eventsv1.Event) {
		return func(ev *eventsv1.Event) {
			ev.Service, ev.Action, ev.Target = "identity", record.SignIn, nil
			ev.Principal, ev.Outcome = &eventsv1.Principal{Person: person, ClientId: "cli"}, eventsv1.Outcome_OUTCOME_SUCCESS
			ev.Source, ev.Decision = &eventsv1.Source{Ip: "203.0.113.7"}, &eventsv1.Decision{Effect: record.Allow, Stage: "sign-in"}
		}
	}
	leased := func(ev *eventsv1.Event) {
		ev.Service, ev.Action, ev.Decision, ev.Source, ev.Phase = "credentials", "credential-leased", nil, nil, eventsv1.Phase_PHASE_UNSPECIFIED
		ev.Principal = &eventsv1.Principal{Service: "edge", Person: ev.GetPrincipal().GetPerson(), Agent: ev.GetPrincipal().GetAgent()}
		ev.Credential = &eventsv1.Credential{Connection: ev.GetTarget().GetServer(), LeaseId: ev.GetId()}
	}
	granted := func(ev *eventsv1.Event) {
		ev.Grants = []*eventsv1.Grant{
			{What: record.GrantTaken, Holder: "role:support", Right: "call tickets.delete_ticket"},
			{What: record.GrantGiven, Holder: "role:support", Right: "call tickets.close_ticket", Until: timestamppb.New(noon.Add(time.Hour))},
		}
	}
	return []index.Record{
		Event("sign-1", "acme", "", 11, signIn("ana")),
		Event("sign-2", "acme", "", 12, signIn("mallory"), decided(record.Block, "", faultv1.Reason_REASON_ROLE_REQUIRED)),
		Event("lease-1", "acme", "", 0, call("ana", "client:claude", "tickets", "get_ticket"), leased),
		Event("lease-2", "acme", "", 14, call("bob", "triage", "crm", "find"), leased, failing, func(ev *eventsv1.Event) {
			ev.Credential.LeaseId = ""
			ev.Decision = &eventsv1.Decision{Effect: record.Block, Reason: faultv1.Reason_REASON_CREDENTIAL}
		}),
		Event("policy-1", "acme", "", 15, did("authz", "resource-applied", &eventsv1.Change{Kind: "Policy", Name: "tickets", Action: "updated", Version: 3, OldHash: "aa", NewHash: "bb"})),
		Event("role-1", "acme", "", 16, did("identity", "resource-applied", &eventsv1.Change{Kind: "Role", Name: "support", Action: "updated", Version: 2, OldHash: "cc", NewHash: "dd"}), granted),
		Event("drift-1", "acme", "", 17, did("trust", "definition-changed", &eventsv1.Change{Kind: "Tool", Name: "crm.find", Action: "changed", OldHash: "h1", NewHash: "h2"}), itself, alerting, at("crm", "find")),
		Event("kill-1", "acme", "", 18, did("trust", "kill", &eventsv1.Change{Kind: "agent", Name: "triage", Action: "killed", Reason: "it enumerates"}), alerting,
			trusted("agent:triage", "not-stopped", "stopped", "it enumerates")),
		Event("quarantine-1", "acme", "", 19, did("trust", "server-quarantined", &eventsv1.Change{Kind: "Server", Name: "crm", Action: "quarantined", Reason: "odd"}), at("crm", ""),
			trusted("server:crm", "approved", "quarantined", "odd")),
		Event("revoke-1", "acme", "", 21, did("credentials", record.CredentialRevoked, &eventsv1.Change{Kind: "Connection", Name: "crm", Action: "revoked", Reason: "the connection was deleted"}),
			at("crm", ""), func(ev *eventsv1.Event) { ev.Credential = &eventsv1.Credential{Connection: "crm"} }),
		Event("other", "globex", "gus", 21, decided(record.Block, "x/y", faultv1.Reason_REASON_RULE)),
	}
}

// platform is what is about the deployment itself, and about callers whom nobody knows.
func platform() []index.Record {
	knock := func(why faultv1.Reason, sentence string) func(ev *eventsv1.Event) {
		return func(ev *eventsv1.Event) {
			ev.Action, ev.Target, ev.Principal, ev.Outcome = "request", nil, nil, eventsv1.Outcome_OUTCOME_FAILURE
			ev.Source, ev.Request = &eventsv1.Source{Ip: "198.51.100.9"}, &eventsv1.Request{Method: "POST", Endpoint: "/mcp/tickets", HttpStatus: 401}
			ev.Decision = &eventsv1.Decision{Effect: record.Block, Reason: why, Sentence: sentence, Stage: "admit"}
		}
	}
	return []index.Record{
		Event("old-3", "system", "", -2*24*3600, did("edge", record.ServiceStarted, &eventsv1.Change{Kind: "Service", Name: "edge", Action: "started", NewHash: "c1"}), itself),
		Event("check-1", "system", "", 19, did("audit", record.LedgerCheck, nil), itself, alerting, failing, undecided, func(ev *eventsv1.Event) {
			ev.Findings = &eventsv1.Findings{Notes: []string{"record 7 of writer edge-1 is missing: it should stand before record 8"}}
		}),
		Event("start-1", "system", "", 20, did("edge", record.ServiceStarted, &eventsv1.Change{Kind: "Service", Name: "edge", Action: "started", NewHash: "c1"}), itself),
		Event("clock-1", "system", "", 21, did("edge", record.ClockStepped, &eventsv1.Change{Kind: "Clock", Name: "edge", Action: "stepped", Reason: "set back by 2s"}), itself, alerting),
		Event("key-1", "system", "", 16, did("identity", "key-rotated", &eventsv1.Change{Kind: "SigningKey", Name: "k2", Action: "created"})),
		Event("knock-1", "system", "", 22, knock(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token has expired. Sign in again.")),
		Event("knock-2", "system", "", 23, knock(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token was refused: another issuer made it. Sign in again.")),
		Event("flood-1", "system", "", 24, knock(faultv1.Reason_REASON_RATE_LIMITED, "41 more requests of this source were refused at the door."), func(ev *eventsv1.Event) {
			ev.Repeats = 41
		}),
	}
}

// Later is what the approval and scoring services will write, in the form that the schema gives them, so that the questions that wait for them can be tried.
func Later() []index.Record {
	answered := func(action, state, approver string, after time.Duration) func(ev *eventsv1.Event) {
		return func(ev *eventsv1.Event) {
			ev.Service, ev.Action, ev.Target, ev.Decision, ev.Outcome = "approvals", action, nil, nil, eventsv1.Outcome_OUTCOME_SUCCESS
			ev.Principal = &eventsv1.Principal{Person: approver}
			ev.Approval = &eventsv1.Approval{Id: "apr_" + ev.GetId(), State: state, Approver: approver, AskedAt: timestamppb.New(ev.GetTime().AsTime().Add(-after))}
		}
	}
	score := func(subject string, before, now float64) func(ev *eventsv1.Event) {
		return func(ev *eventsv1.Event) {
			ev.Service, ev.Action, ev.Target, ev.Decision, ev.Principal = "scoring", record.TrustMoved, nil, nil, record.Service("scoring")
			ev.Trust = &eventsv1.Trust{Subject: subject, Band: "low", PreviousBand: "high", Score: &now, PreviousScore: &before, Reasons: []string{"off hours"}}
		}
	}
	self := func(ev *eventsv1.Event) { ev.Approval.Self = true }
	return []index.Record{
		Event("granted-1", "acme", "", 30, answered(record.ApprovalGrant, record.ApprovalGranted, "sam", time.Second)),
		Event("granted-2", "acme", "", 31, answered(record.ApprovalGrant, record.ApprovalGranted, "tom", time.Minute)),
		Event("denied-1", "acme", "", 32, answered(record.ApprovalDenial, record.ApprovalDenied, "ana", 10*time.Minute), self),
		Event("expired-1", "acme", "", 33, answered(record.ApprovalExpiry, record.ApprovalExpired, "", 4*time.Hour), itself),
		Event("score-1", "acme", "", 34, score("agent:triage", 90, 35)),
		Event("score-2", "acme", "", 35, score("agent:helper", 50, 60)),
	}
}

// theDay asks what a search can answer of the questions; the rest counts and compares, which Elasticsearch does (deployments/elasticsearch/questions).
func theDay(t *testing.T, x index.Index) {
	add(t, x, Day()...)
	for name, c := range map[string]struct {
		tenant string
		set    func(q *index.Query)
		want   []string
	}{
		"01 is it on, and does the ledger hold":     {"system", func(q *index.Query) { q.Action = record.LedgerCheck }, []string{"check-1"}},
		"01 what is wrong with the record":          {"system", func(q *index.Query) { q.Alerts = true }, []string{"clock-1", "check-1"}},
		"02 what was refused":                       {"acme", func(q *index.Query) { q.Effect = record.Block }, []string{"lease-2", "sign-2", "limit-1", "stale-1", "rule-2", "rule-1"}},
		"03 what does this agent do":                {"acme", func(q *index.Query) { q.Agent, q.Server = "triage", "tickets" }, []string{"rule-2", "delete-1"}},
		"04 what was destructive":                   {"acme", func(q *index.Query) { q.Text = "destructive" }, []string{"rule-2", "delete-1"}},
		"05 which definitions changed":              {"acme", func(q *index.Query) { q.Action = "definition-changed" }, []string{"drift-1"}},
		"06 what is alarming":                       {"acme", func(q *index.Query) { q.Alerts = true }, []string{"kill-1", "drift-1", "stale-1", "rule-2"}},
		"06 what was quarantined":                   {"acme", func(q *index.Query) { q.Text = "approved quarantined" }, []string{"quarantine-1"}},
		"07 what waits for approval":                {"acme", func(q *index.Query) { q.Effect = record.Escalate }, []string{"waits-1"}},
		"08 which credentials were lent":            {"acme", func(q *index.Query) { q.Action = "credential-leased" }, []string{"lease-2", "lease-1"}},
		"08 which credentials ended":                {"acme", func(q *index.Query) { q.Action = record.CredentialRevoked }, []string{"revoke-1"}},
		"09 what was found in results":              {"acme", func(q *index.Query) { q.Text = "zero width space" }, []string{"read-2"}},
		"10 who signed in":                          {"acme", func(q *index.Query) { q.Action = record.SignIn }, []string{"sign-2", "sign-1"}},
		"10 who came without a token that is taken": {"system", func(q *index.Query) { q.Action = "request" }, []string{"flood-1", "knock-2", "knock-1"}},
		"11 what did administrators change":         {"acme", func(q *index.Query) { q.Action = "resource-applied" }, []string{"role-1", "policy-1"}},
		"11 who may close tickets, since when":      {"acme", func(q *index.Query) { q.Text = "given support tickets.close_ticket" }, []string{"role-1"}},
		"12 what timed out":                         {"acme", func(q *index.Query) { q.Text = "upstream-timeout" }, []string{"slow-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			q := All()
			q.Tenant = c.tenant
			c.set(&q)
			expect(t, x, q, c.want...)
		})
	}
}
