package guard

import (
	"context"
	"net/http"
	"slices"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Verdict is what another data plane, which carries a request by itself, does with it.
type Verdict struct {
	// Allowed requests go to the server, with the credential in Headers in the place of the caller's token.
	Allowed bool
	Headers []LeasedHeader
	// Answer is what the client gets of one that is not allowed.
	Answer Answer
}

// passing are the requests that a relation to their server is enough for: they say who is there and what there is, and change nothing outside a session.
// Such a data plane shows lists as the server gives them; what is in them is decided when it is used.
var passing = []string{
	mcp.MethodInitialize, mcp.MethodDiscover, mcp.MethodPing, mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodResourcesList, mcp.MethodTemplatesList,
	mcp.MethodSetLevel,
}

// Judge decides a request that somebody else will carry, whose Headers hold no session id: the stages of Call up to the record. What is recorded before it
// is allowed is all that is known of it here. What needs Headgate in the middle is refused: arguments that a rule changes, batches, streams that servers speak on.
// One that goes to several servers is given once for each. It is carried to all or to none, and the record of each says which.
func (g *Guard) Judge(ctx context.Context, requests ...*Inbound) Verdict {
	entries, verdict := make([]*Entry, 0, len(requests)), Verdict{}
	for _, in := range requests {
		in.Session, in.Send, in.Pause = "", nil, nil // sessions are between the client and the server
		e := g.open(in)
		lease, err := g.judge(ctx, in, e)
		if err != nil {
			for _, other := range entries {
				g.withheld(other, e)
			}
			return Verdict{Answer: g.settle(e, g.refuse(e, err), err)}
		}
		entries, verdict.Headers = append(entries, e), lease.Headers
	}
	passed := Answer{Status: http.StatusOK}
	for i, e := range entries {
		e.unseen = true
		if answer := g.settle(e, passed, nil); answer.Status != passed.Status || answer.Body != nil { // it could not be recorded
			for _, other := range entries[i+1:] {
				g.withheld(other, e)
			}
			return Verdict{Answer: answer}
		}
	}
	verdict.Allowed = len(entries) > 0
	return verdict
}

// withheld records that a request that one server would have got is carried to none, because of what became of it for another.
func (g *Guard) withheld(e, because *Entry) {
	err := fault.New(faultv1.Reason_REASON_CANCELLED, "The message goes to several servers and was refused for %s (call %s), so it was carried to none.",
		because.in.Server, because.id)
	g.settle(e, g.refuse(e, err), err)
}

func (g *Guard) judge(ctx context.Context, in *Inbound, e *Entry) (*Lease, error) {
	e.stage = stageAdmit
	caller, err := g.Admitter.Admit(in)
	e.admitted(caller)
	if err != nil {
		return nil, err
	}
	if in.Verb != http.MethodPost || batched(in) {
		return nil, AtHTTP(http.StatusMethodNotAllowed, faultv1.Reason_REASON_METHOD, "Behind this data plane the endpoint takes single messages with POST: "+
			"nobody there would look at what a server says by itself. Use Headgate's own endpoint for the rest.")
	}
	e.stage = stageParse
	if err := g.parse(in, e); err != nil {
		return nil, err
	}
	e.stage = stageResolve
	if err := g.Replicas.Fresh(); err != nil {
		return nil, err
	}
	tool, err := g.judged(ctx, in, e)
	if err != nil {
		return nil, err
	}
	e.stage = stageLease
	lease, err := g.Lender.Lease(ctx, LeaseRequest{Caller: caller, Server: tool.Server, Tool: tool.Name, CallID: e.id})
	if err != nil {
		return nil, err
	}
	e.leased(lease)
	if tool.Name != "" {
		if err := g.still(ctx, in, caller, tool); err != nil {
			return nil, err
		}
	}
	e.stage = stageJournal
	return lease, g.started(e, tool.Server)
}

// judged resolves and decides what a request is about. It answers a tool without a name where a relation to the server is enough.
func (g *Guard) judged(ctx context.Context, in *Inbound, e *Entry) (*Tool, error) {
	switch e.msg.Method {
	case mcp.MethodToolsCall:
		tool, err := g.resolve(ctx, in, e)
		if err != nil {
			return nil, err
		}
		return tool, g.asSent(ctx, in, e, tool, e.msg.Arguments)
	case mcp.MethodPromptsGet, mcp.MethodResourceRead, mcp.MethodComplete:
		tool, err := g.find(ctx, in, e)
		if err != nil {
			return nil, err
		}
		document, err := e.document()
		if err != nil {
			return nil, err
		}
		return tool, g.asSent(ctx, in, e, tool, document)
	}
	if e.msg.Kind == mcp.Request && !slices.Contains(passing, e.msg.Method) {
		return nil, e.unknownMethod()
	}
	servers, err := g.Catalogue.Servers(ctx, e.caller, in.Server)
	if err != nil {
		return nil, err
	}
	if in.Server == "" || len(servers) != 1 {
		return nil, AtHTTP(http.StatusNotFound, faultv1.Reason_REASON_NOT_FOUND, "There is no server here that you may use. Ask your administrator for access to it.")
	}
	return &Tool{Server: servers[0]}, nil
}

// asSent decides what can only be sent as it came.
func (g *Guard) asSent(ctx context.Context, in *Inbound, e *Entry, tool *Tool, subject []byte) error {
	arguments, err := g.approve(ctx, in, e, tool, subject)
	if err != nil {
		return err
	}
	g.ran(e, arguments)
	if e.decision.Effect == effectModify {
		return fault.New(faultv1.Reason_REASON_RULE, "The rule %s changes this call, which the data plane in front of this server cannot do. "+
			"Make the call at Headgate's own endpoint, or make it as the rule would have it.", e.decision.Rule)
	}
	return nil
}
