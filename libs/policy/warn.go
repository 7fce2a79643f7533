package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// Surroundings are what a policy of one tenant is held against for Warnings.
type Surroundings struct {
	// Roles, Groups and People are those of the directory.
	Roles, Groups, People []string
	// Approvers counts the people who are in a group or hold a role today, by kind and name; false where that is not known. It may be nil.
	Approvers func(kind, name string) (int, bool)
	// Knows refuses a relation that objects of its kind do not have in the tenant's model, as ticket:T-1 and owner. It may be nil.
	Knows func(object, relation string) error
	// Servers are those that are declared, each with its approved tools; none where nothing of it is approved yet.
	Servers map[string]map[string]Definition
	// InForce are the policies in force.
	InForce []*authzv1.Policy
}

// Warnings names what is allowed in policies of one tenant and is probably a mistake: by itself, by what they speak of and is not there, and because of other
// policies.
func Warnings(fresh []*Compiled, around Surroundings) []*authzv1.Warning {
	var out []*authzv1.Warning
	declared := make([]*authzv1.Policy, len(fresh))
	for i, c := range fresh {
		p := c.Source()
		declared[i] = p
		meta := p.GetMetadata()
		for _, sentence := range slices.Concat(c.Lint(), around.strangers(p), around.relations(c), around.places(p)) {
			out = append(out, &authzv1.Warning{Tenant: meta.GetTenant(), Policy: meta.GetName(), Sentence: sentence})
		}
	}
	for _, sentence := range Conflicts(declared, around.InForce) {
		out = append(out, &authzv1.Warning{Tenant: fresh[0].Tenant(), Sentence: sentence})
	}
	return out
}

// strangers are the roles, and the approvers, that nobody knows.
func (s *Surroundings) strangers(p *authzv1.Policy) []string {
	found := append(UnknownRoles(p, s.Roles), UnknownGroups(p, s.Groups)...)
	for _, r := range p.GetSpec().GetRules() {
		kind, name, _ := strings.Cut(r.GetApproval().GetBy(), ":")
		if kind == "person" && !slices.Contains(s.People, name) {
			found = append(found, fmt.Sprintf("Rule %s: %s.", r.GetName(), unknownName(kind, name, s.People)))
		}
		if kind == "" || kind == "person" || s.Approvers == nil { // Lint counts the one person
			continue
		}
		if there, known := s.Approvers(kind, name); known && int(r.GetApproval().GetQuorum()) > there {
			found = append(found, fmt.Sprintf("Rule %s is never approved: it wants %d approvals of %s %s, and %d can give one today.", r.GetName(), r.GetApproval().GetQuorum(), kind, name, there))
		}
	}
	return found
}

// relations says which relation of the policy's rules the tenant's model does not have. It is no error: models are replaced, and a call that needs to know is blocked.
func (s *Surroundings) relations(c *Compiled) []string {
	if s.Knows == nil {
		return nil
	}
	env, err := environment()
	if err != nil {
		return nil // Compile has said so
	}
	var found []string
	for _, r := range c.source.GetSpec().GetRules() {
		parsed, issues := env.Parse(r.GetWhen())
		if issues.Err() != nil {
			continue
		}
		if problem := s.unrelated(parsed.NativeRep()); problem != nil {
			found = append(found, fmt.Sprintf("Rule %s cannot be judged where it asks for this, and blocks then unless it is in shadow: %s.", r.GetName(), problem.Error()))
		}
	}
	return found
}

// unrelated is the first relation of an expression that is not known.
func (s *Surroundings) unrelated(parsed *ast.AST) *placed {
	i := inspector{info: parsed.SourceInfo()}
	ast.PreOrderVisit(parsed.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != hiddenRelated {
			return
		}
		object, begins := beginning(e.AsCall().Args()[0])
		relation, written := constant(e.AsCall().Args()[1])
		if !begins || !written || !strings.Contains(object, ":") {
			return
		}
		if err := s.Knows(object, relation); err != nil {
			i.fail(e, strings.TrimSuffix(fault.From(err).Sentence, "."))
		}
	}))
	return i.problem
}

// beginning is the text that a text begins with, as far as the rule says it.
func beginning(e ast.Expr) (string, bool) {
	for e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Add {
		e = e.AsCall().Args()[0]
	}
	return constant(e)
}

// places are the server and the tools that a policy is about and that are not there: nothing of it holds for those that were meant.
func (s *Surroundings) places(p *authzv1.Policy) []string {
	match := p.GetSpec().GetMatch()
	tools := Tools{}
	where := "any server"
	if server := match.GetServer(); server != AnyServer {
		own, there := s.Servers[server]
		if !there {
			return []string{fmt.Sprintf("It matches nothing: %s.", unknownName("server", server, slices.Sorted(maps.Keys(s.Servers))))}
		}
		tools.Add(own)
		where = server
	} else {
		for _, own := range s.Servers {
			tools.Add(own)
		}
	}
	if len(tools) == 0 {
		return nil
	}
	var found []string
	known := slices.Concat(slices.Collect(maps.Keys(tools)), slices.Collect(maps.Keys(methodArguments())))
	for _, tool := range match.GetTools() {
		if tool != anyTool && !slices.Contains(known, tool) {
			found = append(found, fmt.Sprintf("None of its rules holds for the tool that was meant: %s. Approved on %s is no such tool.", unknownName("tool", tool, known), where))
		}
	}
	if len(match.GetTools()) > 0 && !slices.Contains(match.GetTools(), anyTool) {
		return found
	}
	return append(found, unread(p, tools)...)
}

// unread says that a policy about all tools reads an argument that none of them has. It is no error: a tool that comes later may have it.
func unread(p *authzv1.Policy, tools Tools) []string {
	arguments, closed := tools.arguments(slices.Collect(maps.Keys(tools))...)
	if !closed {
		return nil
	}
	for _, own := range methodArguments() {
		arguments = append(arguments, own...)
	}
	c := Compiled{source: p, name: p.GetMetadata().GetName()}
	if err := c.checkArguments(arguments); err != nil {
		return []string{"No approved tool takes it: " + fault.From(err).Sentence}
	}
	return nil
}

// methodArguments are the methods that rules take for tools of every server, with what they are asked with.
func methodArguments() map[string][]string {
	return map[string][]string{
		mcp.MethodResourceRead: {"uri"}, mcp.MethodPromptsGet: {"arguments", "name"}, mcp.MethodComplete: {"argument", "context", "ref"},
	}
}
