package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// report is everything that one run measured, as it is stored.
type report struct {
	Taken   time.Time   `json:"taken"`
	On      machine     `json:"on"`
	Rows    []row       `json:"calls,omitempty"`
	Open    []openRow   `json:"open,omitempty"`
	Lists   []listRow   `json:"lists,omitempty"`
	Streams []streamRow `json:"streams,omitempty"`
	Audit   *auditRow   `json:"audit,omitempty"`
	Stages  []stageRow  `json:"stages,omitempty"`
}

// load reads the report that was stored last; nil when there is none.
func load(path string) (*report, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &r, nil
}

func (r *report) save(path string) error {
	encoded, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(encoded, '\n'), 0o644)
}

// over takes from an older report what this run did not measure, so that a run of some parts does not forget the others.
func (r *report) over(before *report) *report {
	out := *r
	if before == nil {
		return &out
	}
	measured := map[string]bool{}
	for _, w := range r.Rows {
		measured[w.Part] = true
	}
	for _, w := range before.Rows {
		if !measured[w.Part] {
			out.Rows = append(out.Rows, w)
		}
	}
	if out.Open == nil {
		out.Open = before.Open
	}
	if out.Lists == nil {
		out.Lists = before.Lists
	}
	if out.Streams == nil {
		out.Streams = before.Streams
	}
	if out.Audit == nil {
		out.Audit = before.Audit
	}
	if out.Stages == nil {
		out.Stages = before.Stages
	}
	return &out
}

// table writes aligned columns.
type table struct{ *tabwriter.Writer }

func newTable(out io.Writer, head string) table {
	t := table{tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)}
	t.add("\n%s\t\n", head)
	return t
}

// add adds a line; what cannot be printed cannot be reported either.
func (t table) add(format string, values ...any) { _, _ = fmt.Fprintf(t, format, values...) }

func (s span) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Low, s.High) }

// print writes everything as tables.
func (r *report) print(out io.Writer) {
	r.printCalls(out)
	if len(r.Open) > 0 {
		t := newTable(out, "open loop\tin front\tsent/s\tanswered/s\tp50 µs\tp99 µs\tp99 ÷ direct\tp99 ÷ direct at this rate\tfailures\tothers")
		for _, o := range r.Open {
			t.add("%s\t%s\t%.0f\t%.0f\t%d\t%d\t%s\t%s\t%d\t%.0f %%\t\n", o.Era, o.Target, o.Sent, o.Answered, o.P50Micros, o.P99Micros, o.P99, o.P99Same, o.Failures, 100*o.Foreign)
		}
		_ = t.Flush()
	}
	if len(r.Lists) > 0 {
		t := newTable(out, "list\tin front\ttools\tcallers\tp50 µs\tp99 µs\tp50 ÷ direct\tp99 ÷ direct\tCPU µs\tfailures\tothers")
		for _, l := range r.Lists {
			t.add("%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%.0f\t%d\t%.0f %%\t\n",
				l.Era, l.Target, l.Tools, l.Callers, l.P50Micros, l.P99Micros, l.P50, l.P99, l.CPUMicros, l.Failures, 100*l.Foreign)
		}
		_ = t.Flush()
	}
	if len(r.Streams) > 0 {
		t := newTable(out, "idle streams\tby\tstreams\tKiB each\tof that live\tidle, of a processor\tlost")
		for _, s := range r.Streams {
			t.add("%s\t%s\t%d\t%.1f\t%.1f\t%.1f %%\t%d\t\n", s.Era, s.Method, s.Streams, s.KiB, s.LiveKiB, 100*s.Idle, s.Lost)
		}
		_ = t.Flush()
	}
	if r.Audit != nil {
		_, _ = fmt.Fprintf(out, "\naudit service, apart: %.0f µs of CPU a record (%d records)\n", r.Audit.CPUMicros, r.Audit.Records)
	}
	if len(r.Stages) > 0 {
		t := newTable(out, "stage\tµs\tbudget µs\tallocations\tbytes")
		for _, s := range r.Stages {
			t.add("%s\t%.2f\t%.1f\t%.0f\t%.0f\t\n", s.Stage, s.Micros, s.Budget, s.Allocations, s.Bytes)
		}
		_ = t.Flush()
	}
}

func (r *report) printCalls(out io.Writer) {
	if len(r.Rows) == 0 {
		return
	}
	t := newTable(out, "calls\tbytes\tcallers\tin front\tcalls/s\t÷ direct\tby CPU\tp50 µs\tp99 µs\tCPU µs\tload\tserver\trest\tallocs\tRSS MiB\tanon.\tfailures\tunshipped\tothers")
	for _, w := range r.Rows {
		t.add("%s\t%d\t%d\t%s\t%.0f\t%s\t%.2f\t%d\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%d\t%d\t%.0f %%\t\n",
			w.Era, w.Bytes, w.Callers, w.Target, w.PerSecond, w.Ratio, w.ByCPU, w.P50Micros, w.P99Micros, w.CPUMicros,
			w.CPUOf["load"], w.CPUOf["upstream"], w.rest(), w.Allocations, w.RSSMiB, w.AnonymousMiB, w.Failures, w.Unshipped, 100*w.Foreign)
	}
	_ = t.Flush()
}
