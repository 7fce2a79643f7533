package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/ledger"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
)

// filterFlags are those that narrow records, the same for every command that reads them.
type filterFlags struct {
	filter       auditv1.Filter
	since, until moment
}

func (f *filterFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Var(&f.since, "since", "from when on, as 2026-11-01, 2026-11-01T08:00:00Z, or how far back, as 90m, 24h or 7d (default from the first record on)")
	flags.Var(&f.until, "until", "before when, as 2026-11-01, 2026-11-01T08:00:00Z, or how long ago, as 90m, 24h or 7d (default to the last record)")
	flags.StringVar(&f.filter.Person, "person", "", "only this person's")
	flags.StringVar(&f.filter.Agent, "agent", "", "only through this agent")
	flags.StringVar(&f.filter.Server, "server", "", "only to this server")
	flags.StringVar(&f.filter.Tool, "tool", "", "only this tool, by the server's own name")
	flags.StringVar(&f.filter.Effect, "effect", "", "only allow, block, escalate or modify")
	flags.StringVar(&f.filter.Action, "action", "", "only this action, as tool-call or kill")
	flags.StringVarP(&f.filter.Text, "query", "q", "", "words that all occur in the record")
	flags.StringVar(&f.filter.Outcome, "outcome", "", "only success, failure or unknown")
	flags.StringVar(&f.filter.Rule, "rule", "", "only what this rule decided, as POLICY/RULE")
	flags.StringVar(&f.filter.Code, "code", "", "only what ended so, as relation-missing or rate-limited")
	flags.StringVar(&f.filter.CallId, "call", "", "only the records of this call, by its id")
	flags.StringVar(&f.filter.TraceId, "trace", "", "only the records of this trace, by its id")
}

func (f *filterFlags) read() (*auditv1.Filter, error) {
	now := clock.System()
	since, until := f.since.at(now), f.until.at(now)
	if !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return nil, usageError{errors.New("--since must be before --until")}
	}
	if !slices.Contains([]string{"", "success", "failure", "unknown"}, f.filter.GetOutcome()) {
		return nil, usageError{fmt.Errorf("--outcome takes success, failure or unknown, not %q", f.filter.GetOutcome())}
	}
	if !slices.Contains([]string{"", "allow", "block", "escalate", "modify"}, f.filter.GetEffect()) {
		return nil, usageError{fmt.Errorf("--effect takes allow, block, escalate or modify, not %q", f.filter.GetEffect())}
	}
	if bad := notText(&f.filter); bad != "" {
		return nil, usageError{fmt.Errorf("%q is not text in UTF-8, and no record has anything else", bad)}
	}
	if !since.IsZero() {
		f.filter.Since = timestamppb.New(since)
	}
	if !until.IsZero() {
		f.filter.Until = timestamppb.New(until)
	}
	return &f.filter, nil
}

// notText is a field of a filter that cannot be sent.
func notText(f *auditv1.Filter) (bad string) {
	f.ProtoReflect().Range(func(_ protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if text, ok := v.Interface().(string); ok && !utf8.ValidString(text) {
			bad = text
		}
		return bad == ""
	})
	return bad
}

func exportCommand(s *session) *cobra.Command {
	var flags filterFlags
	var format string
	var out outFile
	var resume bool
	cmd := &cobra.Command{
		Use:   "export --out FILE",
		Short: "Write records to a file, in the order of their arrival, with what proves that none is missing",
		Example: "  headgate audit export --format jsonl --since 90d --out quarter.jsonl\n  headgate audit export --format csv --person ana --out ana.csv\n" +
			"  headgate audit export --resume --out quarter.jsonl",
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := flags.read()
			if err != nil {
				return err
			}
			form := auditv1.Format(auditv1.Format_value["FORMAT_"+upper(format)])
			if form == auditv1.Format_FORMAT_UNSPECIFIED {
				return usageError{fmt.Errorf("--format takes jsonl, csv, ocsf or cef, not %q", format)}
			}
			if out.path == "" {
				return usageError{errors.New("--out takes the file to write, or - for standard output")}
			}
			if resume && out.path == "-" {
				return usageError{errors.New("--resume continues a file, not what went to standard output")}
			}
			return s.export(cmd.Context(), &auditv1.ExportRequest{Tenant: s.saidTenant(), Filter: filter, Format: form}, out, resume)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&format, "format", "jsonl", "jsonl (with proofs), csv, ocsf or cef")
	out.add(cmd, "")
	cmd.Flags().BoolVar(&resume, "resume", false, "go on with FILE.part, which an export that broke off left, with its own filter")
	return cmd
}

// export writes into FILE.part and gives it its name when it is whole.
func (s *session) export(ctx context.Context, request *auditv1.ExportRequest, out outFile, resume bool) error {
	if err := out.free(); err != nil {
		return err
	}
	path := out.path
	audit, err := s.audit()
	if err != nil {
		return err
	}
	if path == "-" {
		stream, err := audit.Export(ctx, connect.NewRequest(request))
		return errors.Join(err, receive(stream, s.stdio.Out, func(*auditv1.ExportResponse) error { return nil }))
	}
	part := path + ".part"
	if err := fits(part, resume); err != nil {
		return err
	}
	file, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fault.Invalid("The file %s cannot be written: %v. Name another with --out.", part, err)
	}
	keep := &progress{path: part + ".at", request: request}
	if resume {
		err = keep.goOn(file)
	} else {
		err = keep.over() // of an earlier one
	}
	if err == nil {
		var stream *connect.ServerStreamForClient[auditv1.ExportResponse]
		stream, err = audit.Export(ctx, connect.NewRequest(request))
		err = errors.Join(err, receive(stream, file, func(m *auditv1.ExportResponse) error { return keep.note(file, m) }))
	}
	if err == nil {
		err = file.Sync()
	}
	info, statErr := file.Stat()
	if err = errors.Join(err, statErr, file.Close()); err != nil {
		if statErr == nil && info.Size() == 0 {
			return errors.Join(err, os.Remove(part))
		}
		_, _ = fmt.Fprintf(s.stdio.Err, "headgate: what arrived is in %s; go on with --resume\n", part)
		return err
	}
	if err := out.free(); err != nil {
		return errors.Join(err, fmt.Errorf("the whole export is in %s", part))
	}
	return errors.Join(os.Rename(part, path), keep.over())
}

// fits refuses to begin where an export broke off or is still being written, and to go on where there is none.
func fits(part string, resume bool) error {
	info, err := os.Stat(part)
	begun := err == nil && info.Size() > 0
	switch {
	case begun && !resume:
		return fault.Invalid("There is an unfinished export in %s. Go on with it with --resume, or remove it to begin anew.", part)
	case resume && !begun:
		return fault.Invalid("There is no unfinished export in %s to go on with. Make the export anew, without --resume.", part)
	default:
		return nil
	}
}

// receive writes what comes until the stream ends.
func receive(stream *connect.ServerStreamForClient[auditv1.ExportResponse], out io.Writer, after func(*auditv1.ExportResponse) error) error {
	if stream == nil {
		return nil
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		if _, err := out.Write(stream.Msg().GetLines()); err != nil {
			return err
		}
		if err := after(stream.Msg()); err != nil {
			return err
		}
	}
	return stream.Err()
}

// goOn finds where an export broke off, cuts what is not whole behind it, and makes the request one for the rest.
func goOn(file *os.File, request *auditv1.ExportRequest) error {
	r := bufio.NewReaderSize(file, 1<<20)
	first, err := r.ReadBytes('\n')
	if err != nil {
		return fault.Invalid("The file %s has not even its first line. Remove it to make the export anew, without --resume.", file.Name())
	}
	statement, err := ledger.ParseStatement(first)
	if err != nil {
		return fault.Invalid("The file %s is no export that can be continued: %v. Remove it to make the export anew, without --resume.", file.Name(), err)
	}
	if statement.Version != ledger.ExportVersion {
		return fault.Invalid("The file %s was begun by another version of Headgate, in a form that this one does not write. Remove it to make the export anew, without --resume.", file.Name())
	}
	filter, err := ledger.ParseFilter(statement.Filter)
	if err != nil {
		return err
	}
	whole, next := int64(len(first)), int64(0)
	for {
		text, err := r.ReadBytes('\n')
		after, counts := ledger.NextIndex(text)
		if errors.Is(err, io.EOF) || err == nil && !counts {
			break
		}
		if err != nil {
			return err
		}
		whole, next = whole+int64(len(text)), after
	}
	if next == 0 {
		whole = 0 // nothing but the first line, which the answer begins with
	}
	request.Tenant, request.Size, request.NextIndex = filter.Tenant, statement.Size, next
	request.Filter, request.Began = wire(filter), statement.Filter
	if err := file.Truncate(whole); err != nil {
		return err
	}
	_, err = file.Seek(whole, io.SeekStart)
	return err
}

func wire(f ledger.Filter) *auditv1.Filter {
	out := &auditv1.Filter{
		Person: f.Person, Agent: f.Agent, Server: f.Server, Tool: f.Tool, Effect: f.Effect, Action: f.Action, Text: f.Text,
		Outcome: f.Outcome, Rule: f.Rule, Code: f.Code, CallId: f.Call, TraceId: f.Trace,
	}
	if !f.Since.IsZero() {
		out.Since = timestamppb.New(f.Since)
	}
	if !f.Until.IsZero() {
		out.Until = timestamppb.New(f.Until)
	}
	return out
}

func upper(text string) string { return string(bytes.ToUpper([]byte(text))) }
