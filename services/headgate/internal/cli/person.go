package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// longestToken is how long a token may hold at most, as the API has it.
const longestToken = 24 * time.Hour

func tokenCommand(s *session) *cobra.Command {
	var agent string
	var audience []string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:     "token PERSON",
		Short:   "Make an access token for a person (only where headgate dev allows it)",
		Example: "  headgate token sam\n  headgate token sam --agent triage-bot --ttl 10m",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if ttl <= 0 || ttl > longestToken {
				return usageError{fmt.Errorf("--ttl takes a positive duration of at most 24h, as 10m, not %s", ttl)}
			}
			identity, err := s.identity()
			if err != nil {
				return err
			}
			tenant, err := s.workTenant(cmd.Context(), "Person", args[0])
			if err != nil {
				return err
			}
			answer, err := identity.IssueToken(cmd.Context(), connect.NewRequest(&identityv1.IssueTokenRequest{
				Person: args[0], Tenant: tenant, Agent: agent, Audience: audience, Ttl: durationpb.New(ttl)}))
			if err != nil {
				return err
			}
			if s.output == "table" {
				_, err = fmt.Fprintln(s.stdio.Out, answer.Msg.GetToken())
				return err
			}
			encoded, err := json.Marshal(map[string]any{"token": answer.Msg.GetToken(), "tokenId": answer.Msg.GetTokenId(),
				"expiresAt": answer.Msg.GetExpiresAt().AsTime().Format(time.RFC3339)})
			if err != nil {
				return err
			}
			return s.print(encoded, nil)
		},
	}
	cmd.Flags().StringVar(&agent, "agent", "", "the agent that acts for the person")
	cmd.Flags().StringArrayVar(&audience, "audience", nil, "URL that the token is good for; may be given again (default: the MCP endpoints and the API)")
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it holds, at most 24h")
	return cmd
}

func whoamiCommand(s *session) *cobra.Command {
	explain := false
	cmd := &cobra.Command{
		Use:   "whoami",
		Short: "Say whom the token stands for, or what they can do and why",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if explain {
				return s.allowed(cmd.Context())
			}
			return s.whoami(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&explain, "explain", false, "list the tools that they can see and call, by which relation, and the rules that look at each call")
	return cmd
}

func (s *session) whoami(ctx context.Context) error {
	identity, err := s.identity()
	if err != nil {
		return err
	}
	answer, err := identity.WhoAmI(ctx, connect.NewRequest(&identityv1.WhoAmIRequest{}))
	if err != nil {
		return err
	}
	caller := answer.Msg.GetCaller()
	rights := make([]string, len(caller.GetRights()))
	for i, right := range caller.GetRights() {
		rights[i] = strings.ToLower(strings.TrimPrefix(right.String(), "ROLE_"))
	}
	expires := caller.GetExpiresAt().AsTime().Format(time.RFC3339)
	encoded, err := json.Marshal(map[string]any{"person": caller.GetName(), "tenant": caller.GetTenant(), "email": caller.GetEmail(), "agent": caller.GetAgent(),
		"roles": listed(caller.GetRoles()), "groups": listed(caller.GetGroups()), "rights": rights, "clientId": caller.GetClientId(), "expiresAt": expires})
	if err != nil {
		return err
	}
	return s.print(encoded, [][]string{{"person", caller.GetName()}, {"tenant", caller.GetTenant()}, {"email", caller.GetEmail()}, {"agent", caller.GetAgent()},
		{"roles", strings.Join(caller.GetRoles(), ", ")}, {"rights", strings.Join(rights, ", ")}, {"expires", expires}})
}

// listed is a list that JSON shows as one also when it is empty.
func listed(names []string) []string { return append([]string{}, names...) }
