package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// asked are the flags of policy explain.
type asked struct{ person, agent, tool, args, facts, at, ip, country string }

func explainCommand(s *session) *cobra.Command {
	var a asked
	cmd := &cobra.Command{
		Use:   "explain --as PERSON --tool SERVER.TOOL",
		Short: "Say how a call would be decided, and why; exit 3 when it would be refused or a fact is missing",
		Example: `  headgate policy explain --as ana --tool tickets.close_ticket --args '{"id":"T-1"}' --facts '{"ticket":{"priority":"high"}}'` +
			"\n  headgate policy explain --as ana --agent desk-assistant --tool tickets.list_tickets --at 2026-12-25T10:00:00+01:00",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.explain(cmd.Context(), a) },
	}
	flags := cmd.Flags()
	flags.StringVar(&a.person, "as", "", "the person who would call")
	flags.StringVar(&a.agent, "agent", "", "the agent in between")
	flags.StringVar(&a.tool, "tool", "", "SERVER.TOOL")
	flags.StringVar(&a.args, "args", "", "the arguments, a JSON object")
	flags.StringVar(&a.facts, "facts", "", "what the gateway would read first, by name, a JSON object")
	flags.StringVar(&a.at, "at", "", "when, as RFC 3339; now when empty")
	flags.StringVar(&a.ip, "ip", "", "from which address")
	flags.StringVar(&a.country, "country", "", "from which country, as DE")
	return cmd
}

func (a asked) request(tenant string) (*authzv1.ExplainRequest, error) {
	server, tool, ok := strings.Cut(a.tool, ".")
	if a.person == "" || !ok || server == "" || tool == "" {
		return nil, usageError{fmt.Errorf("say who with --as PERSON and what with --tool SERVER.TOOL")}
	}
	call := &authzv1.DecideRequest{
		Tenant: tenant, Person: a.person, Agent: a.agent, Server: server, Tool: tool, Arguments: []byte(a.args), SourceIp: a.ip,
	}
	if a.facts != "" {
		call.Facts = &structpb.Struct{}
		if err := protojson.Unmarshal([]byte(a.facts), call.Facts); err != nil {
			return nil, usageError{fmt.Errorf("--facts takes a JSON object")}
		}
	}
	request := &authzv1.ExplainRequest{Call: call, Country: a.country}
	if a.at != "" {
		at, err := time.Parse(time.RFC3339, a.at)
		if err != nil {
			return nil, usageError{fmt.Errorf("--at takes a time as 2026-12-25T10:00:00+01:00, not %q", a.at)}
		}
		request.At = timestamppb.New(at)
	}
	return request, nil
}

func (s *session) explain(ctx context.Context, a asked) error {
	if _, err := a.request(""); err != nil {
		return err
	}
	tenant, err := s.workTenant(ctx, "Person", a.person)
	if err != nil {
		return err
	}
	request, err := a.request(tenant)
	if err != nil {
		return err
	}
	authz, err := s.authz()
	if err != nil {
		return err
	}
	answer, err := authz.Explain(ctx, connect.NewRequest(request))
	if fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		return usageError{err} // nobody of this name is there to be asked about
	}
	if err != nil {
		return err
	}
	if s.output == "table" {
		if _, err := fmt.Fprint(s.stdio.Out, tree(answer.Msg)); err != nil {
			return err
		}
	} else {
		encoded, err := protojson.Marshal(answer.Msg)
		if err != nil {
			return err
		}
		if err := s.print(json.RawMessage(encoded), nil); err != nil {
			return err
		}
	}
	d := answer.Msg.GetDecision()
	if undecided(d) {
		_, _ = fmt.Fprintf(s.stdio.Err, "undecided: give the fact with --facts '{%q: …}', or make the call: the gateway reads it then\n", factName(d.GetNeedsFacts()[0]))
		return errNo
	}
	if effect := d.GetEffect(); effect == "block" || effect == "escalate" {
		return errNo
	}
	return nil
}

// undecided says whether only a fact is missing that the gateway reads before a call.
func undecided(d *authzv1.Decision) bool {
	return d.GetReason() == faultv1.Reason_REASON_FACT_UNAVAILABLE && len(d.GetNeedsFacts()) > 0
}

// factName is what a policy calls the fact policy/fact.
func factName(key string) string { return key[strings.LastIndex(key, "/")+1:] }

// tree prints a decision from its outcome to the conditions of its rules.
func tree(m *authzv1.ExplainResponse) string {
	var b strings.Builder
	line := func(depth int, format string, args ...any) {
		b.WriteString(strings.Repeat("  ", depth) + fmt.Sprintf(format, args...) + "\n")
	}
	d := m.GetDecision()
	if undecided(d) {
		line(0, "undecided: needs fact %s (--facts)", strings.Join(d.GetNeedsFacts(), ", "))
	} else {
		line(0, "%s: %s", d.GetEffect(), d.GetSentence())
	}
	if d.GetVia() == "" {
		line(1, "relation: none")
	} else {
		line(1, "relation: %s", d.GetVia())
	}
	for _, missing := range d.GetNeedsFacts() {
		line(1, "not known: fact %s (give it with --facts)", missing)
	}
	for _, given := range d.GetGivenFacts() {
		line(1, "given, not read: fact %s", given)
	}
	if len(d.GetChanged()) > 0 {
		line(1, "arguments: %s", d.GetArguments())
	}
	for _, path := range d.GetRedact() {
		line(1, "taken out of the result: %s%s", path, map[bool]string{true: " (where it is there)"}[slices.Contains(d.GetRedactIfThere(), path)])
	}
	for _, a := range d.GetApprovals() {
		line(1, "needs: %d of %s within %s", a.GetQuorum(), cmp.Or(a.GetBy(), "anybody who may approve"), a.GetExpires())
	}
	for _, near := range d.GetNear() {
		line(1, "nearly matched: %s", near)
	}
	for _, r := range m.GetRules() {
		o := r.GetOutcome()
		line(1, "%s %s (%s%s)", mark(o.GetMatched(), o.GetError()), o.GetRule(), o.GetEffect(), map[bool]string{true: ", in shadow"}[o.GetShadow()])
		if o.GetRule() == d.GetRule() {
			line(2, "decides")
		}
		if o.GetError() != "" {
			line(2, "cannot be evaluated: %s", o.GetError())
		}
		if len(r.GetConditions()) == 0 {
			line(2, "%s", strings.Join(strings.Fields(r.GetWhen()), " "))
			continue
		}
		line(2, "%s of", map[bool]string{true: "any", false: "all"}[r.GetAnyOf()])
		for _, c := range r.GetConditions() {
			line(3, "%s %s", mark(c.GetHeld(), c.GetError()), c.GetText())
		}
	}
	return b.String()
}

func mark(held bool, failed string) string {
	switch {
	case failed != "":
		return "!"
	case held:
		return "+"
	}
	return "-"
}
