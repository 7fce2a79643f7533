package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// Conflicts names policies of one tenant that fight over a tool: what one lets pass, another always refuses. A sentence each, which names both. At least one
// of the two is fresh; those in force under the name of a fresh one are replaced by it.
func Conflicts(fresh, inForce []*authzv1.Policy) []string {
	env, err := environment()
	if err != nil {
		return nil
	}
	all := map[[2]string]*authzv1.Policy{}
	isFresh := map[*authzv1.Policy]bool{}
	for i, p := range slices.Concat(inForce, fresh) {
		all[[2]string{p.GetMetadata().GetTenant(), p.GetMetadata().GetName()}] = p
		isFresh[p] = i >= len(inForce)
	}
	sorted := slices.SortedFunc(maps.Values(all), func(a, b *authzv1.Policy) int {
		return cmp.Compare(a.GetMetadata().GetName(), b.GetMetadata().GetName())
	})
	f := fights{env: env, judge: newJudge(), read: map[*authzv1.Rule]condition{}}
	var found []string
	for i, lets := range sorted {
		for j, stop := range sorted {
			if i == j || !isFresh[lets] && !isFresh[stop] || lets.GetMetadata().GetTenant() != stop.GetMetadata().GetTenant() || !overlap(lets.GetSpec().GetMatch(), stop.GetSpec().GetMatch()) {
				continue
			}
			found = append(found, f.between(lets, stop)...)
			if f.judge.tired() {
				return append(found, "There are too many policies to find all that fight: not all were held against each other.")
			}
		}
	}
	return found
}

// fights finds what one policy lets pass and another refuses.
type fights struct {
	env   *cel.Env
	judge *judge
	read  map[*authzv1.Rule]condition
}

func (f *fights) when(r *authzv1.Rule) condition {
	c, ok := f.read[r]
	if !ok {
		c = readCondition(f.env, r.GetWhen())
		f.read[r] = c
	}
	return c
}

// between names each rule of one policy that lets calls pass which another refuses.
func (f *fights) between(lets, stop *authzv1.Policy) []string {
	var found []string
	for _, r := range lets.GetSpec().GetRules() {
		if r.GetShadow() || r.GetEffect() != Allow && r.GetEffect() != Modify && r.GetEffect() != Escalate || f.judge.impossible(f.when(r)) {
			continue
		}
		for _, by := range stop.GetSpec().GetRules() {
			if by.GetShadow() || by.GetEffect() != Block || !f.judge.implies(f.when(r), f.when(by)) {
				continue
			}
			found = append(found, fmt.Sprintf("Policies %s and %s fight: what rule %s/%s lets pass (%s), rule %s/%s always refuses; nothing passes by the first.",
				lets.GetMetadata().GetName(), stop.GetMetadata().GetName(), lets.GetMetadata().GetName(), r.GetName(), r.GetEffect(), stop.GetMetadata().GetName(), by.GetName()))
			break
		}
	}
	return found
}

// overlap says whether two policies can be about one tool.
func overlap(a, b *authzv1.Match) bool {
	if a.GetServer() != b.GetServer() && a.GetServer() != AnyServer && b.GetServer() != AnyServer {
		return false
	}
	all := func(m *authzv1.Match) bool { return len(m.GetTools()) == 0 || slices.Contains(m.GetTools(), anyTool) }
	return all(a) || all(b) || slices.ContainsFunc(a.GetTools(), func(tool string) bool { return slices.Contains(b.GetTools(), tool) })
}

// UnknownRoles names the roles that a policy speaks of and that are not among the known ones: a misspelt role is held by nobody. A sentence each.
func UnknownRoles(p *authzv1.Policy, known []string) []string {
	return unknownMembers(p, "role", "roles", known)
}

// UnknownGroups names the groups likewise: nobody is in a misspelt one.
func UnknownGroups(p *authzv1.Policy, known []string) []string {
	return unknownMembers(p, "group", "groups", known)
}

// unknownMembers looks in the rules for names of a kind that approve, or that a person has in a list.
func unknownMembers(p *authzv1.Policy, kind, list string, known []string) []string {
	env, err := environment()
	if err != nil {
		return nil
	}
	var found []string
	say := func(rule, name string) {
		if !slices.Contains(known, name) {
			found = append(found, fmt.Sprintf("Rule %s: %s.", rule, unknownName(kind, name, known)))
		}
	}
	for _, r := range p.GetSpec().GetRules() {
		if name, ok := strings.CutPrefix(r.GetApproval().GetBy(), kind+":"); ok {
			say(r.GetName(), name)
		}
		parsed, issues := env.Parse(r.GetWhen())
		if issues.Err() != nil {
			continue
		}
		ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
			if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != operators.In || len(e.AsCall().Args()) != 2 {
				return
			}
			of := e.AsCall().Args()[1]
			if name, ok := constant(e.AsCall().Args()[0]); ok && of.Kind() == ast.SelectKind && of.AsSelect().FieldName() == list {
				say(r.GetName(), name)
			}
		}))
	}
	return found
}
