package guard

import (
	"bytes"
	"context"
	"encoding/json"

	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/secret/forms"
)

// anew decides once more about a call under way, before its server gets what its client said meanwhile: the call goes on as it was made, or not at all.
// A question may be open for minutes.
func (g *Guard) anew(ctx context.Context, in *Inbound, e *Entry, arguments json.RawMessage) error {
	if err := g.still(ctx, in, e.caller, e.tool); err != nil {
		return err
	}
	if e.ofTask() {
		ref, _ := g.taskOf(e.caller, e.msg.Name)
		_, d, err := g.taskable(ctx, in, e.caller, ref, e.id)
		e.redactsToo(d)
		return err
	}
	c, err := g.Admitter.Current(in, e.caller)
	if err != nil {
		return err
	}
	d, err := g.Decider.Decide(ctx, in.question(Question{Caller: c, Tool: e.tool, Arguments: e.subject, At: g.Now(), CallID: e.id, Again: true}))
	if err == nil {
		err = against(d)
	}
	if err != nil {
		return err
	}
	wanted := e.subject
	if d.Effect == effectModify {
		wanted = d.Arguments
	}
	if !alike(arguments, wanted) {
		return overtaken(d)
	}
	e.redactsToo(d)
	return nil
}

// redactsToo notes what a later decision about the call takes out of its result.
func (e *Entry) redactsToo(d policy.Decision) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(d.Redact) > 0 {
		e.later = append(e.later, d)
	}
}

// alike reports whether two documents say the same, however they are written.
func alike(one, other json.RawMessage) bool {
	if bytes.Equal(one, other) {
		return true
	}
	a, err := mcp.Canonical(one)
	b, also := mcp.Canonical(other)
	return err == nil && also == nil && bytes.Equal(a, b)
}

// renew lends a call a credential for its next round. What comes back is looked through for all that it was made with.
func (g *Guard) renew(ctx context.Context, e *Entry, ex *Exchange) error {
	lease, err := g.Lender.Lease(ctx, LeaseRequest{Caller: e.caller, Server: ex.Server, Tool: e.tool.Name, CallID: e.id})
	if err != nil {
		return err
	}
	e.leased(lease)
	if lease != ex.Lease {
		all := *lease
		all.Forms = forms.Union(lease.Forms, ex.Lease.Forms)
		lease = &all
	}
	e.mu.Lock()
	e.renewed = lease
	e.mu.Unlock()
	ex.Lease = lease
	return nil
}

// newest is the credential of the last round of a call, with the secrets of those before; the one that it began with while there is no other.
func (e *Entry) newest(first *Lease) *Lease {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.renewed != nil {
		return e.renewed
	}
	return first
}
