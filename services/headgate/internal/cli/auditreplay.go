package cli

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"headgate.dev/services/audit"
)

// auditReplay brings back what audit could not use. It talks to Kafka directly, as a user that the service itself is not.
func auditReplay(s *session) *cobra.Command {
	var who operator
	var consumer string
	var dry bool
	cmd := &cobra.Command{
		Use:   "replay --config FILE",
		Short: "Bring records that audit put aside back to it; one that it has already is not stored again",
		Long: "Bring records that audit put aside back to it: after an upgrade that can read them, or when the index takes them.\n\n" +
			"What is put aside again stays aside until the next replay. Nothing is lost by doing it twice: records are known by their ids.",
		Example: "  headgate audit replay --config audit.yaml --dry-run\n" +
			"  headgate audit replay --config audit.yaml --kafka-user headgate-replay --kafka-password-file kafka.password",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := who.configuration()
			if err != nil {
				return err
			}
			rows := [][]string{{"ASIDE SINCE", "EVENT", "CLASS", "ATTEMPT", "BYTES", "FROM", "REASON"}}
			letters := []audit.Letter{}
			if err := audit.Replay(cmd.Context(), cfg, consumer, dry, func(l audit.Letter) {
				letters = append(letters, l)
				rows = append(rows, []string{l.Time.UTC().Format(time.RFC3339), l.Event, l.Class, l.Attempt, strconv.Itoa(l.Bytes), l.Source, l.Reason})
			}); err != nil {
				return err
			}
			value, err := json.Marshal(letters)
			if err != nil {
				return err
			}
			if err := s.print(value, rows); err != nil {
				return err
			}
			words := "brought back"
			if dry {
				words = "would be brought back"
			}
			_, err = fmt.Fprintf(s.stdio.Err, "%d records %s.\n", len(letters), words)
			return err
		},
	}
	who.flags(cmd)
	cmd.Flags().StringVar(&consumer, "consumer", "index", "who put them aside: index or anomaly")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only show what is aside")
	return cmd
}
