package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// mostDays is ten years.
const mostDays = 3660

func grantsCommand(s *session) *cobra.Command {
	var days int
	unused := &cobra.Command{
		Use:   "unused",
		Short: "List the grants that nobody used for some days",
		Long: "List the grants for calls that nobody who holds them used for some days: of roles and agents as they are declared, of groups, and of people\n" +
			"what reaches them. What the records do not reach back to is said on standard error.",
		Example: "  headgate grants unused --days 90\n  headgate grants unused --days 30 -o json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if days < 1 || days > mostDays {
				return usageError{fmt.Errorf("--days takes 1 to %d, not %d", mostDays, days)}
			}
			return s.unused(cmd.Context(), days)
		},
	}
	unused.Flags().IntVar(&days, "days", 90, "for how many days until now")
	return group("grants", "Look after what roles, groups and agents are granted", unused)
}

func (s *session) unused(ctx context.Context, days int) error {
	tenant, err := s.oneTenant(ctx)
	if err != nil {
		return err
	}
	authz, err := s.authz()
	if err != nil {
		return err
	}
	stream, err := authz.ListUnusedGrants(ctx, connect.NewRequest(&authzv1.ListUnusedGrantsRequest{Tenant: tenant, Days: int32(days)}))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	var period *authzv1.UsePeriod
	items := []json.RawMessage{}
	rows := [][]string{{"KIND", "NAME", "SERVER", "TOOL", "BECAUSE", "UNTIL", "PEOPLE"}}
	for stream.Receive() {
		if stream.Msg().GetPeriod() != nil {
			period = stream.Msg().GetPeriod()
		}
		for _, g := range stream.Msg().GetGrants() {
			rows = append(rows, []string{g.GetKind(), g.GetName(), g.GetServer(), g.GetTool(), g.GetVia(), ends(g.GetUntil()), strconv.Itoa(int(g.GetPeople()))})
			if items, err = encoded(items, g); err != nil {
				return err
			}
		}
	}
	if err := stream.Err(); err != nil {
		return err
	}
	covered, err := protojson.Marshal(period)
	if err != nil {
		return err
	}
	whole, err := json.Marshal(map[string]json.RawMessage{"period": covered, "grants": join(items)})
	if err != nil {
		return err
	}
	if err := s.print(whole, rows); err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.stdio.Err, covers(period, len(items)))
	return err
}

// covers says what a report on unused grants is about, and how much of it the records know.
func covers(p *authzv1.UsePeriod, count int) string {
	text := fmt.Sprintf("%d grants were not used from %s to %s.", count, p.GetSince().AsTime().Format(time.RFC3339), p.GetUntil().AsTime().Format(time.RFC3339))
	switch {
	case p.GetComplete():
		return text + " The records cover all of it."
	case p.GetOldestRecord() == nil:
		return text + " There are no records at all, so nobody knows what was used."
	}
	return text + fmt.Sprintf(" The records begin later, on %s: what was used before is not known.", p.GetOldestRecord().AsTime().Format(time.RFC3339))
}
