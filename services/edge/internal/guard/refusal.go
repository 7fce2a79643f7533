package guard

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Refusal is a fault with what the protocol adds to it. Stages return one where the HTTP answer is more than the reason says by itself.
type Refusal struct {
	Fault *fault.Error
	// Hidden refusals answer as if the tool were not there.
	Hidden     bool
	Status     int
	Challenge  string
	Allow      string
	RetryAfter time.Duration
	approvals  []*authzv1.Approval
	stepUp     *authzv1.StepUp
}

// Error is the sentence of the fault.
func (r *Refusal) Error() string { return r.Fault.Sentence }

// Unwrap gives the fault.
func (r *Refusal) Unwrap() error { return r.Fault }

// Invisible makes a refusal that looks like an unknown tool to the caller. The sentence is for the record.
func Invisible(reason faultv1.Reason, format string, args ...any) error {
	return &Refusal{Fault: fault.New(reason, format, args...), Hidden: true}
}

// hidden reports whether a refusal looks to the caller as if there were nothing.
func hidden(err error) bool {
	var known *Refusal
	return errors.As(err, &known) && known.Hidden
}

// AtHTTP makes a refusal with an HTTP status of its own.
func AtHTTP(status int, reason faultv1.Reason, format string, args ...any) *Refusal {
	return &Refusal{Fault: fault.New(reason, format, args...), Status: status}
}

// against is the refusal that a decision stands for; nil where the rules let something pass, changed or not.
func against(d policy.Decision) error {
	switch d.Effect {
	case effectAllow, effectModify:
		return nil
	case effectEscalate:
		return held(d)
	}
	return blocked(d)
}

func held(d policy.Decision) error {
	sentence := d.Sentence + " No approver is configured here yet, so the call was not made; ask an administrator, or make a call that needs no approval."
	return &Refusal{Fault: &fault.Error{Reason: faultv1.Reason_REASON_APPROVAL_REQUIRED, Sentence: sentence}, approvals: d.Approvals}
}

// redacted takes leased secrets out of an error that an upstream had a part in.
func (g *Guard) redacted(err error, lease *Lease) error {
	var known *fault.Error
	if !errors.As(err, &known) {
		return err
	}
	return fault.New(known.Reason, "%s", g.Inspector.Text(known.Sentence, lease)).Because(errors.Unwrap(known))
}

// cause turns what the protocol library refuses into a fault, for the record.
func cause(err error) error {
	if wire := onWire(err); wire != nil {
		return &fault.Error{Reason: wire.Reason, Sentence: wire.Message}
	}
	return err
}

// onWire answers the protocol's own refusal of the client's message. One that is only the cause of a fault was about another message.
func onWire(err error) *mcp.Error {
	var known *fault.Error
	var wire *mcp.Error
	if errors.As(err, &known) || !errors.As(err, &wire) {
		return nil
	}
	return wire
}

// refuse makes the answer to a refused request, in the terms of the method and the era.
func (g *Guard) refuse(e *Entry, err error) Answer {
	if wire := onWire(err); wire != nil {
		return e.answer(wire.HTTPStatus, e.wireError(wire))
	}
	why := fault.From(err)
	if why.Reason == faultv1.Reason_REASON_INTERNAL {
		g.Log.Error("call failed inside", "call", e.id, "stage", e.stage, "error", errors.Unwrap(why))
	}
	var known *Refusal
	if !errors.As(err, &known) {
		known = &Refusal{Fault: why}
	}
	switch {
	case known.stepUp != nil && e.msg != nil && e.msg.Kind == mcp.Request:
		return e.stepUp(g.Admitter.Metadata(e.in), known)
	case known.Status != 0:
		return e.atHTTP(known)
	case e.msg == nil:
		return e.atHTTP(&Refusal{Fault: why, Status: statusOf(why.Reason)})
	case known.Hidden:
		return e.answer(http.StatusOK, e.reply(e.notThere()))
	case e.msg.Kind != mcp.Request:
		return e.answer(statusOf(why.Reason), nil)
	case e.msg.Method == mcp.MethodToolsCall:
		return e.answer(http.StatusOK, e.reply(mcp.Result(e.msg.ID, e.failedResult(known))))
	default:
		data := json.RawMessage(`{"` + mcp.MetaDecision + `":` + string(e.decisionJSON(known)) + `}`)
		return e.answer(http.StatusOK, e.reply(mcp.ErrorReply(e.msg.ID, codeOf(why.Reason), why.Sentence, data)))
	}
}

// notThere is the answer for what does not exist, and for what looks so to this caller.
func (e *Entry) notThere() []byte {
	switch e.msg.Method {
	case mcp.MethodResourceRead, mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		code := mcp.CodeResourceNotFound
		if e.modern {
			code = mcp.CodeInvalidParams
		}
		return mcp.ErrorReply(e.msg.ID, code, "Resource not found", map[string]string{"uri": e.msg.Name})
	case mcp.MethodPromptsGet, mcp.MethodComplete:
		return mcp.ErrorReply(e.msg.ID, mcp.CodeInvalidParams, "Unknown prompt: "+e.msg.Name, nil)
	}
	return mcp.ErrorReply(e.msg.ID, mcp.CodeInvalidParams, "Unknown tool: "+e.msg.Name, nil)
}

func (e *Entry) wireError(wire *mcp.Error) []byte {
	e.event.Request.ErrorCode = int32(wire.Code)
	var id json.RawMessage
	if e.msg != nil {
		id = e.msg.ID
	}
	return wire.Reply(id)
}

// atHTTP answers before there is a message to answer: the status says it, the body repeats it.
func (e *Entry) atHTTP(r *Refusal) Answer {
	var id json.RawMessage
	if e.msg != nil && e.msg.Kind != mcp.Response { // whose id is that of a request to the client, and perhaps also of one of the client's own
		id = e.msg.ID
	}
	e.event.Request.ErrorCode = mcp.CodeInvalidRequest
	if e.msg != nil && e.msg.Kind == mcp.Response && e.in.Batched { // the array has answers to requests alone
		return Answer{Status: r.Status, Challenge: r.Challenge, Allow: r.Allow, RetryAfter: r.RetryAfter}
	}
	body := mcp.ErrorReply(id, mcp.CodeInvalidRequest, r.Fault.Sentence, json.RawMessage(`{"reason":"`+fault.Code(r.Fault.Reason)+`"}`))
	return Answer{Status: r.Status, Body: body, Challenge: r.Challenge, Allow: r.Allow, RetryAfter: r.RetryAfter}
}

func (e *Entry) answer(status int, body []byte) Answer { return Answer{Status: status, Body: body} }

// reply notes the error code of an error that is answered, if it is one.
func (e *Entry) reply(body []byte) []byte {
	if code := mcp.Get(body, "error", "code"); code != nil {
		if n, err := strconv.ParseInt(string(code), 10, 32); err == nil {
			e.event.Request.ErrorCode = int32(n)
		}
	}
	return body
}

// failedResult is a tool result that says what was refused, by which rule, and what to do.
func (e *Entry) failedResult(r *Refusal) json.RawMessage {
	out := make([]byte, 0, 256+len(r.Fault.Sentence))
	out = append(out, `{"content":[{"type":"text","text":`...)
	out = append(out, quote(r.Fault.Sentence)...)
	out = append(out, `}],"isError":true,"_meta":{"`+mcp.MetaDecision+`":`...)
	out = append(out, e.decisionJSON(r)...)
	out = append(out, '}')
	if e.modern {
		out = append(out, `,"resultType":"complete"`...)
	}
	return append(out, '}')
}

// decisionJSON is the object that every refusal carries, and every call that a rule changed.
func (e *Entry) decisionJSON(r *Refusal) []byte {
	d := struct {
		ID        string           `json:"id"`
		Effect    string           `json:"effect"`
		Rule      string           `json:"rule"`
		Reason    string           `json:"reason"`
		Changed   []string         `json:"changed,omitempty"`
		Redacted  []string         `json:"redacted,omitempty"`
		Approval  *approvalInWord  `json:"approval,omitempty"`
		Approvals []approvalInWord `json:"approvals,omitempty"`
		StepUp    *stepUpInWord    `json:"stepUp,omitempty"`
	}{ID: decisionID(e.id), Effect: effectBlock}
	if e.judged {
		d.ID, d.Effect, d.Rule, d.Changed, d.Redacted = e.decision.ID, e.decision.Effect, e.decision.Rule, e.decision.Changed, e.takenOut
	}
	if r == nil {
		d.Reason = fault.Code(e.decision.Reason)
		if e.decision.Reason == faultv1.Reason_REASON_UNSPECIFIED {
			d.Reason = fault.Code(faultv1.Reason_REASON_RULE)
		}
	} else {
		d.Reason, d.Redacted = fault.Code(r.Fault.Reason), nil // there is no result that something is missing from
		for _, a := range r.approvals {
			d.Approvals = append(d.Approvals, approvalInWord{By: a.GetBy(), Quorum: max(1, a.GetQuorum()), Expires: a.GetExpires()})
		}
		if len(d.Approvals) > 0 {
			d.Approval = &d.Approvals[0]
		}
		d.StepUp = stepUpWord(r.stepUp)
		if e.stopped() {
			d.Effect = effectBlock
		}
	}
	out, err := json.Marshal(d)
	if err != nil {
		return []byte("{}")
	}
	return out
}

type approvalInWord struct {
	By      string `json:"by"`
	Quorum  int32  `json:"quorum"`
	Expires string `json:"expires,omitempty"`
}

func statusOf(reason faultv1.Reason) int {
	switch reason {
	case faultv1.Reason_REASON_UNAUTHENTICATED:
		return http.StatusUnauthorized
	case faultv1.Reason_REASON_NOT_FOUND:
		return http.StatusNotFound
	case faultv1.Reason_REASON_TOO_LARGE:
		return http.StatusRequestEntityTooLarge
	case faultv1.Reason_REASON_RATE_LIMITED:
		return http.StatusTooManyRequests
	case faultv1.Reason_REASON_FORBIDDEN_ORIGIN, faultv1.Reason_REASON_KILLED:
		return http.StatusForbidden
	case faultv1.Reason_REASON_STALE, faultv1.Reason_REASON_JOURNAL, faultv1.Reason_REASON_UNAVAILABLE, faultv1.Reason_REASON_CLOCK,
		faultv1.Reason_REASON_RELATION_UNAVAILABLE:
		return http.StatusServiceUnavailable
	case faultv1.Reason_REASON_INTERNAL:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// codeOf is the JSON-RPC code of a refusal that is no tool result. Headgate's own codes lie outside the ranges of JSON-RPC and MCP.
func codeOf(reason faultv1.Reason) int {
	switch reason {
	case faultv1.Reason_REASON_INVALID:
		return mcp.CodeInvalidParams
	case faultv1.Reason_REASON_METHOD:
		return mcp.CodeMethodNotFound
	case faultv1.Reason_REASON_INTERNAL:
		return mcp.CodeInternal
	}
	return CodeRefused
}

// CodeRefused is the JSON-RPC error code of a request that Headgate refuses by its own rules.
const CodeRefused = -31000

func quote(s string) []byte {
	out, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`)
	}
	return out
}
