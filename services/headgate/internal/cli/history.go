package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

func historyCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "history NAME",
		Short: "List the versions of a policy, the newest first: who made them and when",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE:  func(cmd *cobra.Command, args []string) error { return s.history(cmd.Context(), args[0]) },
	}
}

func policyDiffCommand(s *session) *cobra.Command {
	var from, to int64
	cmd := &cobra.Command{
		Use:     "diff NAME --from VERSION [--to VERSION]",
		Short:   "Show what differs between two versions of a policy; exit 3 when something does",
		Example: "  headgate policy diff tickets --from 3 --to 4",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from < 1 || to < 0 {
				return usageError{fmt.Errorf("say from which version with --from, as --from 3")}
			}
			return s.policyDiff(cmd.Context(), args[0], from, to)
		},
	}
	cmd.Flags().Int64Var(&from, "from", 0, "the older version")
	cmd.Flags().Int64Var(&to, "to", 0, "the newer version (default: the last)")
	return cmd
}

func rollbackCommand(s *session) *cobra.Command {
	request := &authzv1.RollbackRequest{}
	cmd := &cobra.Command{
		Use:     "rollback NAME --to VERSION",
		Short:   "Make a new version of a policy that says what an older one did",
		Example: "  headgate policy rollback tickets --to 3",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if request.GetVersion() < 1 {
				return usageError{fmt.Errorf("say to which version with --to, as --to 3")}
			}
			tenant, err := s.workTenant(cmd.Context(), "Policy", args[0])
			if err != nil {
				return err
			}
			authz, err := s.authz()
			if err != nil {
				return err
			}
			request.Name, request.Tenant = args[0], tenant
			answer, err := authz.Rollback(cmd.Context(), connect.NewRequest(request))
			if err != nil {
				return err
			}
			return s.printChanges([]*resourcev1.Change{answer.Msg.GetChange()}, request.GetDryRun())
		},
	}
	cmd.Flags().Int64Var(&request.Version, "to", 0, "the version that it shall be like")
	cmd.Flags().BoolVar(&request.DryRun, "dry-run", false, "only say what would change")
	cmd.Flags().StringVar(&request.Owner, "owner", "", "the source that declares the policy, where one does")
	cmd.Flags().BoolVar(&request.TakeOver, "take-over", false, "also when another source declares it")
	return cmd
}

func (s *session) versions(ctx context.Context, tenant, name string) ([]*authzv1.PolicyVersion, error) {
	authz, err := s.authz()
	if err != nil {
		return nil, err
	}
	var all []*authzv1.PolicyVersion
	for token := ""; ; {
		page, err := authz.ListVersions(ctx, connect.NewRequest(&authzv1.ListVersionsRequest{Tenant: tenant, Name: name, PageSize: largestPage, PageToken: token}))
		if err != nil {
			return nil, err
		}
		all = append(all, page.Msg.GetVersions()...)
		if token = page.Msg.GetNextPageToken(); token == "" {
			return all, nil
		}
	}
}

func (s *session) history(ctx context.Context, name string) error {
	tenant, err := s.workTenant(ctx, "Policy", name)
	if err != nil {
		return err
	}
	all, err := s.versions(ctx, tenant, name)
	if err != nil {
		return err
	}
	rows := [][]string{{"VERSION", "ACTION", "BY", "AT", "HASH", "BEFORE"}}
	items := []json.RawMessage{}
	for _, v := range all {
		action := v.GetAction()
		if v.GetRolledBackTo() > 0 {
			action += fmt.Sprintf(" to %d", v.GetRolledBackTo())
		}
		rows = append(rows, []string{
			fmt.Sprint(v.GetVersion()), action, v.GetAuthor(), v.GetAt().AsTime().Format(time.RFC3339), short(v.GetHash()), short(v.GetPreviousHash()),
		})
		if items, err = encoded(items, v); err != nil {
			return err
		}
	}
	return s.print(join(items), rows)
}

// policyDiff prints two versions' declared forms as lines with - and +.
func (s *session) policyDiff(ctx context.Context, name string, from, to int64) error {
	tenant, err := s.workTenant(ctx, "Policy", name)
	if err != nil {
		return err
	}
	if to == 0 {
		all, err := s.versions(ctx, tenant, name)
		if err != nil {
			return err
		}
		to = all[0].GetVersion()
	}
	authz, err := s.authz()
	if err != nil {
		return err
	}
	var sides [2][]byte
	for i, version := range []int64{from, to} {
		answer, err := authz.GetVersion(ctx, connect.NewRequest(&authzv1.GetVersionRequest{Tenant: tenant, Name: name, Version: version}))
		if err != nil {
			return err
		}
		if sides[i], err = declared(answer.Msg.GetPolicy()); err != nil {
			return err
		}
	}
	if bytes.Equal(sides[0], sides[1]) {
		return nil
	}
	if _, err := fmt.Fprintf(s.stdio.Out, "--- Policy %s/%s: version %d and %d\n%s", tenant, name, from, to, lineDiff(string(sides[0]), string(sides[1]))); err != nil {
		return err
	}
	return errNo
}
