package guard

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/record"
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

// actions of the records that the edge writes, by method. Of all others it is "request".
var actions = map[string]string{
	mcp.MethodToolsCall: "tool-call", mcp.MethodToolsList: "tool-list", mcp.MethodPromptsGet: "prompt-get", mcp.MethodPromptsList: "prompt-list",
	mcp.MethodResourceRead: "resource-read", mcp.MethodResourcesList: "resource-list", mcp.MethodTemplatesList: "resource-list",
	mcp.MethodComplete: "completion", mcp.MethodSubscribe: "subscribe", mcp.MethodUnsubscribe: "unsubscribe", mcp.MethodListen: "subscribe",
	mcp.MethodTaskGet: "task-get", mcp.MethodTasks: "task-get", mcp.MethodTaskUpdate: "task-update", mcp.MethodTaskCancel: "task-cancel",
	mcp.MethodTaskResult: "task-result",
}

const actionRequest = "request"

// unknown is the tenant of what is recorded before the caller is known.
const unknown = record.SystemTenant

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
	// own is the name that the server knows what is asked for by, subject what rules see as its arguments, offer what its client can be asked.
	own     string
	ownPath []string
	subject json.RawMessage
	offer   json.RawMessage
	// home is the edge that holds what the request is about; relayed says that it answered.
	home    string
	relayed bool
	// state and parked belong to a request that is made again; waits says that the answer asks for input.
	state  *state
	parked *parked
	waits  bool
	// tasked says that the server is asked for a task of 2025-11-25.
	tasked bool
	// unseen says that somebody else carries the call, so that nobody here knows how it ends.
	unseen bool
	left   string // the id under which its call waits from now on
	lease  *Lease
	copy   Copy // what is copied into the record; nil for nothing
	call   *call
	// renewed is the lease of a later round, with the secrets of those before; nil in the first.
	renewed *Lease
	// later are decisions since the call was decided first that take something out of the result.
	later []policy.Decision
	// takenOut are the pointers into the result that led to something that was taken out.
	takenOut []string
	// facts are what was read for the decision.
	facts []*eventsv1.Fact
	// mu guards log, findings, renewed, facts and later while several goroutines work for the request.
	mu sync.Mutex
	// log keeps what is streamed for a client that can take the stream up again; stream makes one.
	log    *eventLog
	stream func() *eventLog
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
	learner           learner
}

func newEntry(in *Inbound, id string, now time.Time) *Entry {
	e := &Entry{id: id, began: now, in: in}
	e.event.Action = actionRequest
	e.event.CallId, e.event.Tenant = id, unknown
	source, request := &e.parts.source, &e.parts.request
	source.Ip, source.UserAgent = in.IP, Clip(in.UserAgent)
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
	if action := actions[msg.Method]; action != "" {
		e.event.Action = action
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
		if e.msg.Method != mcp.MethodToolsCall {
			target.Resource = clip(e.msg.Name, 2048)
		}
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
	said.Matched, said.Failed = outcomes(d.Rules)
	said.Facts, said.Near = e.facts, d.Near
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

// mostOutcomes bounds what a record says of single rules.
const mostOutcomes = 32

// outcomes are the rules that matched and those that could not be judged. What matched and then could not be done is among the second.
func outcomes(rules []policy.RuleOutcome) (matched, failed []string) {
	for i := range rules {
		switch r := &rules[i]; {
		case r.Error != "" && len(failed) < mostOutcomes:
			failed = append(failed, r.Rule)
		case r.Error == "" && r.Matched && len(matched) < mostOutcomes:
			matched = append(matched, r.Rule)
		}
	}
	return matched, failed
}

func (e *Entry) leased(l *Lease) {
	e.lease = l
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

// startedAt writes what is about to happen at several servers, as safely as the one of them wants it that wants it most.
func (g *Guard) startedAt(e *Entry, servers []*Server) error {
	if len(servers) == 0 {
		return nil
	}
	e.stage = stageJournal
	if e.event.Target == nil {
		e.event.Target = &eventsv1.Target{Server: clip(e.in.Server, 63)}
	}
	if e.in.Server == "" {
		names := make([]string, len(servers))
		for i, s := range servers {
			names[i] = s.Name
		}
		findings := e.findings()
		findings.Notes = append(findings.Notes, clip("servers: "+strings.Join(names, ", "), 1000))
	}
	all := &Server{Journal: e.mode}
	for _, s := range servers {
		all.Journal = max(all.Journal, s.Journal)
	}
	if err := g.started(e, all); err != nil {
		return err
	}
	e.stage = stageForward
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
	if e.decision.Effect == effectModify && !bytes.Equal(arguments, e.subject) {
		findings := e.findings()
		findings.Notes = append(findings.Notes, "asked: "+g.Keys.Sum(e.caller.Tenant, e.subject))
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
	if g.counts(e, failure) {
		return answer
	}
	if err := g.final(e, answer, failure); err != nil {
		g.Log.Error("final record not written", "call", e.id, "error", err)
		g.drop(e)
		return g.refuse(e, unjournaled(err))
	}
	return answer
}

func (g *Guard) final(e *Entry, answer Answer, failure error) error {
	ev := &e.event
	ev.Phase = eventsv1.Phase_PHASE_FINAL
	now := g.Now()
	ev.Time = stamp(&e.parts.ended, now)
	ev.DurationNs = int64(now.Sub(e.began))
	ev.Request.ProtocolVersion = e.version
	ev.Request.HttpStatus = int32(answer.Status)
	if e.waits {
		findings := e.findings()
		findings.Notes = append(findings.Notes, "the call waits for its client's input")
	}
	if ev.Arguments == nil && e.msg != nil && e.caller != nil && e.msg.Arguments != nil {
		g.fingerprint(e, e.msg.Arguments)
		g.keepRefused(e)
	}
	ev.Outcome = eventsv1.Outcome_OUTCOME_SUCCESS
	if failure != nil || ev.GetResult().GetIsError() {
		ev.Outcome = eventsv1.Outcome_OUTCOME_FAILURE
	}
	if e.left != "" && failure == nil {
		ev.Outcome = eventsv1.Outcome_OUTCOME_UNKNOWN // how it ends is in the record of who takes it up, or of its end
	}
	if e.unseen && failure == nil {
		ev.Outcome = eventsv1.Outcome_OUTCOME_UNKNOWN
		findings := e.findings()
		findings.Notes = append(findings.Notes, "carried by another data plane, so how it ended is not known here")
	}
	e.conclude(failure)
	err := g.Journal.Append(ev, e.mode)
	if err != nil && e.withoutCopies() {
		err = g.Journal.Append(ev, e.mode) // what a journal keeps room for is the record of what happened, not copies of it
	}
	return err
}

// withoutCopies takes the copies of arguments and result out of the record; false when it has none. Their hashes stay.
func (e *Entry) withoutCopies() bool {
	had := false
	for _, p := range [...]*eventsv1.Payload{e.event.GetArguments(), e.event.GetResult()} {
		if p.GetDocument() != "" || p.GetSealed() != nil {
			had, p.Document, p.Sealed = true, "", nil
		}
	}
	for _, f := range e.event.GetDecision().GetFacts() {
		if f.GetValue().GetDocument() != "" {
			had, f.Value.Document = true, ""
		}
	}
	if had {
		findings := e.findings()
		findings.Notes = append(findings.Notes, "the journal had no room for the copies that the record should hold")
	}
	return had
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
	if !e.judged || e.stopped() {
		d.Effect = effectBlock
	}
	d.Reason, d.Sentence, d.Stage, d.Hidden = why.Reason, clip(why.Sentence, 1000), e.stage, hidden(failure)
	e.event.Alert = e.event.Alert || record.Alarming(why.Reason)
	if d.GetEffect() == effectEscalate {
		e.event.Approval = e.asked()
	}
}

// asked is the question to a person that a rule makes of the call.
func (e *Entry) asked() *eventsv1.Approval {
	question := &eventsv1.Approval{
		Id: "apr_" + e.id, State: record.ApprovalAsked, AskedAt: e.event.GetTime(), ArgumentsHmac: e.event.GetArguments().GetHmac(),
	}
	for _, a := range e.decision.Approvals {
		question.Approvers = append(question.Approvers, a.GetBy())
	}
	return question
}

// stopped reports whether the rules let it through and a later stage did not, before anything happened.
func (e *Entry) stopped() bool {
	happened := e.stage == stageForward || e.stage == stageInspect
	return e.judged && !happened && (e.decision.Effect == effectAllow || e.decision.Effect == effectModify)
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

// Clip is what is kept, and told to other edges, of a User-Agent.
func Clip(userAgent string) string { return clip(userAgent, 512) }

// clip keeps what a client wrote short before it is kept.
func clip(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "?")
	}
	return strings.ToValidUTF8(s[:n], "?")
}
