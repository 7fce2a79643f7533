package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"headgate.dev/libs/egress"
	"headgate.dev/libs/resource"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

func serverCommand(s *session) *cobra.Command {
	return group("server", "Look at servers, approve what they show, stop them",
		&cobra.Command{Use: "list", Short: "List servers and where they stand", Args: usageArgs(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error { return s.serverList(cmd.Context()) }},
		serverShow(s),
		&cobra.Command{Use: "diff NAME", Short: "Show what differs from the approved definitions; exit 3 when something does", Args: usageArgs(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error { return s.serverDiff(cmd.Context(), args[0]) }},
		serverApprove(s), serverQuarantine(s),
	)
}

func serverShow(s *session) *cobra.Command {
	explain, tool := false, ""
	cmd := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show one server and each of its definitions, or who can use it and why",
		Example: "  headgate server show tickets\n  headgate server show tickets --explain --tool close_ticket",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case explain:
				return s.holders(cmd.Context(), args[0], tool)
			case tool != "":
				return usageError{fmt.Errorf("--tool belongs to --explain")}
			}
			return s.serverShow(cmd.Context(), args[0])
		},
	}
	cmd.Flags().BoolVar(&explain, "explain", false, "list who has a relation to the server, and by which path")
	cmd.Flags().StringVar(&tool, "tool", "", "with --explain: to this tool alone")
	return cmd
}

func serverApprove(s *session) *cobra.Command {
	var seen string
	cmd := &cobra.Command{
		Use:     "approve NAME [TOOL...]",
		Short:   "Approve what a server shows now: all of it, or some tools",
		Example: "  headgate server approve tickets\n  headgate server approve tickets close_ticket --seen sha256:...",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			trust, tenant, err := s.trustIn(cmd.Context(), "Server", args[0])
			if err != nil {
				return err
			}
			answer, err := trust.Approve(cmd.Context(), connect.NewRequest(&trustv1.ApproveRequest{Name: args[0], Tenant: tenant, Tools: args[1:], Seen: seen}))
			if err != nil {
				return err
			}
			return s.printServer(answer.Msg.GetServer())
		},
	}
	cmd.Flags().StringVar(&seen, "seen", "", "approve only if the server still shows this hash (from server show)")
	return cmd
}

func serverQuarantine(s *session) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "quarantine NAME",
		Short: "Stop a server until it is approved again",
		Args:  usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			trust, tenant, err := s.trustIn(cmd.Context(), "Server", args[0])
			if err != nil {
				return err
			}
			answer, err := trust.Quarantine(cmd.Context(), connect.NewRequest(&trustv1.QuarantineRequest{Name: args[0], Tenant: tenant, Reason: reason}))
			if err != nil {
				return err
			}
			return s.printServer(answer.Msg.GetServer())
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	return cmd
}

func (s *session) serverList(ctx context.Context) error {
	o, err := s.owner("trust")
	if err != nil {
		return err
	}
	trust, err := s.trust()
	if err != nil {
		return err
	}
	servers, err := o.List(ctx, "Server", s.saidTenant())
	if err != nil {
		return err
	}
	rows := [][]string{{"TENANT", "NAME", "STANDING", "APPROVED", "WAITING", "URL", "NOTE"}}
	items := make([]json.RawMessage, len(servers))
	for i, object := range servers {
		meta := object.GetMetadata()
		answer, err := trust.Show(ctx, connect.NewRequest(&trustv1.ShowRequest{Name: meta.GetName(), Tenant: meta.GetTenant()}))
		if err != nil {
			return err
		}
		state := answer.Msg.GetServer()
		approved, waiting := counts(state)
		rows = append(rows, []string{meta.GetTenant(), meta.GetName(), standing(state), fmt.Sprint(approved), fmt.Sprint(waiting),
			place(state), state.GetNote()})
		if items[i], err = serverJSON(state); err != nil {
			return err
		}
	}
	return s.print(join(items), rows)
}

func (s *session) serverShow(ctx context.Context, name string) error {
	state, err := s.serverState(ctx, name)
	if err != nil {
		return err
	}
	return s.printServer(state)
}

func (s *session) serverState(ctx context.Context, name string) (*trustv1.ServerState, error) {
	trust, tenant, err := s.trustIn(ctx, "Server", name)
	if err != nil {
		return nil, err
	}
	answer, err := trust.Show(ctx, connect.NewRequest(&trustv1.ShowRequest{Name: name, Tenant: tenant}))
	if err != nil {
		return nil, err
	}
	return answer.Msg.GetServer(), nil
}

// serverDiff looks at the server now and prints each definition that differs from the approved one.
func (s *session) serverDiff(ctx context.Context, name string) error {
	trust, tenant, err := s.trustIn(ctx, "Server", name)
	if err != nil {
		return err
	}
	answer, err := trust.Refresh(ctx, connect.NewRequest(&trustv1.RefreshRequest{Name: name, Tenant: tenant}))
	if err != nil {
		return err
	}
	different := false
	for _, def := range answer.Msg.GetServer().GetDefinitions() {
		if def.GetState() == trustv1.DefinitionState_DEFINITION_STATE_APPROVED {
			continue
		}
		different = true
		if _, err := fmt.Fprintf(s.stdio.Out, "--- %s: %s\n%s", plain(def.GetName()), definitionState(def), lineDiff(pretty(def.GetApproved()), pretty(def.GetSeen()))); err != nil {
			return err
		}
	}
	if different {
		return errNo
	}
	return nil
}

func pretty(raw []byte) string {
	var out bytes.Buffer
	if len(raw) == 0 || json.Indent(&out, raw, "", "  ") != nil {
		return string(raw)
	}
	return out.String()
}

func (s *session) printServer(state *trustv1.ServerState) error {
	rows := [][]string{
		{"server", state.GetServer().GetMetadata().GetName()}, {"tenant", state.GetServer().GetMetadata().GetTenant()},
		{where(state), place(state)}, {"standing", standing(state)}, {"note", state.GetNote()},
		{"speaks", strings.Join(state.GetProtocolVersions(), ", ")}, {"seen", state.GetSeenHash()},
	}
	if said := exposed(state.GetServer().GetSpec()); said != "" {
		rows = append(rows, []string{"plain http", said})
	}
	rows = append(rows, []string{}, []string{"TOOL", "STATE", "APPROVED", "SEEN", "BY"})
	for _, def := range state.GetDefinitions() {
		rows = append(rows, []string{def.GetName(), definitionState(def), short(def.GetApprovedHash()), short(def.GetSeenHash()), def.GetApprovedBy()})
	}
	encoded, err := serverJSON(state)
	if err != nil {
		return err
	}
	return s.print(encoded, rows)
}

// serverJSON shows definitions as the documents that they are, not as base64.
func serverJSON(state *trustv1.ServerState) (json.RawMessage, error) {
	declared, err := resource.JSON(state.GetServer())
	if err != nil {
		return nil, err
	}
	definitions := make([]map[string]any, 0, len(state.GetDefinitions()))
	for _, def := range state.GetDefinitions() {
		definitions = append(definitions, map[string]any{
			"name": def.GetName(), "state": definitionState(def), "approvedHash": def.GetApprovedHash(), "seenHash": def.GetSeenHash(), "labels": def.GetLabels(),
			"approvedBy": def.GetApprovedBy(), "approved": document(def.GetApproved()), "seen": document(def.GetSeen()),
		})
	}
	return json.Marshal(map[string]any{
		"name": state.GetServer().GetMetadata().GetName(), "tenant": state.GetServer().GetMetadata().GetTenant(), "server": json.RawMessage(declared),
		"standing": standing(state), "note": state.GetNote(), "definitions": definitions, "protocolVersions": state.GetProtocolVersions(), "seenHash": state.GetSeenHash(),
	})
}

// place is where a server is: its URL, or its command as a list, so that nobody takes it for a line of a shell.
func place(state *trustv1.ServerState) string {
	command := state.GetServer().GetSpec().GetStdio().GetCommand()
	if command == nil {
		return state.GetServer().GetSpec().GetUrl()
	}
	encoded, err := json.Marshal(command)
	if err != nil {
		return command[0]
	}
	return string(encoded)
}

// exposed says what http at another machine means for the server's credential; empty where nobody on the way can read it.
func exposed(spec *trustv1.ServerSpec) string {
	switch {
	case spec.GetStdio() != nil || egress.Private(spec.GetUrl()):
		return ""
	case spec.GetInsecure():
		return "a credential is sent there unencrypted, for spec.insecure says that it may"
	}
	return "calls go there unencrypted, and no credential is sent: declare https, or spec.insecure: true where the network encrypts by itself"
}

func where(state *trustv1.ServerState) string {
	if state.GetServer().GetSpec().GetStdio() != nil {
		return "command"
	}
	return "url"
}

func document(raw []byte) json.RawMessage {
	if !json.Valid(raw) {
		return json.RawMessage("null")
	}
	return raw
}

func counts(state *trustv1.ServerState) (approved, waiting int) {
	for _, def := range state.GetDefinitions() {
		if def.GetState() == trustv1.DefinitionState_DEFINITION_STATE_APPROVED {
			approved++
		} else {
			waiting++
		}
	}
	return approved, waiting
}

func standing(state *trustv1.ServerState) string {
	return strings.ToLower(strings.TrimPrefix(state.GetStanding().String(), "STANDING_"))
}

func definitionState(def *trustv1.Definition) string {
	return strings.ToLower(strings.TrimPrefix(def.GetState().String(), "DEFINITION_STATE_"))
}

// short is enough of a hash to compare by eye.
func short(hash string) string {
	if len(hash) > 19 {
		return hash[:19]
	}
	return hash
}
