package policy

import (
	"fmt"
	"slices"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy/dataclass"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func notGranted(req *Request) Decision {
	d := Decision{Effect: Block, Via: req.Relation.Via, Reason: orNotGranted(req.Relation.Reason)}
	what := req.Tool.Name + " on " + req.Server.Name
	switch d.Reason {
	case faultv1.Reason_REASON_NOT_GRANTED:
		d.Sentence = what + " was refused: no relation lets " + orSomebody(req.Principal.Name) + " call it; ask an administrator for a grant."
	case faultv1.Reason_REASON_AGENT:
		d.Sentence = what + " was refused: agent " + orUnnamed(req.Agent.Name) + " may not call it for " + orSomebody(req.Principal.Name) +
			"; call it yourself, or ask an administrator for a grant to the agent."
	case faultv1.Reason_REASON_BLOCK_LISTED:
		d.Sentence = what + " was refused: a block list keeps " + orSomebody(req.Principal.Name) + " from it, whatever is granted (" + d.Via +
			"); ask an administrator to change the list."
	case faultv1.Reason_REASON_CONDITION:
		d.Sentence = what + " was refused: the grant holds for some calls alone (" + d.Via + "), and " + req.Relation.unmet +
			"; call it as the grant says, or ask an administrator for another grant."
	default:
		d.Sentence = what + " was refused (" + fault.Code(d.Reason) + "); ask an administrator."
	}
	return d
}

func orSomebody(name string) string {
	if name == "" {
		return "this principal"
	}
	return name
}

func orUnnamed(s string) string {
	if s == "" {
		return "(unnamed)"
	}
	return s
}

// allowed is what lets a call pass.
func (v *verdict) allowed() string {
	if v.rule == nil {
		return v.policy.allowed
	}
	return v.rule.allowed
}

// takesOut says what is taken out of the result, by rules and for want of a clearance.
func takesOut(req *Request, d *Decision) string {
	must, may := dataclass.Hidden(req.Tool.Labels, req.Principal.Clearances)
	labelled := distinct(slices.Concat(must, may))
	if len(labelled) == 0 {
		return "; it takes " + strings.Join(d.Redact, ", ") + " out of the result"
	}
	said := ""
	if ruled := slices.DeleteFunc(slices.Clone(d.Redact), func(path string) bool { return slices.Contains(labelled, path) }); len(ruled) > 0 {
		said = "; it takes " + strings.Join(ruled, ", ") + " out of the result"
	}
	return said + "; " + strings.Join(labelled, ", ") + " of the result needs a clearance that the person does not have"
}

// sentence says in one sentence what was decided, by what, and for a refusal what to do.
func sentence(req *Request, v *verdict, d *Decision) string {
	switch { // the ordinary call makes no sentence of its own
	case v.weight == allowing && v.rule == nil:
		return v.policy.allowed
	case v.weight == allowing:
		return v.rule.allowed
	case v.weight == modifying && len(d.Redact) > 0 && len(d.Changed) == 0:
		return v.allowed() + takesOut(req, d)
	case v.weight == modifying:
		if len(d.Changed) == 0 {
			return v.rule.allowed + "; it had nothing to change in the arguments"
		}
		return v.rule.allowed + "; it changed " + strings.Join(d.Changed, ", ") + " in the arguments"
	}
	what := req.Tool.Name + " on " + req.Server.Name
	switch {
	case v.weight == stepping:
		return stepUpSentence(what, v.rule)
	case v.rule == nil:
		return what + " was refused: no rule of policy " + v.policy.name + " allows this call; ask an administrator if you need it."
	case v.reason == faultv1.Reason_REASON_FACT_UNAVAILABLE:
		return fmt.Sprintf("%s was refused: rule %s cannot be judged because %s; try again, and tell an administrator if it stays so.", what, v.rule.id, v.problem)
	case v.reason == faultv1.Reason_REASON_RELATION_UNAVAILABLE:
		return fmt.Sprintf("%s was refused: rule %s cannot be judged: %s; try again, and tell an administrator if it stays so.", what, v.rule.id, v.problem)
	case v.problem != "":
		return fmt.Sprintf("%s was refused: rule %s cannot be evaluated (%s); check the arguments, or ask an administrator to correct the rule.",
			what, v.rule.id, v.problem)
	case v.rule.limit != nil:
		return fmt.Sprintf("%s was refused: %sat most %d calls in %s may pass (rule %s); try again later.",
			what, limitReason(v.rule), v.rule.calls, v.rule.limit.window, v.rule.id)
	case v.rule.reason != "":
		return what + " was refused: " + trimStop(v.rule.reason) + " (rule " + v.rule.id + ")."
	}
	return what + " was refused by rule " + v.rule.id + "; make another call, or ask an administrator if you need this one."
}

func stepUpSentence(what string, r *rule) string {
	why := ""
	if r.reason != "" {
		why = trimStop(r.reason) + "; "
	}
	return what + " was refused: " + why + "it needs a sign-in " + r.stepUp.words() + " (rule " + r.id + "). Sign in again and repeat the call."
}

func limitReason(r *rule) string {
	if r.reason == "" {
		return ""
	}
	return trimStop(r.reason) + "; "
}

// needsApproval names what every rule asks for, with its own reason.
func needsApproval(what string, rules []*rule) string {
	parts := make([]string, len(rules))
	for i, r := range rules {
		why := ""
		if r.reason != "" {
			why = ": " + trimStop(r.reason)
		}
		parts[i] = approvers(r.approval) + why + " (rule " + r.id + ")"
	}
	return what + " needs " + strings.Join(parts, ", and ") + "."
}

// approvers says who must approve, as "the approval of role supervisor".
func approvers(a *authzv1.Approval) string {
	kind, name, ok := strings.Cut(a.GetBy(), ":")
	if !ok {
		return "an approval"
	}
	if a.GetQuorum() > 1 {
		return fmt.Sprintf("%d approvals of %s %s", a.GetQuorum(), kind, name)
	}
	return "the approval of " + kind + " " + name
}

func trimStop(s string) string { return strings.TrimRight(strings.TrimSpace(s), ".") }
