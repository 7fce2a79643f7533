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
	memo    memo
	tool    toolView
	request requestView
	args    lazy
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
	c := &call{req: req}
	c.tool.req, c.request.req = req, req
	return c
}

// read gives the annotations or the error why not; a field's getter tells them apart.
func (t *toolView) read() any {
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
		return &c.req.Principal, true
	case varArgs:
		if c.req.Decoded != nil {
			return c.req.Decoded, true
		}
		object, err := c.args.object(c.req.Args, "the arguments")
		if err != nil {
			return types.WrapErr(err), true
		}
		return object, true
	case varFacts:
		return c.facts, true
	case varAgent:
		return &c.req.Agent, true
	case varServer:
		return &c.req.Server, true
	case varTool:
		return &c.tool, true
	case varRequest:
		return &c.request, true
	case varMemo:
		return &c.memo, true
	case varTrust:
		if c.req.Trust == nil {
			return types.NewErr("what is known of the server's trust is not there for this call"), true
		}
		return c.req.Trust, true
	case varTaint:
		if c.req.Taint == nil {
			return types.NewErr("the conversation's taint is not known for this call"), true
		}
		return c.req.Taint, true
	}
	return nil, false
}

// Parent is nil: there is nothing around a call.
func (c *call) Parent() cel.Activation { return nil }
