package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"headgate.dev/tools/proc"
)

// row is one line of the result table.
type row struct {
	Era        string  `json:"era"`
	Callers    int     `json:"callers"`
	Target     string  `json:"target"`
	PerSecond  float64 `json:"calls_per_second"`
	Ratio      float64 `json:"ratio_to_direct"`
	RatioLow   float64 `json:"ratio_low"`
	RatioHigh  float64 `json:"ratio_high"`
	P50Micros  int64   `json:"p50_us"`
	P99Micros  int64   `json:"p99_us"`
	CPUMicros  float64 `json:"cpu_us_per_call"`
	RSSMiB     float64 `json:"rss_mib"`
	Failures   int64   `json:"failures"`
	Measured   int     `json:"rounds"`
	ReplyBytes int     `json:"reply_bytes"`
	Journal    string  `json:"journal"`
}

type results struct{ rows []row }

// measure runs direct, A, B, ... direct, A, B, ... so that a machine that drifts drifts for all.
func measure(f *field, c config) (*results, error) {
	var out results
	for _, e := range eras() {
		for _, t := range f.targets {
			if err := probe(t, e); err != nil {
				return nil, fmt.Errorf("before the run: %w", err)
			}
			if _, err := load(t, e, 16, c.length/2); err != nil {
				return nil, err
			}
		}
		for _, callers := range c.callers {
			rows, err := measureOne(f, c, e, callers)
			if err != nil {
				return nil, err
			}
			out.rows = append(out.rows, rows...)
		}
	}
	return &out, nil
}

func measureOne(f *field, c config, e era, callers int) ([]row, error) {
	samples := map[string][]sample{}
	for range c.rounds {
		for _, t := range f.targets {
			before, err := proc.CPU(t.pid)
			if err != nil {
				return nil, err
			}
			s, err := load(t, e, callers, c.length)
			if err != nil {
				return nil, err
			}
			after, err := proc.CPU(t.pid)
			if err != nil {
				return nil, err
			}
			if s.calls > 0 {
				s.cpuPerCall = (after - before) / time.Duration(s.calls)
			}
			samples[t.name] = append(samples[t.name], s)
		}
	}
	direct := samples[f.targets[0].name]
	rows := make([]row, 0, len(f.targets))
	for _, t := range f.targets {
		r, err := summarise(t, samples[t.name], direct)
		if err != nil {
			return nil, err
		}
		r.Era, r.Callers, r.ReplyBytes, r.Journal = e.name, callers, c.size, c.mode
		rows = append(rows, r)
	}
	return rows, nil
}

func summarise(t target, mine, direct []sample) (row, error) {
	r := row{Target: t.name, Measured: len(mine)}
	var speeds, ratios, cpu []float64
	var p50, p99 []time.Duration
	for i, s := range mine {
		speeds = append(speeds, s.perSecond)
		ratios = append(ratios, s.perSecond/direct[i].perSecond)
		cpu = append(cpu, float64(s.cpuPerCall.Nanoseconds())/1000)
		p50, p99 = append(p50, s.p50), append(p99, s.p99)
		r.Failures += s.failures
	}
	r.PerSecond, r.Ratio, r.CPUMicros = median(speeds), median(ratios), median(cpu)
	r.RatioLow, r.RatioHigh = slices.Min(ratios), slices.Max(ratios)
	r.P50Micros, r.P99Micros = median(p50).Microseconds(), median(p99).Microseconds()
	rss, err := proc.RSS(t.pid)
	r.RSSMiB = float64(rss) / (1 << 20)
	return r, err
}

func (r *results) print(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "era\tcallers\ttarget\tcalls/s\tratio to direct\trange\tp50 µs\tp99 µs\tCPU µs/call\tRSS MiB\tfailures\t")
	for _, w := range r.rows {
		_, _ = fmt.Fprintf(table, "%s\t%d\t%s\t%.0f\t%.2f\t%.2f–%.2f\t%d\t%d\t%.0f\t%.0f\t%d\t\n",
			w.Era, w.Callers, w.Target, w.PerSecond, w.Ratio, w.RatioLow, w.RatioHigh, w.P50Micros, w.P99Micros, w.CPUMicros, w.RSSMiB, w.Failures)
	}
	_ = table.Flush()
}
