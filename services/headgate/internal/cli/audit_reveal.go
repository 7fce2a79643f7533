package cli

import (
	"encoding/json"
	"errors"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
)

func revealCommand(s *session) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "reveal EVENT --reason TEXT",
		Short: "Open the copies of arguments and result that one record holds",
		Long: "Open the copies of arguments and result that one record holds, sealed or not. It takes the role security, and that it was done, by whom and why, is\n" +
			"recorded first.",
		Example: "  headgate audit reveal 01997f2e-6a4c-7c1e-b6a8-2f1d3c0e9a11 --reason \"complaint 4711\"",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := reasonOf(reason); err != nil {
				return err
			}
			audit, err := s.audit()
			if err != nil {
				return err
			}
			answer, err := audit.Reveal(cmd.Context(), connect.NewRequest(&auditv1.RevealRequest{Tenant: s.saidTenant(), EventId: args[0], Reason: reason}))
			if err != nil {
				return err
			}
			encoded, err := json.Marshal(map[string]json.RawMessage{"arguments": orNull(answer.Msg.GetArguments()), "result": orNull(answer.Msg.GetResult())})
			if err != nil {
				return err
			}
			return s.print(encoded, [][]string{{"ARGUMENTS", "RESULT"}, {string(answer.Msg.GetArguments()), string(answer.Msg.GetResult())}})
		},
	}
	reasonFlag(cmd, &reason)
	return cmd
}

func orNull(document []byte) json.RawMessage {
	if len(document) == 0 {
		return json.RawMessage("null")
	}
	return document
}

func eraseCommand(s *session) *cobra.Command {
	var subject, reason string
	cmd := &cobra.Command{
		Use:   "erase --subject KIND:NAME --reason TEXT",
		Short: "Delete the key of everything that was sealed about a person, a patient or an account",
		Long: "Delete the key of everything that was sealed about a subject: nobody can read it from then on, in the ledger, the index, Kafka, journals, exports and copies\n" +
			"of them. The records stay, and every proof still holds. It takes the role security and cannot be taken back.\n" +
			"Exit 7 says that there is no key of this subject.",
		Example: "  headgate audit erase --subject patient:P-1029 --reason \"request of 3 May\"\n  headgate audit erase --subject person:ana --reason \"left the company\"",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			of, err := subjectOf(subject)
			if err == nil && of == nil {
				err = usageError{errors.New("--subject says whose key is erased, as person:ana or patient:P-1029")}
			}
			if err = errors.Join(err, reasonOf(reason)); err != nil {
				return err
			}
			audit, err := s.audit()
			if err != nil {
				return err
			}
			request := &auditv1.EraseRequest{Tenant: s.saidTenant(), Subject: of, Reason: reason}
			answer, err := audit.Erase(cmd.Context(), connect.NewRequest(request))
			if err != nil {
				return err
			}
			now, earlier := answer.Msg.GetKeys(), answer.Msg.GetEarlier()
			if err := s.print(fmt.Appendf(nil, `{"keys":%d,"earlier":%d}`, now, earlier), [][]string{{"ERASED KEYS", "ERASED BEFORE"}, {fmt.Sprint(now), fmt.Sprint(earlier)}}); err != nil {
				return err
			}
			if now+earlier == 0 {
				return nothingError{fmt.Errorf("nothing is erased: there is no key of %s. Nothing was sealed for it, or it is spelled otherwise in spec.record", subject)}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&subject, "subject", "", "whom it is about, as person:ana or patient:P-1029")
	reasonFlag(cmd, &reason)
	return cmd
}
