package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/policy"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

func shadowCommand(s *session) *cobra.Command {
	since := span(24 * time.Hour)
	cmd := &cobra.Command{
		Use:   "shadow",
		Short: "Say what the rules in shadow would have done with the recorded calls",
		Long: "Counts, for every rule in shadow of the policies in force, the recorded calls of the tools that its policy is about, those that it matched, and those of them\n" +
			"that went through. A call of before the rule was there counts as one that it did not match: narrow --since. A rule that could not be judged is counted apart.",
		Example: "  headgate policy shadow --since 7d",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if since <= 0 {
				return usageError{fmt.Errorf("--since takes a positive duration as 90m or 24h")}
			}
			return s.shadow(cmd.Context(), time.Duration(since))
		},
	}
	cmd.Flags().Var(&since, "since", "how far back, as 90m, 24h or 7d")
	return cmd
}

// shadowed is what one rule in shadow came to.
type shadowed struct {
	Tenant string `json:"tenant"`
	Rule   string `json:"rule"`
	Effect string `json:"effect"`
	// Calls are those that the rule's policy looked at, Matched and Failed those that the rule was about or could not be judged for, Passed those of Matched
	// that went through all the same.
	Calls    int      `json:"calls"`
	Matched  int      `json:"matched"`
	Failed   int      `json:"failed"`
	Passed   int      `json:"passed"`
	Examples []string `json:"examples"`
	about    *policy.Bundle
}

func (s *session) shadow(ctx context.Context, since time.Duration) error {
	tenant, err := s.oneTenant(ctx)
	if err != nil {
		return err
	}
	objects, err := s.policiesOf(ctx, tenant)
	if err != nil {
		return err
	}
	inForce, err := compiled(objects)
	if err != nil {
		return err
	}
	rules := inShadow(tenant, inForce)
	query := &auditv1.SearchRequest{Tenant: tenant, Since: timestamppb.New(clock.System().Add(-since)), PageSize: replayPage}
	if len(rules) > 0 {
		if err := s.records(ctx, query, func(event *eventsv1.Event) {
			for _, one := range rules {
				one.take(event)
			}
		}); err != nil {
			return err
		}
	}
	return s.printShadow(rules)
}

// inShadow are the rules in shadow of policies, by name.
func inShadow(tenant string, policies []*policy.Compiled) []*shadowed {
	var out []*shadowed
	for _, p := range policies {
		about := policy.NewBundle([]*policy.Compiled{p})
		for _, r := range p.Source().GetSpec().GetRules() {
			if r.GetShadow() {
				out = append(out, &shadowed{Tenant: tenant, Rule: p.Name() + "/" + r.GetName(), Effect: r.GetEffect(), Examples: []string{}, about: about})
			}
		}
	}
	slices.SortFunc(out, func(a, b *shadowed) int { return cmp.Compare(a.Rule, b.Rule) })
	return out
}

// take counts one record, if rules were asked about it.
func (r *shadowed) take(event *eventsv1.Event) {
	d, target := event.GetDecision(), event.GetTarget()
	if target.GetTool() == "" || event.GetAction() == factRead || !cameToRules(d) || !r.about.Matches(target.GetServer(), target.GetTool()) {
		return
	}
	r.Calls++
	switch {
	case slices.Contains(d.GetFailed(), r.Rule):
		r.Failed++
	case slices.Contains(d.GetMatched(), r.Rule), slices.Contains(d.GetShadow(), r.Rule):
		r.Matched++
		if d.GetEffect() == policy.Allow || d.GetEffect() == policy.Modify {
			r.Passed++
			if len(r.Examples) < examples {
				r.Examples = append(r.Examples, event.GetCallId())
			}
		}
	}
}

func (s *session) printShadow(rules []*shadowed) error {
	rows := [][]string{{"RULE", "EFFECT", "WOULD MATCH", "OF CALLS", "PASSED", "NOT JUDGED", "EXAMPLES"}}
	items := []json.RawMessage{}
	for _, r := range rules {
		rows = append(rows, []string{r.Rule, r.Effect, fmt.Sprint(r.Matched), fmt.Sprint(r.Calls), fmt.Sprint(r.Passed), fmt.Sprint(r.Failed), fmt.Sprint(r.Examples)})
		encoded, err := json.Marshal(r)
		if err != nil {
			return err
		}
		items = append(items, encoded)
	}
	return s.print(join(items), rows)
}
