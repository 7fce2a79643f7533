package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
)

// reasonFlag is a reason that must be given, because it is recorded.
func reasonFlag(cmd *cobra.Command, reason *string) {
	cmd.Flags().StringVar(reason, "reason", "", "why; it is recorded")
}

func reasonOf(text string) error {
	if strings.TrimSpace(text) == "" {
		return usageError{errors.New("--reason says why; it is recorded")}
	}
	return nil
}

// subjectOf reads KIND:NAME; empty is nobody.
func subjectOf(text string) (*auditv1.Subject, error) {
	if text == "" {
		return nil, nil
	}
	kind, name, ok := strings.Cut(text, ":")
	if !ok || kind == "" || name == "" {
		return nil, usageError{fmt.Errorf("--subject takes a kind and a name, as person:ana or patient:P-1029, not %q", text)}
	}
	return &auditv1.Subject{Kind: kind, Name: name}, nil
}

func holdCommand(s *session) *cobra.Command {
	return group("hold", "Keep records and their keys for a legal matter", addHold(s), listHolds(s), releaseHold(s))
}

func addHold(s *session) *cobra.Command {
	var reason, subject string
	cmd := &cobra.Command{
		Use:   "add --reason TEXT",
		Short: "Hold a tenant's records: none is dropped, and no key of the subject, or without one of anybody, is erased",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			of, err := subjectOf(subject)
			if err = errors.Join(err, reasonOf(reason)); err != nil {
				return err
			}
			audit, err := s.audit()
			if err != nil {
				return err
			}
			answer, err := audit.AddHold(cmd.Context(), connect.NewRequest(&auditv1.AddHoldRequest{Tenant: s.saidTenant(), Subject: of, Reason: reason}))
			if err != nil {
				return err
			}
			return s.holds(answer.Msg.GetHold())
		},
	}
	cmd.Flags().StringVar(&subject, "subject", "", "whose keys, as person:ana or patient:P-1029; empty is everybody's")
	reasonFlag(cmd, &reason)
	return cmd
}

func listHolds(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "Show the holds that hold", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			audit, err := s.audit()
			if err != nil {
				return err
			}
			answer, err := audit.ListHolds(cmd.Context(), connect.NewRequest(&auditv1.ListHoldsRequest{Tenant: s.saidTenant()}))
			if err != nil {
				return err
			}
			return s.holds(answer.Msg.GetHolds()...)
		},
	}
}

func releaseHold(s *session) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "release ID --reason TEXT", Short: "End a hold", Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := reasonOf(reason); err != nil {
				return err
			}
			audit, err := s.audit()
			if err != nil {
				return err
			}
			_, err = audit.ReleaseHold(cmd.Context(), connect.NewRequest(&auditv1.ReleaseHoldRequest{Tenant: s.saidTenant(), Id: args[0], Reason: reason}))
			return err
		},
	}
	reasonFlag(cmd, &reason)
	return cmd
}

func (s *session) holds(all ...*auditv1.Hold) error {
	rows, items := [][]string{{"ID", "TENANT", "SUBJECT", "SINCE", "BY", "REASON"}}, []json.RawMessage{}
	for _, h := range all {
		subject := "everybody"
		if of := h.GetSubject(); of != nil {
			subject = of.GetKind() + ":" + of.GetName()
		}
		rows = append(rows, []string{h.GetId(), h.GetTenant(), subject, h.GetAt().AsTime().Format("2006-01-02"), h.GetBy(), h.GetReason()})
		item, err := asJSON(h)
		if err != nil {
			return err
		}
		items = append(items, item)
	}
	return s.print(join(items), rows)
}

func asJSON(m proto.Message) (json.RawMessage, error) { return protojson.Marshal(m) }

func retentionCommand(s *session) *cobra.Command {
	return group("retention", "Show or change how long records are kept", showRetention(s), setRetention(s))
}

func showRetention(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show how long a tenant's records are kept, and what asks for it", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			audit, err := s.audit()
			if err != nil {
				return err
			}
			answer, err := audit.GetRetention(cmd.Context(), connect.NewRequest(&auditv1.GetRetentionRequest{Tenant: s.saidTenant()}))
			if err != nil {
				return err
			}
			return s.retained(answer.Msg.GetRetention())
		},
	}
}

func setRetention(s *session) *cobra.Command {
	var request auditv1.SetRetentionRequest
	cmd := &cobra.Command{
		Use:   "set --class NAME... --days N",
		Short: "Change how long a tenant's records are kept; less than its classes ask for is refused",
		Long: "Change how long a tenant's records are kept. The classes are eu-ai-act, soc2, part-11, hipaa and sec-17a-4; --days 0 keeps records for good. Classes that the tenant " +
			"is under stay unless the platform's administrator takes one away with --drop-class.",
		Example: "  headgate audit retention set --class hipaa --class soc2 --days 2555\n" +
			"  headgate audit retention set --tenant acme --drop-class hipaa --days 400 --reason 'sold the clinic, contract 4711'",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			audit, err := s.audit()
			if err != nil {
				return err
			}
			request.Tenant = s.saidTenant()
			answer, err := audit.SetRetention(cmd.Context(), connect.NewRequest(&request))
			if err != nil {
				return err
			}
			return s.retained(answer.Msg.GetRetention())
		},
	}
	cmd.Flags().StringArrayVar(&request.Classes, "class", nil, "a regulation that the tenant is under from now on; may be given again")
	cmd.Flags().StringArrayVar(&request.DropClasses, "drop-class", nil, "a regulation that the tenant is not under any more; may be given again, by the platform's administrator alone")
	cmd.Flags().StringVar(&request.Reason, "reason", "", "why; it is recorded. Needed where the platform's administrator has records kept for less time")
	cmd.Flags().Int32Var(&request.Days, "days", 0, "after how many days records are dropped from the index; 0 keeps them for good")
	return cmd
}

func (s *session) retained(r *auditv1.Retention) error {
	days := "for good"
	if r.GetDays() > 0 {
		days = fmt.Sprint(r.GetDays(), " days")
	}
	item, err := asJSON(r)
	if err != nil {
		return err
	}
	return s.print(item, [][]string{
		{"TENANT", "KEPT", "CLASSES", "AT LEAST", "BY"}, {r.GetTenant(), days, strings.Join(r.GetClasses(), ", "), fmt.Sprint(r.GetFloor(), " days"), r.GetRule()},
	})
}

// keyCommand prints the log's key, and replaces it.
func keyCommand(s *session) *cobra.Command {
	cmd := logCommand(s, "key", "Print the public key that the log is signed with", (*auditv1.GetLogResponse).GetPublicKey)
	cmd.AddCommand(rotateKeyCommand(s))
	return cmd
}

func rotateKeyCommand(s *session) *cobra.Command {
	var sealing bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Replace the key that the log is signed with, or with --sealing the one that wraps the keys of sealed records",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			audit, err := s.audit()
			if err != nil {
				return err
			}
			kind := auditv1.KeyKind_KEY_KIND_LOG
			if sealing {
				kind = auditv1.KeyKind_KEY_KIND_SEALING
			}
			answer, err := audit.RotateKey(cmd.Context(), connect.NewRequest(&auditv1.RotateKeyRequest{Kind: kind}))
			if err != nil {
				return err
			}
			item, err := asJSON(answer.Msg)
			if err != nil {
				return err
			}
			return s.print(item, [][]string{{"NEW PUBLIC KEY", "WRAPPED ANEW"}, {answer.Msg.GetPublicKey(), fmt.Sprint(answer.Msg.GetWrapped())}})
		},
	}
	cmd.Flags().BoolVar(&sealing, "sealing", false, "the key that wraps the keys of sealed records")
	return cmd
}
