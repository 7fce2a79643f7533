package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/ast"

	"headgate.dev/libs/fault"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// The members of trust.
const (
	trustStanding   = "standing"
	trustDefinition = "definition"
	trustApprovedBy = "approvedBy"
	trustApprovedAt = "approvedAt"
	trustTransport  = "transport"
	trustPinned     = "pinned"
)

// told is what of the world around a call some service tells the edge and authz. This is the one place where what comes later is switched on: the
// member's name here, and its value in TrustOf; the conversation's labels with taint.
type told struct {
	trust []string
	taint bool
}

func provided() told {
	return told{trust: []string{trustApprovedAt, trustApprovedBy, trustDefinition, trustPinned, trustStanding, trustTransport}, taint: false}
}

// TrustOf is trust as rules see it: what is known of a server, and of one of its tools where d is not nil. Both places that decide ask this function. What it
// answers may be shared and must not be changed.
func TrustOf(state *trustv1.ServerState, d *trustv1.Definition) map[string]any {
	spec := state.GetServer().GetSpec()
	out := map[string]any{
		trustStanding:   word(state.GetStanding().String(), "STANDING_"),
		trustDefinition: "none", // a method of the protocol has none, and so has a tool that nobody has seen
		trustTransport:  "stdio",
		trustPinned:     spec.GetCa() != "" || len(spec.GetPins()) > 0,
	}
	if scheme, _, ok := strings.Cut(spec.GetUrl(), "://"); ok {
		out[trustTransport] = scheme
	}
	if d == nil {
		return out
	}
	out[trustDefinition] = word(d.GetState().String(), "DEFINITION_STATE_")
	if d.GetApprovedBy() != "" {
		out[trustApprovedBy] = d.GetApprovedBy()
	}
	if d.GetApprovedAt() != nil {
		out[trustApprovedAt] = d.GetApprovedAt().AsTime().Format(time.RFC3339)
	}
	return out
}

func word(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

// LabelsOf are the labels of a tool as rules see them: its server's and its own, each once, in order.
func LabelsOf(spec *trustv1.ServerSpec, d *trustv1.Definition) []string {
	labels := slices.Concat(spec.GetLabels(), spec.GetToolLabels()[d.GetName()].GetLabels(), d.GetLabels())
	slices.Sort(labels)
	return slices.Compact(labels)
}

// CheckProvided refuses a policy that reads what no service tells of yet. Such a rule cannot be judged, so it would block every call that it is about, while
// its tests, which bring the value along, pass.
func CheckProvided(p *authzv1.Policy) error {
	c := Compiled{source: p, name: p.GetMetadata().GetName()}
	return c.eachExpression(provided().missing)
}

// missing finds the first place that reads what nobody tells of.
func (k told) missing(parsed *ast.AST) *placed {
	i := inspector{info: parsed.SourceInfo()}
	named := map[int64]bool{} // where trust is read by the name of a member
	member := func(at, of ast.Expr, name string) {
		named[of.ID()] = true
		if slices.Contains(k.trust, name) {
			return
		}
		i.fail(at, fmt.Sprintf("no service tells of trust.%s yet, so the rule could never be judged and would block every call; there are %s", name, strings.Join(k.trust, ", ")))
	}
	ast.PreOrderVisit(parsed.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			if of := e.AsSelect().Operand(); isIdent(of, varTrust) {
				member(e, of, e.AsSelect().FieldName())
			}
		case ast.CallKind:
			if of, name, ok := memberByText(e.AsCall()); ok && isIdent(of, varTrust) {
				member(e, of, name)
			}
		case ast.IdentKind:
			switch {
			case isIdent(e, varTrust) && !named[e.ID()]:
				i.fail(e, "trust is read by the name of a member, as in trust.standing")
			case isIdent(e, varTaint) && !k.taint:
				i.fail(e, "no service tells of taint yet, so the rule could never be judged and would block every call")
			}
		}
	}))
	return i.problem
}

func isIdent(e ast.Expr, name string) bool { return e.Kind() == ast.IdentKind && e.AsIdent() == name }

// memberByText reads of["name"] and "name" in of.
func memberByText(call ast.CallExpr) (of ast.Expr, name string, ok bool) {
	if len(call.Args()) != 2 {
		return nil, "", false
	}
	switch call.FunctionName() {
	case "_[_]":
		name, ok = constant(call.Args()[1])
		return call.Args()[0], name, ok
	case "@in":
		name, ok = constant(call.Args()[0])
		return call.Args()[1], name, ok
	}
	return nil, "", false
}

// eachExpression shows every expression of a policy to look, until it finds something, and says in which part that is. What does not parse is left out:
// Compile refuses it.
func (c *Compiled) eachExpression(look func(*ast.AST) *placed) error {
	env, err := environment()
	if err != nil {
		return fault.From(err)
	}
	wrong := func(text string) *placed {
		parsed, issues := env.Parse(text)
		if issues.Err() != nil {
			return nil
		}
		return look(parsed.NativeRep())
	}
	spec := c.source.GetSpec()
	for _, r := range spec.GetRules() {
		if at := wrong(r.GetWhen()); at != nil {
			return c.invalid(r.GetName(), at.line, at.column, at.problem)
		}
	}
	for name, f := range ordered(spec.GetFacts()) {
		for arg, text := range ordered(f.GetArgs()) {
			if at := wrong(text); at != nil {
				return c.invalidPart("fact", name, "args."+arg+": "+at.Error())
			}
		}
	}
	for name, counted := range ordered(spec.GetCounters()) {
		if at := wrong(counted.GetOf()); at != nil {
			return c.invalidPart("counter", name, "of: "+at.Error())
		}
	}
	return nil
}
