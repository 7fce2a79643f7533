package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"headgate.dev/tools/proc"
)

// row is one line of the result table.
type row struct {
	Era       string  `json:"era"`
	Callers   int     `json:"callers"`
	Target    string  `json:"target"`
	PerSecond float64 `json:"calls_per_second"`
	Ratio     float64 `json:"ratio_to_direct"`
	RatioLow  float64 `json:"ratio_low"`
	RatioHigh float64 `json:"ratio_high"`
	// RatioByCPU is what all processes of the run spent on a direct call, divided by what they spent on one of this target's: the ratio of throughput on
	// processors that never wait. Others on the machine disturb it less.
	RatioByCPU float64 `json:"ratio_to_direct_by_cpu"`
	P50Micros  int64   `json:"p50_us"`
	P99Micros  int64   `json:"p99_us"`
	CPUMicros  float64 `json:"cpu_us_per_call"`
	// CPUOf is the same for each process of the run that spent any: who makes the calls, the upstream, and the rest of Headgate.
	CPUOf map[string]float64 `json:"cpu_us_per_call_of"`
	// Foreign is the share of the machine that processes of others took meanwhile.
	Foreign    float64 `json:"foreign_share"`
	Unshipped  int64   `json:"records_unshipped_at_the_end"`
	RSSMiB     float64 `json:"rss_mib"`
	Failures   int64   `json:"failures"`
	Measured   int     `json:"rounds"`
	ReplyBytes int     `json:"reply_bytes"`
	Journal    string  `json:"journal"`
	Upstream   string  `json:"upstream"`
}

type results struct{ rows []row }

// measure runs direct, A, B, ... direct, A, B, ... so that a machine that drifts drifts for all.
func measure(f *field, c config) (*results, error) {
	var out results
	for _, e := range eras() {
		if !slices.Contains(c.eras, e.name) {
			continue
		}
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
			s, err := f.quietly(c, t, e, callers)
			if err != nil {
				return nil, err
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
		r.Era, r.Callers, r.ReplyBytes, r.Journal, r.Upstream = e.name, callers, c.size, c.mode, c.upstream
		rows = append(rows, r)
	}
	return rows, nil
}

// tries is how often a measurement that others disturbed is made.
const tries = 5

// quietly measures until others left the machine alone, and answers the least disturbed try.
func (f *field) quietly(c config, t target, e era, callers int) (sample, error) {
	var best sample
	for try := range tries {
		s, err := f.sample(c, t, e, callers)
		if err != nil {
			return s, err
		}
		if try == 0 || s.foreign < best.foreign {
			best = s
		}
		if best.foreign <= c.quiet {
			break
		}
	}
	return best, nil
}

// sample makes one measurement and says what every process spent on it. The time ends with the last answer, the spending with the last record shipped.
func (f *field) sample(c config, t target, e era, callers int) (sample, error) {
	if err := f.settled(); err != nil {
		return sample{}, err
	}
	before, err := f.use()
	if err != nil {
		return sample{}, err
	}
	profiled := make(chan error, 1)
	if c.profile != "" && t.process == "edge" {
		go func() { profiled <- f.profile(c.profile, c.length) }()
	} else {
		profiled <- nil
	}
	s, err := load(t, e, callers, c.length)
	if err != nil {
		return s, errors.Join(err, <-profiled)
	}
	end, err := f.use()
	if err != nil {
		return s, err
	}
	_, s.foreign = end.since(before)
	if s.backlog, err = f.backlog(); err != nil {
		return s, err
	}
	if err := errors.Join(f.settled(), <-profiled); err != nil {
		return s, err
	}
	after, err := f.use()
	if err != nil {
		return s, err
	}
	spent, _ := after.since(before)
	s.cpu = map[string]time.Duration{}
	for name, used := range spent.each {
		s.cpu[name] = used / time.Duration(max(1, s.calls))
	}
	return s, nil
}

func summarise(t target, mine, direct []sample) (row, error) {
	r := row{Target: t.name, Measured: len(mine), CPUOf: map[string]float64{}}
	var speeds, ratios, byCPU, foreign []float64
	var p50, p99 []time.Duration
	var left []int64
	cpu := map[string][]float64{}
	for i, s := range mine {
		speeds = append(speeds, s.perSecond)
		ratios = append(ratios, s.perSecond/direct[i].perSecond)
		byCPU = append(byCPU, direct[i].work()/s.work())
		for name, used := range s.cpu {
			cpu[name] = append(cpu[name], float64(used.Nanoseconds())/1000)
		}
		p50, p99 = append(p50, s.p50), append(p99, s.p99)
		foreign, left = append(foreign, s.foreign), append(left, s.backlog)
		r.Failures += s.failures
	}
	r.PerSecond, r.Ratio, r.RatioByCPU = median(speeds), median(ratios), median(byCPU)
	for name, used := range cpu {
		if m := median(used); m >= 0.5 {
			r.CPUOf[name] = m
		}
	}
	r.CPUMicros, r.Foreign, r.Unshipped = median(cpu[t.process]), median(foreign), median(left)
	r.RatioLow, r.RatioHigh = slices.Min(ratios), slices.Max(ratios)
	r.P50Micros, r.P99Micros = median(p50).Microseconds(), median(p99).Microseconds()
	rss, err := proc.RSS(t.pid)
	r.RSSMiB = float64(rss) / (1 << 20)
	return r, err
}

// work is what all processes spent on a call, in µs.
func (s sample) work() float64 {
	sum := 0.0
	for _, used := range s.cpu {
		sum += float64(used.Nanoseconds()) / 1000
	}
	return sum
}

// rest is what a call costs in the processes of Headgate besides the edge.
func (r row) rest() float64 {
	sum := 0.0
	for name, used := range r.CPUOf {
		switch name {
		case "load", "upstream", "reverseproxy", "leanproxy", "edge":
		default:
			sum += used
		}
	}
	return sum
}

func (r *results) print(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "era\tcallers\ttarget\tcalls/s\tratio to direct\trange\tby CPU\tp50 µs\tp99 µs\tCPU µs/call\tload\tupstream\trest\tRSS MiB\tfailures\tunshipped\tothers\t")
	for _, w := range r.rows {
		_, _ = fmt.Fprintf(table, "%s\t%d\t%s\t%.0f\t%.2f\t%.2f–%.2f\t%.2f\t%d\t%d\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%d\t%d\t%.0f %%\t\n",
			w.Era, w.Callers, w.Target, w.PerSecond, w.Ratio, w.RatioLow, w.RatioHigh, w.RatioByCPU, w.P50Micros, w.P99Micros, w.CPUMicros,
			w.CPUOf["load"], w.CPUOf["upstream"], w.rest(), w.RSSMiB, w.Failures, w.Unshipped, 100*w.Foreign)
	}
	_ = table.Flush()
}
