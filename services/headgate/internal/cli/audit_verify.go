package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ledger"
	"headgate.dev/libs/record"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
)

func verifyCommand(s *session) *cobra.Command {
	var key string
	var checkpoints []string
	cmd := &cobra.Command{
		Use:   "verify FILE|DIR... --key PUB",
		Short: "Say whether exports, proofs, a ledger's folder and what it published hold; needs nothing but them and the public key",
		Long: "Say whether exports and proofs (files), a ledger's folder and a place where a log is published (directories) hold. It asks no service, and none need run: the key must\n" +
			"come from where you trust it to be right, not from who gave you the file. What is given together is also held against each other, and each against the checkpoints.",
		Example: "  headgate audit verify quarter.jsonl --key log.pub\n  headgate audit verify old.jsonl new.jsonl --key log.pub --checkpoint witness/checkpoint\n" +
			"  headgate audit verify /var/lib/headgate/ledger /mnt/second-place --key log.pub",
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			if key == "" {
				return usageError{errors.New("--key takes the public key, or a file that holds it")}
			}
			return s.verify(cmd.Context(), files, key, checkpoints)
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "the log's public key as name+hash+key, or a file that holds it")
	cmd.Flags().StringArrayVar(&checkpoints, "checkpoint", nil, "a file with a checkpoint from elsewhere; may be said again")
	return cmd
}

func (s *session) verify(ctx context.Context, files []string, key string, elsewhere []string) error {
	text, err := readNote(key)
	switch {
	case err == nil:
		key = text
	case ledger.IsOdd(err):
		return usageError{err}
	}
	keys, err := ledger.NewKeyring(key)
	if err != nil {
		return usageError{err}
	}
	var notes []string
	for _, name := range elsewhere {
		text, err := readNote(name)
		if err != nil {
			return usageError{err}
		}
		notes = append(notes, text)
	}
	all := make([]exhibit, len(files))
	for i, name := range files {
		if all[i], err = look(name); err != nil {
			return usageError{err}
		}
	}
	holds := true
	var unread error // what cannot be read hides nothing of the others
	for i, one := range all {
		report, err := one.verify(ctx, keys, append(slices.Clone(notes), one.against(slices.Delete(slices.Clone(all), i, i+1))...))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			unread = errors.Join(unread, fmt.Errorf("%s cannot be read: %w", one.name, err))
			continue
		}
		if err := s.report(one.name, report); err != nil {
			return err
		}
		holds = holds && report.Holds()
	}
	switch {
	case holds:
		return unread
	case unread != nil:
		_, err = fmt.Fprintf(s.stdio.Err, "headgate: %v\n", unread)
		return errors.Join(errNo, err)
	default:
		return errNo
	}
}

// report prints what a verification found.
func (s *session) report(name string, r *ledger.Report) error {
	out := struct {
		File     string            `json:"file"`
		Holds    bool              `json:"holds"`
		Log      string            `json:"log"`
		Size     int64             `json:"size"`
		Root     string            `json:"root"`
		Records  int64             `json:"records"`
		LeftOut  int64             `json:"leftOut"`
		Writers  int               `json:"writers"`
		Made     *time.Time        `json:"made,omitempty"`
		Filter   map[string]string `json:"filter,omitempty"`
		Problems []string          `json:"problems"`
		Notes    []string          `json:"notes"`
	}{File: name, Holds: r.Holds(), Log: r.Checkpoint.Origin, Size: r.Checkpoint.Size, Root: ledger.Short(r.Checkpoint.Root), Records: r.Records, LeftOut: r.LeftOut, Writers: r.Writers,
		Problems: append([]string{}, r.Problems...), Notes: append([]string{}, r.Notes...)}
	if r.Statement != nil {
		out.Made, out.Filter = &r.Statement.Made, r.Statement.Filter
	}
	data, err := json.Marshal(out)
	if err != nil {
		return err
	}
	verdict := "holds"
	if !r.Holds() {
		verdict = "DOES NOT HOLD"
	}
	rows := [][]string{{name, verdict}, {"log", fmt.Sprintf("%s, %d records, root %s", out.Log, out.Size, out.Root)},
		{"in the file", fmt.Sprintf("%d records whole, %d left out, %d writers followed", r.Records, r.LeftOut, r.Writers)}}
	for _, p := range r.Problems {
		rows = append(rows, []string{"problem", p})
	}
	for _, n := range r.Notes {
		rows = append(rows, []string{"note", n})
	}
	return s.print(data, rows)
}

func proveCommand(s *session) *cobra.Command {
	var out outFile
	cmd := &cobra.Command{
		Use:     "prove EVENT",
		Short:   "Write a record with the proof that it is in the log, for audit verify",
		Example: "  headgate audit prove 0197a3c4-0001-7000-8000-000000000001 --out proof.json",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.free(); err != nil {
				return err
			}
			audit, err := s.audit()
			if err != nil {
				return err
			}
			answer, err := audit.Prove(cmd.Context(), connect.NewRequest(&auditv1.ProveRequest{Tenant: s.saidTenant(), EventId: args[0]}))
			if err != nil {
				return err
			}
			return out.write(s.stdio.Out, func(w io.Writer) error {
				_, err := w.Write(answer.Msg.GetProof())
				return err
			})
		},
	}
	out.add(cmd, "-")
	return cmd
}

// logCommand prints one thing that the log says of itself.
func logCommand(s *session, use, short string, pick func(*auditv1.GetLogResponse) string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			audit, err := s.audit()
			if err != nil {
				return err
			}
			answer, err := audit.GetLog(cmd.Context(), connect.NewRequest(&auditv1.GetLogRequest{}))
			if err != nil {
				return err
			}
			text := pick(answer.Msg)
			if text == "" {
				return fault.NotFound("The log was not signed yet. Ask again in some seconds.")
			}
			_, err = fmt.Fprintln(s.stdio.Out, strings.TrimSuffix(text, "\n"))
			return err
		},
	}
}

func tailCommand(s *session) *cobra.Command {
	var flags filterFlags
	var follow bool
	cmd := &cobra.Command{
		Use:     "tail -f",
		Short:   "Show records as they arrive",
		Long:    "Show records as they arrive, in the columns of audit search: with the tenant behind the time where they are of several tenants.",
		Example: "  headgate audit tail -f --effect block\n  headgate audit tail -f --person ana -o json",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := flags.read()
			if err != nil {
				return err
			}
			if !follow {
				return usageError{errors.New("say -f to follow; what was before is shown by audit search")}
			}
			return s.tail(cmd.Context(), &auditv1.TailRequest{Tenant: s.saidTenant(), Filter: filter})
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	return cmd
}

// tail prints until the stream or the context ends: a line of JSON a record, or columns.
func (s *session) tail(ctx context.Context, request *auditv1.TailRequest) error {
	audit, err := s.audit()
	if err != nil {
		return err
	}
	stream, err := audit.Tail(ctx, connect.NewRequest(request))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	all := false
	for stream.Receive() {
		all = all || stream.Msg().GetAllTenants()
		for _, event := range stream.Msg().GetEvents() {
			if s.output == "table" {
				row := eventRow(event)
				if all {
					row = inTenant(row, event.GetTenant())
				}
				if err := writeTable(s.stdio.Out, [][]string{row}); err != nil {
					return err
				}
				continue
			}
			if err := json.NewEncoder(s.stdio.Out).Encode(record.ECS(event)); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return nil // interrupted: that is how a tail ends
	}
	return stream.Err()
}
