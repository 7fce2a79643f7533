package guard

import (
	"bytes"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Stages as the record names them.
const (
	stageAdmit    = "admit"
	stageParse    = "parse"
	stageResolve  = "resolve"
	stageValidate = "validate"
	stageDecide   = "decide"
	stageHold     = "hold"
	stageLease    = "lease"
	stageJournal  = "journal"
	stageForward  = "forward"
	stageInspect  = "inspect"
)

const (
	effectAllow    = "allow"
	effectBlock    = "block"
	effectEscalate = "escalate"
	effectModify   = "modify"
)

// Actions of the records that the edge writes.
const (
	actionCall    = "tool-call"
	actionList    = "tool-list"
	actionRequest = "request"
)

// Entry is the record of one request while it is made.
type Entry struct {
	id      string
	began   time.Time
	in      *Inbound
	event   eventsv1.Event
	parts   parts
	caller  *Caller
	msg     *mcp.Message
	version string
	modern  bool
	tool    *Tool
	// decision is what the rules said; judged is whether they were asked.
	decision policy.Decision
	judged   bool
	mode     journal.Mode
	stage    string
	streamed bool
}

// parts are the messages that most records have, in the entry's own memory.
type parts struct {
	source            eventsv1.Source
	request           eventsv1.Request
	principal         eventsv1.Principal
	target            eventsv1.Target
	decision          eventsv1.Decision
	arguments, result eventsv1.Payload
	credential        eventsv1.Credential
	began, ended      timestamppb.Timestamp
	started           eventsv1.Event
}

func newEntry(in *Inbound, id string, now time.Time) *Entry {
	e := &Entry{id: id, began: now, in: in}
	e.event.Action = actionRequest
	e.event.CallId = id
	source, request := &e.parts.source, &e.parts.request
	source.Ip, source.UserAgent = in.IP, clip(in.UserAgent, 512)
	request.Method, request.Endpoint = in.Verb, clip(in.Endpoint, 256)
	e.event.Source, e.event.Request = source, request
	e.trace(in.TraceParent)
	return e
}

// admitted takes the caller; nil when it is not known.
func (e *Entry) admitted(c *Caller) {
	if c == nil {
		return
	}
	e.caller = c
	e.event.Tenant = c.Tenant
	agent := c.Agent
	if agent == "" && c.ClientID != "" {
		agent = "client:" + c.ClientID
	}
	p := &e.parts.principal
	p.Person, p.Email, p.DisplayName, p.Roles = c.Person, c.Email, c.DisplayName, c.Principal.Roles
	p.Agent, p.ClientId, p.TokenId = agent, c.ClientID, c.TokenID
	e.event.Principal = p
}

func (e *Entry) parsed(msg *mcp.Message) {
	e.msg = msg
	e.event.Request.Method = clip(msg.Method, 128)
	e.event.Request.Id = clip(string(msg.ID), 256)
	switch msg.Method {
	case "tools/call":
		e.event.Action = actionCall
	case "tools/list":
		e.event.Action = actionList
	}
	e.says(Client{Name: msg.ClientName, Release: msg.ClientVersion})
	if msg.TraceParent != "" {
		e.trace(msg.TraceParent)
	}
}

// says keeps what the client says of itself.
func (e *Entry) says(c Client) {
	if e.event.Principal != nil && c.Name != "" {
		e.event.Principal.ClientName = clip(c.Name, 128)
		e.event.Principal.ClientVersion = clip(c.Release, 64)
	}
}

func (e *Entry) resolved(t *Tool) {
	e.tool = t
	target := &e.parts.target
	target.Server = e.in.Server
	if t == nil {
		target.Tool = clip(e.msg.Name, 256)
	} else {
		target.Server, target.Tool, target.DefinitionHash = t.Server.Name, t.Name, t.Hash
		target.Address, target.Labels = t.Server.Address, t.Labels
		e.mode = t.Server.Journal
	}
	e.event.Target = target
}

func (e *Entry) decided(d policy.Decision) {
	e.decision, e.judged = d, true
	e.event.Alert = d.Alert
	said := &e.parts.decision
	said.Id, said.Effect, said.Rule, said.Policy, said.PolicyVersion = d.ID, d.Effect, d.Rule, d.Policy, d.PolicyVersion
	said.Reason, said.Sentence, said.Via, said.Changed, said.Shadow = d.Reason, d.Sentence, d.Via, d.Changed, shadows(d.Rules)
	e.event.Decision = said
}

func shadows(rules []policy.RuleOutcome) []string {
	var names []string
	for _, r := range rules {
		if r.Shadow && r.Matched && r.Effect != effectAllow {
			names = append(names, r.Rule)
		}
	}
	return names
}

func (e *Entry) leased(l *Lease) {
	if l.ID != "" {
		credential := &e.parts.credential
		credential.Connection, credential.LeaseId = l.Connection, l.ID
		e.event.Credential = credential
	}
}

// trace takes the ids of a W3C traceparent: version, trace id, parent id, flags.
func (e *Entry) trace(parent string) {
	if len(parent) >= 55 && parent[2] == '-' && parent[35] == '-' && parent[52] == '-' && hex(parent[3:35]) && hex(parent[36:52]) {
		e.event.Trace = &eventsv1.Trace{TraceId: parent[3:35], SpanId: parent[36:52]}
	}
}

func hex(s string) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

// started writes what is about to happen.
func (g *Guard) started(e *Entry, server *Server) error {
	e.mode = server.Journal
	ev, known := &e.parts.started, &e.event
	ev.Action, ev.Phase, ev.Time = known.Action, eventsv1.Phase_PHASE_STARTED, stamp(&e.parts.began, e.began)
	ev.Tenant, ev.CallId, ev.Outcome = known.Tenant, e.id, eventsv1.Outcome_OUTCOME_UNKNOWN
	ev.Principal, ev.Source, ev.Request, ev.Target = known.Principal, known.Source, known.Request, known.Target
	ev.Decision, ev.Arguments, ev.Credential, ev.Trace = known.Decision, known.Arguments, known.Credential, known.Trace
	ev.Findings = known.Findings
	if err := g.Journal.Append(ev, e.mode); err != nil {
		return unjournaled(err)
	}
	return nil
}

// fingerprint names arguments without saying what they are.
func (g *Guard) fingerprint(e *Entry, arguments []byte) {
	e.parts.arguments.Hmac = g.Keys.Sum(e.caller.Tenant, arguments)
	e.parts.arguments.Bytes = int64(len(arguments))
	e.event.Arguments = &e.parts.arguments
}

// ran notes the arguments that the server gets. Where a rule changed them, a note keeps the fingerprint of those that were asked for.
func (g *Guard) ran(e *Entry, arguments []byte) {
	g.fingerprint(e, arguments)
	if e.decision.Effect == effectModify && !bytes.Equal(arguments, e.msg.Arguments) {
		findings := e.findings()
		findings.Notes = append(findings.Notes, "asked: "+g.Keys.Sum(e.caller.Tenant, e.msg.Arguments))
	}
}

func (e *Entry) findings() *eventsv1.Findings {
	if e.event.Findings == nil {
		e.event.Findings = &eventsv1.Findings{}
	}
	return e.event.Findings
}

func stamp(into *timestamppb.Timestamp, at time.Time) *timestamppb.Timestamp {
	into.Seconds, into.Nanos = at.Unix(), int32(at.Nanosecond())
	return into
}

// settle writes the final record, whatever the answer is. An answer whose record cannot be kept is not given.
func (g *Guard) settle(e *Entry, answer Answer, failure error) Answer {
	ev := &e.event
	ev.Phase = eventsv1.Phase_PHASE_FINAL
	now := g.Now()
	ev.Time = stamp(&e.parts.ended, now)
	ev.DurationNs = int64(now.Sub(e.began))
	ev.Request.ProtocolVersion = e.version
	ev.Request.HttpStatus = int32(answer.Status)
	if ev.Arguments == nil && e.msg != nil && e.caller != nil && e.msg.Arguments != nil {
		g.fingerprint(e, e.msg.Arguments)
	}
	ev.Outcome = eventsv1.Outcome_OUTCOME_SUCCESS
	if failure != nil || ev.GetResult().GetIsError() {
		ev.Outcome = eventsv1.Outcome_OUTCOME_FAILURE
	}
	e.conclude(failure)
	if err := g.Journal.Append(ev, e.mode); err != nil {
		g.Log.Error("final record not written", "call", e.id, "error", err)
		return g.refuse(e, unjournaled(err))
	}
	return answer
}

// conclude makes sure that the record says what was decided and why, in every case.
func (e *Entry) conclude(failure error) {
	d := e.event.Decision
	if d == nil {
		d = &eventsv1.Decision{Id: decisionID(e.id), Effect: effectAllow}
		e.event.Decision = d
	}
	if failure == nil {
		if d.GetSentence() == "" {
			d.Sentence = served(d)
		}
		return
	}
	why := fault.From(cause(failure))
	if !e.judged {
		d.Effect = effectBlock
	}
	d.Reason, d.Sentence, d.Stage = why.Reason, clip(why.Sentence, 1000), e.stage
}

func served(d *eventsv1.Decision) string {
	switch {
	case d.GetRule() != "":
		return "allowed by " + d.GetRule()
	case d.GetVia() != "":
		return "allowed by relation: " + d.GetVia()
	}
	return "served"
}

func decisionID(call string) string { return "dec_" + call }

func unjournaled(err error) error {
	return fault.New(faultv1.Reason_REASON_JOURNAL,
		"The call was refused because its audit record could not be written. Nothing ran unrecorded; tell your administrator.").Because(err)
}

// clip keeps what a client wrote short before it is kept.
func clip(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "?")
	}
	return strings.ToValidUTF8(s[:n], "?")
}
