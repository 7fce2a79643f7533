package policy

import (
	"encoding/json"
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// call is one request under evaluation: what its rules see. It is used by one goroutine.
type call struct {
	req     *Request
	facts   map[string]any // of the policy whose rule runs
	sums    map[string]any // the counters of that policy
	memo    memo
	tool    toolView
	request requestView
	session sessionView
	// principal and server remember what rules read of them: most rules of a call read the same.
	principal principalView
	server    serverView
	args      lazy
}

// toolView and requestView are the parts of a call as rules see them.
type toolView struct {
	req         *Request
	annotations lazy
}

type requestView struct{ req *Request }

// lazy is an object that is decoded when the first rule asks for it, once.
type lazy struct {
	done  bool
	value map[string]any
	err   error
}

func (l *lazy) object(raw json.RawMessage, what string) (map[string]any, error) {
	if l.done {
		return l.value, l.err
	}
	l.done = true
	l.value, l.err = decodeMembers(raw, what)
	return l.value, l.err
}

func decodeMembers(raw json.RawMessage, what string) (map[string]any, error) {
	if len(raw) == 0 {
		return map[string]any{}, nil
	}
	v, err := Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", what, err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s are not an object", what)
	}
	return object, nil
}

func newCall(req *Request) *call {
	c := &call{}
	c.start(req)
	return c
}

func (c *call) start(req *Request) {
	c.req, c.memo.req = req, req
	c.tool.req, c.request.req, c.session.req, c.principal.req, c.server.req = req, req, req, req, req
}

// read gives the annotations or the error why not; a field's getter tells them apart.
func (t *toolView) read() any {
	if t.req.Tool.Annotations == nil && t.req.miss() {
		return errUnrecorded
	}
	object, err := t.annotations.object(t.req.Tool.Annotations, "the tool's annotations")
	if err != nil {
		return err
	}
	return object
}

// ResolveName gives CEL the value of a variable. An error value makes the rule that uses it an error.
func (c *call) ResolveName(name string) (any, bool) {
	switch name {
	case varPrincipal:
		return &c.principal, true
	case varArgs:
		if c.req.Decoded != nil {
			return c.req.Decoded, true
		}
		if c.req.gaps != nil && c.req.gaps.arguments {
			c.req.gaps.missed = true
			return types.WrapErr(errUnrecorded), true
		}
		object, err := c.args.object(c.req.Args, "the arguments")
		if err != nil {
			return types.WrapErr(err), true
		}
		return object, true
	case varFacts:
		return c.facts, true
	case varCounters:
		c.req.miss()
		return c.sums, true
	case varAgent:
		return &c.req.Agent, true
	case varServer:
		return &c.server, true
	case varTool:
		return &c.tool, true
	case varRequest:
		return &c.request, true
	case varSession:
		return c.circumstance(&c.session), true
	case varDevice:
		return c.circumstance(&c.req.Device), true
	case varPurpose:
		if c.req.Purpose == "" {
			return c.circumstance(types.NullValue), true
		}
		return c.req.Purpose, true
	case varMemo:
		return &c.memo, true
	case varTrust:
		if c.req.Trust == nil {
			c.req.miss()
			return types.NewErr("what is known of the server's trust is not there for this call"), true
		}
		return c.req.Trust, true
	case varTaint:
		if c.req.Taint == nil {
			c.req.miss()
			return types.NewErr("the conversation's taint is not known for this call"), true
		}
		return c.req.Taint, true
	}
	return nil, false
}

// circumstance is a value, or the error of a rule that reads what the record does not hold.
func (c *call) circumstance(value any) any {
	if c.req.miss() {
		return types.WrapErr(errUnrecorded)
	}
	return value
}

// Parent is nil: there is nothing around a call.
func (c *call) Parent() cel.Activation { return nil }
