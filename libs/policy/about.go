package policy

import authzv1 "headgate.dev/proto/gen/headgate/authz/v1"

// About lists the rules that look at a call of a tool, by policy and in their order, and what holds when none of them does: allow or block.
func (b *Bundle) About(server, tool string) (rules []*authzv1.ApplicableRule, otherwise string) {
	otherwise = Allow
	for _, c := range b.matching(server, tool) {
		if !c.allows {
			otherwise = Block
		}
		for i, declared := range c.source.GetSpec().GetRules() {
			rules = append(rules, &authzv1.ApplicableRule{
				Rule: c.rules[i].id, Effect: declared.GetEffect(), When: declared.GetWhen(), Reason: declared.GetReason(), Shadow: declared.GetShadow(),
			})
		}
	}
	return rules, otherwise
}
