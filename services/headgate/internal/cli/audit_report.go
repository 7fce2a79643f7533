package cli

import (
	"fmt"
	"io"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
)

func reportCommand(s *session) *cobra.Command {
	var flags filterFlags
	var format, subject string
	var asOf moment
	var out outFile
	cmd := &cobra.Command{
		Use:   "report person|record|approvals|denied|policies|access",
		Short: "Answer a question of a regulation, as a page to print or a table",
		Long: "Answer a question of a regulation. A report says its period, filter and checkpoint, and that it has every record that fits them.\n" +
			"person takes --person; record takes -q with the id of a record as it stands in calls, or --subject with whom sealed records are about.\n" +
			"access says what changed in a period, or with --as-of who had which right at an instant, since when, by whom and by which record; --person narrows that to one person.",
		Example: "  headgate audit report person --person ana --since 90d --out ana.html\n  headgate audit report denied --since 30d --format csv --out denied.csv\n" +
			"  headgate audit report access --as-of 2026-10-31 --out october.html\n" +
			"  headgate audit report record --subject patient:P-1029 --out disclosures.html",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := flags.read()
			if err != nil {
				return err
			}
			kind := auditv1.ReportKind(auditv1.ReportKind_value["REPORT_KIND_"+upper(args[0])])
			if kind == auditv1.ReportKind_REPORT_KIND_UNSPECIFIED {
				return usageError{fmt.Errorf("there is no report %q; there are person, record, approvals, denied, policies and access", args[0])}
			}
			if format != "html" && format != "csv" {
				return usageError{fmt.Errorf("--format takes html or csv, not %q", format)}
			}
			about, err := subjectOf(subject)
			if err != nil {
				return err
			}
			if err := out.free(); err != nil {
				return err
			}
			audit, err := s.audit()
			if err != nil {
				return err
			}
			request := &auditv1.ReportRequest{Tenant: s.saidTenant(), Kind: kind, Filter: filter, Table: format == "csv", Subject: about}
			if at := asOf.end(clock.System()); !at.IsZero() {
				request.AsOf = timestamppb.New(at)
			}
			stream, err := audit.Report(cmd.Context(), connect.NewRequest(request))
			if err != nil {
				return err
			}
			return out.write(s.stdio.Out, func(w io.Writer) error { return parts(stream, w) })
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&format, "format", "html", "html or csv")
	cmd.Flags().StringVar(&subject, "subject", "", "of record: whom the calls are about, as patient:P-1029")
	cmd.Flags().Var(&asOf, "as-of", "of access: who had which right at an instant, as 2026-11-01T08:00:00Z, at the end of a day, as 2026-11-01 (UTC), or so long ago, as 90m")
	out.add(cmd, "-")
	return cmd
}

func parts(stream *connect.ServerStreamForClient[auditv1.ReportResponse], out io.Writer) error {
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		if _, err := out.Write(stream.Msg().GetPart()); err != nil {
			return err
		}
	}
	return stream.Err()
}
