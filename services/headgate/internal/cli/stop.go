package cli

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
)

// trustIn opens trust and finds the tenant of a resource.
func (s *session) trustIn(ctx context.Context, kind, name string) (trustv1connect.TrustServiceClient, string, error) {
	trust, err := s.trust()
	if err != nil {
		return nil, "", err
	}
	tenant, err := s.workTenant(ctx, kind, name)
	return trust, tenant, err
}

func killCommand(s *session) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:       "kill person|agent|server|tool NAME",
		Short:     "Stop a person, agent, server or tool on every edge within a second",
		Example:   "  headgate kill person ana --reason \"laptop stolen\"\n  headgate kill tool crm.delete_customer",
		Args:      usageArgs(target),
		ValidArgs: []string{"person", "agent", "server", "tool"},
		RunE: func(cmd *cobra.Command, args []string) error {
			trust, tenant, err := s.trustIn(cmd.Context(), holder(args[0]), holderName(args))
			if err != nil {
				return err
			}
			if err := s.someone(cmd.Context(), args[0], tenant, args[1]); err != nil {
				return err
			}
			_, err = trust.Kill(cmd.Context(), connect.NewRequest(&trustv1.KillRequest{
				Tenant: tenant, Target: &trustv1.Target{Kind: args[0], Name: args[1]}, Reason: reason}))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.stdio.Err, "%s %s is stopped; headgate revive %s %s takes it back\n", args[0], args[1], args[0], args[1])
			return err
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record and for whoever is stopped")
	return cmd
}

func reviveCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:       "revive person|agent|server|tool NAME",
		Short:     "Take a kill back",
		Args:      usageArgs(target),
		ValidArgs: []string{"person", "agent", "server", "tool"},
		RunE: func(cmd *cobra.Command, args []string) error {
			trust, tenant, err := s.trustIn(cmd.Context(), holder(args[0]), holderName(args))
			if err != nil {
				return err
			}
			_, err = trust.Revive(cmd.Context(), connect.NewRequest(&trustv1.ReviveRequest{Tenant: tenant, Target: &trustv1.Target{Kind: args[0], Name: args[1]}}))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.stdio.Err, "%s %s may act again\n", args[0], args[1])
			return err
		},
	}
}

// someone refuses a person or an agent that nobody declared: whoever types a wrong name in haste must learn that nothing was stopped.
// If that cannot be found out, the stop goes on: it must not wait for another service. A client: agent is an OAuth client, which nobody declares.
func (s *session) someone(ctx context.Context, kind, tenant, name string) error {
	if kind != "person" && kind != "agent" || strings.HasPrefix(name, "client:") {
		return nil
	}
	identity, err := s.owner(resource.Owner(holder(kind)))
	if err != nil {
		return err
	}
	if _, err := identity.Get(ctx, holder(kind), tenant, name); fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		return fault.NotFound("There is no %s %s in tenant %s. Nothing was stopped.", kind, name, tenant)
	}
	return nil
}

// holder is the kind of resource that a target of a kill is, or is part of.
func holder(kind string) string {
	return map[string]string{"person": "Person", "agent": "Agent", "server": "Server", "tool": "Server"}[kind]
}

// holderName is its name: a tool server.tool is part of the server.
func holderName(args []string) string {
	if args[0] == "tool" {
		server, _, _ := strings.Cut(args[1], ".")
		return server
	}
	return args[1]
}

func target(cmd *cobra.Command, args []string) error {
	if err := cobra.ExactArgs(2)(cmd, args); err != nil {
		return err
	}
	switch args[0] {
	case "person", "agent", "server", "tool":
		return nil
	}
	return fmt.Errorf("%q cannot be stopped; a person, agent, server or tool can", args[0])
}
