package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// searchPage is how many records one request asks for.
const searchPage = 1000

func auditCommand(s *session) *cobra.Command {
	var query auditv1.SearchRequest
	since := span(24 * time.Hour)
	var limit int
	search := &cobra.Command{
		Use:     "search",
		Short:   "Find records, newest first",
		Example: "  headgate audit search --person ana --since 1h\n  headgate audit search --effect block -o json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError{fmt.Errorf("--limit takes a positive number, not %d", limit)}
			}
			if since <= 0 {
				return usageError{fmt.Errorf("--since takes a positive duration as 90m or 24h")}
			}
			if !slices.Contains([]string{"", "allow", "block", "escalate", "modify"}, query.GetEffect()) {
				return usageError{fmt.Errorf("--effect takes allow, block, escalate or modify, not %q", query.GetEffect())}
			}
			query.Tenant, query.Since = s.saidTenant(), timestamppb.New(clock.System().Add(-time.Duration(since)))
			return s.search(cmd.Context(), &query, limit)
		},
	}
	flags := search.Flags()
	flags.Var(&since, "since", "how far back, as 90m, 24h or 7d")
	flags.StringVar(&query.Person, "person", "", "only this person's")
	flags.StringVar(&query.Agent, "agent", "", "only through this agent")
	flags.StringVar(&query.Server, "server", "", "only to this server")
	flags.StringVar(&query.Tool, "tool", "", "only this tool, by the server's own name")
	flags.StringVar(&query.Effect, "effect", "", "only allow, block, escalate or modify")
	flags.StringVar(&query.Action, "action", "", "only this action, as tool-call or kill")
	flags.StringVarP(&query.Text, "query", "q", "", "words that all occur in the record")
	flags.IntVar(&limit, "limit", 100, "at most so many")
	return group("audit", "Read the record", search)
}

func (s *session) search(ctx context.Context, query *auditv1.SearchRequest, limit int) error {
	audit, err := s.audit()
	if err != nil {
		return err
	}
	items := []json.RawMessage{}
	rows := [][]string{{"TIME", "ACTION", "OUTCOME", "EFFECT", "PERSON", "AGENT", "SERVER", "TOOL", "RULE", "REASON"}}
	for len(items) < limit {
		query.PageSize = int32(min(searchPage, limit-len(items)))
		answer, err := audit.Search(ctx, connect.NewRequest(query))
		if err != nil {
			return err
		}
		for _, event := range answer.Msg.GetEvents() {
			encoded, err := json.Marshal(record.ECS(event))
			if err != nil {
				return fault.Invalid("the record %s cannot be printed", event.GetId()).Because(err)
			}
			items = append(items, encoded)
			rows = append(rows, eventRow(event))
		}
		query.PageToken = answer.Msg.GetNextPageToken()
		if query.GetPageToken() == "" {
			break
		}
	}
	return s.print(join(items), rows)
}

// span is a duration that can also be said in days, as 7d.
type span time.Duration

// String implements pflag.Value.
func (s *span) String() string { return time.Duration(*s).String() }

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		count, err := strconv.ParseUint(days, 10, 16)
		*s = span(time.Duration(count) * 24 * time.Hour)
		return err
	}
	length, err := time.ParseDuration(text)
	*s = span(length)
	return err
}

// Type implements pflag.Value.
func (s *span) Type() string { return "duration" }

func eventRow(event *eventsv1.Event) []string {
	decision, target, who := event.GetDecision(), event.GetTarget(), event.GetPrincipal()
	return []string{event.GetTime().AsTime().Format("2006-01-02T15:04:05.000Z"), event.GetAction(), outcome(event), decision.GetEffect(), who.GetPerson(), who.GetAgent(),
		target.GetServer(), target.GetTool(), decision.GetRule(), cmp.Or(decision.GetSentence(), changed(event.GetChange()))}
}

// changed says what an administrator did, as "killed person carl (laptop stolen)".
func changed(change *eventsv1.Change) string {
	if change == nil {
		return ""
	}
	text := strings.TrimSpace(change.GetAction() + " " + change.GetKind() + " " + change.GetName())
	if change.GetReason() != "" {
		text += " (" + change.GetReason() + ")"
	}
	return text
}

func outcome(event *eventsv1.Event) string {
	switch event.GetOutcome() {
	case eventsv1.Outcome_OUTCOME_SUCCESS:
		return "success"
	case eventsv1.Outcome_OUTCOME_FAILURE:
		return "failure"
	default:
		return "unknown"
	}
}
