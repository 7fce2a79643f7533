package authzen

import (
	"encoding/json"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// answer is one decision. True means: make this call, as it was asked about.
type answer struct {
	Decision bool   `json:"decision"`
	Context  reason `json:"context"`
}

// reason is what made a decision. A call that a rule changes is not permitted as it is: arguments are those to ask again with, and to call with then.
type reason struct {
	ID          string            `json:"id,omitempty"`
	Effect      string            `json:"effect,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	ReasonUser  map[string]string `json:"reason_user,omitempty"`
	ReasonAdmin map[string]string `json:"reason_admin,omitempty"`
	Rule        string            `json:"rule,omitempty"`
	Version     int64             `json:"policy_version,omitempty"`
	Via         string            `json:"relation,omitempty"`
	Needs       []string          `json:"needs_facts,omitempty"`
	Given       []string          `json:"given_facts,omitempty"`
	Arguments   json.RawMessage   `json:"arguments,omitempty"`
	Changed     []string          `json:"changed,omitempty"`
	Redact      []string          `json:"redact,omitempty"`
	IfThere     []string          `json:"redact_if_there,omitempty"`
	Approval    *approval         `json:"approval,omitempty"`
	Approvals   []approval        `json:"approvals,omitempty"`
	Error       *problem          `json:"error,omitempty"`
}

type approval struct {
	By      string `json:"by"`
	Quorum  int32  `json:"quorum"`
	Expires string `json:"expires"`
}

// problem is why one of several questions could not be understood.
type problem struct {
	Status  int    `json:"status"`
	Message string `json:"message"`
}

func decided(d *authzv1.Decision) answer {
	out := answer{Decision: d.GetEffect() == policy.Allow, Context: reason{
		ID: d.GetId(), Effect: d.GetEffect(), Rule: d.GetRule(), Version: d.GetPolicyVersion(), Via: d.GetVia(), Needs: d.GetNeedsFacts(), Given: d.GetGivenFacts(),
		Changed: d.GetChanged(), Redact: d.GetRedact(), IfThere: d.GetRedactIfThere(), ReasonUser: map[string]string{"en": d.GetSentence()},
	}}
	if !out.Decision {
		out.Context.Reason = fault.Code(d.GetReason())
	}
	if len(d.GetChanged()) > 0 {
		out.Context.Arguments = d.GetArguments()
	}
	for _, a := range d.GetApprovals() {
		out.Context.Approvals = append(out.Context.Approvals, approval{By: a.GetBy(), Quorum: a.GetQuorum(), Expires: a.GetExpires()})
	}
	if len(out.Context.Approvals) > 0 {
		out.Context.Approval = &out.Context.Approvals[0]
	}
	for _, r := range d.GetRules() {
		if r.GetError() != "" {
			out.Context.ReasonAdmin = map[string]string{"en": "Rule " + r.GetRule() + " could not be evaluated: " + r.GetError()}
			break
		}
	}
	return out
}

func misunderstood(err error) answer {
	return answer{Context: reason{Error: &problem{Status: status(err), Message: err.Error()}}}
}
