package cli

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
)

const (
	// searchPage is how many records one request asks for.
	searchPage = 1000
	// searchSince is how far back a search looks that does not say.
	searchSince = 24 * time.Hour
)

func searchCommand(s *session) *cobra.Command {
	var flags filterFlags
	var started, alerts bool
	var limit int
	var after string
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Find records, newest first",
		Example: "  headgate audit search --person ana --since 1h\n  headgate audit search --effect block -o json\n" +
			"  headgate audit search --since 2026-11-01T08:00:00+01:00 --until 2026-11-02 --outcome failure",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usageError{fmt.Errorf("--limit takes a positive number, not %d", limit)}
			}
			filter, err := flags.read()
			if err != nil {
				return err
			}
			if filter.GetSince() == nil {
				filter.Since = timestamppb.New(clock.System().Add(-searchSince))
			}
			query := &auditv1.SearchRequest{
				Tenant: s.saidTenant(), Since: filter.GetSince(), Until: filter.GetUntil(), Person: filter.GetPerson(), Agent: filter.GetAgent(), Server: filter.GetServer(),
				Tool: filter.GetTool(), Effect: filter.GetEffect(), Action: filter.GetAction(), Text: filter.GetText(), Outcome: filter.GetOutcome(), Rule: filter.GetRule(),
				Code: filter.GetCode(), CallId: filter.GetCallId(), TraceId: filter.GetTraceId(), Started: started, Alerts: alerts,
			}
			if after != "" {
				if cmd.Flags().Changed("since") || cmd.Flags().Changed("until") {
					return usageError{errors.New("--cursor goes on in the times of its own search: leave --since and --until out")}
				}
				if err := goOnAfter(query, after); err != nil {
					return err
				}
			}
			return s.search(cmd.Context(), query, limit)
		},
	}
	flags.add(cmd)
	cmd.Flags().Lookup("since").Usage = "from when on, as 2026-11-01, 2026-11-01T08:00:00Z, or how far back, as 90m, 24h or 7d (default 24h)"
	cmd.Flags().BoolVar(&alerts, "alerts", false, "only alerts, as a changed definition or a refusal because something was not there to decide")
	cmd.Flags().BoolVar(&started, "started", false, "also the records that say that a call starts")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many")
	cmd.Flags().StringVar(&after, "cursor", "", "go on behind an earlier search with the same filters, by what it said at its end")
	return cmd
}

func (s *session) search(ctx context.Context, query *auditv1.SearchRequest, limit int) error {
	audit, err := s.audit()
	if err != nil {
		return err
	}
	items := []json.RawMessage{}
	rows := [][]string{{"TIME", "ACTION", "OUTCOME", "EFFECT", "PERSON", "AGENT", "SERVER", "TOOL", "RULE", "REASON"}}
	all, tenants := false, []string{"TENANT"}
	for len(items) < limit {
		query.PageSize = int32(min(searchPage, limit-len(items)))
		answer, err := audit.Search(ctx, connect.NewRequest(query))
		if err != nil {
			return err
		}
		all = all || answer.Msg.GetAllTenants()
		for _, event := range answer.Msg.GetEvents() {
			encoded, err := json.Marshal(record.ECS(event))
			if err != nil {
				return fault.Invalid("the record %s cannot be printed", event.GetId()).Because(err)
			}
			items = append(items, encoded)
			rows, tenants = append(rows, eventRow(event)), append(tenants, event.GetTenant())
		}
		query.PageToken = answer.Msg.GetNextPageToken()
		if query.GetPageToken() == "" {
			break
		}
	}
	if all {
		for i, tenant := range tenants {
			rows[i] = inTenant(rows[i], tenant)
		}
	}
	if err := s.print(join(items), rows); err != nil || query.GetPageToken() == "" {
		return err
	}
	_, err = fmt.Fprintf(s.stdio.Err, "headgate: there are more; go on with the same filters and --cursor %s\n", cursorOf(query))
	return err
}

// cursorOf is where a search stopped: its page token, and its times, which the token is bound to.
func cursorOf(query *auditv1.SearchRequest) string {
	until := ""
	if query.GetUntil() != nil {
		until = query.GetUntil().AsTime().Format(time.RFC3339Nano)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(query.GetSince().AsTime().Format(time.RFC3339Nano) + " " + until + " " + query.GetPageToken()))
}

// goOnAfter makes a query one for what follows a cursor.
func goOnAfter(query *auditv1.SearchRequest, cursor string) error {
	wrong := usageError{errors.New("--cursor takes what an earlier search said at its end")}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	parts := strings.SplitN(string(raw), " ", 3)
	if err != nil || len(parts) != 3 {
		return wrong
	}
	since, err := time.Parse(time.RFC3339Nano, parts[0])
	if err != nil {
		return wrong
	}
	query.Since, query.Until, query.PageToken = timestamppb.New(since), nil, parts[2]
	if parts[1] == "" {
		return nil
	}
	until, err := time.Parse(time.RFC3339Nano, parts[1])
	if err != nil {
		return wrong
	}
	query.Until = timestamppb.New(until)
	return nil
}
