package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"headgate.dev/tools/proc"
)

// sample is what one measurement of one target saw.
type sample struct {
	outcome
	// cpu is what each process of the run spent on a call, what came after the last answer included, in µs.
	cpu map[string]float64
	// allocations and bytes are of the process in front, for a call.
	allocations, bytes float64
	foreign            float64
	backlog            int64
}

// work is what all processes spent on a call, in µs.
func (s sample) work() float64 {
	sum := 0.0
	for _, used := range s.cpu {
		sum += used
	}
	return sum
}

// attempt is a way to load a target.
type attempt func(t target) (outcome, error)

// rounds measures each target in turn, again and again, so that a machine that drifts drifts for all. What it answers is by target's name.
func (f *field) rounds(c *config, targets []target, what string, make attempt) (map[string][]sample, error) {
	all := map[string][]sample{}
	for round := range c.rounds {
		for _, t := range targets {
			s, err := f.quietly(c, t, func(t target) (outcome, error) {
				wait := f.profiled(c, t, fmt.Sprintf("%s-%s-%d", what, t.name, round))
				o, err := make(t)
				return o, errors.Join(err, wait())
			})
			if err != nil {
				return nil, err
			}
			all[t.name] = append(all[t.name], s)
		}
	}
	return all, nil
}

// profiled profiles an edge where that is wished for, until the answered function is called.
func (f *field) profiled(c *config, t target, name string) (wait func() error) {
	if c.profiles == "" || !t.gate() {
		return func() error { return nil }
	}
	done := make(chan error, 1)
	go func() {
		done <- profile(c.profiles, filepath.Base(strings.ReplaceAll(name, " ", "-")), t.stats, c.length)
	}()
	return func() error { return <-done }
}

// tries is how often a measurement that others disturbed is made at most.
const tries = 5

// quietly measures until others left the machine alone, as far as there is time for it, and answers the least disturbed try.
func (f *field) quietly(c *config, t target, make attempt) (sample, error) {
	var best sample
	for try := range tries {
		began := time.Now()
		s, err := f.sample(t, make)
		if err != nil {
			return s, err
		}
		if try == 0 || s.foreign < best.foreign {
			best = s
		}
		if try > 0 {
			c.spare -= time.Since(began)
		}
		if best.foreign <= c.quiet || c.spare <= 0 {
			break
		}
	}
	return best, nil
}

// sample makes one measurement and says what every process spent on it. The time ends with the last answer, the spending with the last record shipped.
func (f *field) sample(t target, make attempt) (sample, error) {
	if err := f.settled(); err != nil {
		return sample{}, err
	}
	objects, bytes, err := t.allocated()
	if err != nil {
		return sample{}, err
	}
	before, err := f.use()
	if err != nil {
		return sample{}, err
	}
	var s sample
	if s.outcome, err = make(t); err != nil {
		return s, err
	}
	end, err := f.use()
	if err != nil {
		return s, err
	}
	_, s.foreign = end.since(before)
	if s.backlog, err = f.backlog(); err != nil {
		return s, err
	}
	if err := f.settled(); err != nil {
		return s, err
	}
	after, err := f.use()
	if err != nil {
		return s, err
	}
	objectsAfter, bytesAfter, err := t.allocated()
	if err != nil {
		return s, err
	}
	calls := float64(max(1, s.calls))
	s.allocations, s.bytes = (objectsAfter-objects)/calls, (bytesAfter-bytes)/calls
	spent, _ := after.since(before)
	s.cpu = map[string]float64{}
	for name, used := range spent.each {
		s.cpu[name] = float64(used.Nanoseconds()) / 1000 / calls
	}
	return s, nil
}

// allocated is what the process in front has allocated so far; nothing for one that does not say.
func (t target) allocated() (objects, bytes float64, err error) {
	if t.stats == "" {
		return 0, 0, nil
	}
	stats, err := stat(t.stats, statMallocs, statBytes)
	return stats[statMallocs], stats[statBytes], err
}

// row is what was measured of one target in one way. Ratios are to the direct measurement of the same round.
type row struct {
	// Part, Era, Callers and Bytes say what was measured, Target in front of what.
	Part    string `json:"part"`
	Era     string `json:"era"`
	Callers int    `json:"callers"`
	Bytes   int    `json:"reply_bytes"`
	Target  string `json:"target"`

	PerSecond float64 `json:"calls_per_second"`
	Ratio     span    `json:"ratio_to_direct"`
	// ByCPU is what all processes of the run spent on a direct call, divided by what they spent on one of this target's: the ratio of throughput on
	// processors that never wait. Others on the machine disturb it less.
	ByCPU     float64 `json:"ratio_to_direct_by_cpu"`
	P50Micros int64   `json:"p50_us"`
	P99Micros int64   `json:"p99_us"`
	P50Ratio  span    `json:"p50_to_direct"`
	P99Ratio  span    `json:"p99_to_direct"`
	CPUMicros float64 `json:"cpu_us_per_call"`
	// CPUOf is the same for each process of the run that spent any: who makes the calls, the upstream, and the rest of Headgate.
	CPUOf       map[string]float64 `json:"cpu_us_per_call_of"`
	Allocations float64            `json:"allocations_per_call"`
	AllocBytes  float64            `json:"allocated_bytes_per_call"`
	RSSMiB      float64            `json:"rss_mib"`
	// Anonymous is the part of the memory that is not read from files.
	AnonymousMiB float64 `json:"anonymous_mib"`
	// Foreign is the share of the machine that processes of others took meanwhile.
	Foreign   float64 `json:"foreign_share"`
	Unshipped int64   `json:"records_unshipped_at_the_end"`
	Failures  int64   `json:"failures"`
	Rounds    int     `json:"rounds"`
}

// span is a median with its range.
type span struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func spanOf(values []float64) span {
	return span{Median: median(values), Low: slices.Min(values), High: slices.Max(values)}
}

// median of a copy; the input keeps its order.
func median[T int64 | float64](values []T) T {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// summarise makes a row of a target's samples and the direct ones beside them.
func summarise(t target, mine, direct []sample) (row, error) {
	r := row{Target: t.name, Rounds: len(mine), CPUOf: map[string]float64{}}
	var speeds, ratios, byCPU, p50s, p99s, foreign, objects, bytes []float64
	var p50, p99, left []int64
	cpu := map[string][]float64{}
	for i, s := range mine {
		d := direct[i]
		speeds, ratios, byCPU = append(speeds, s.perSecond), append(ratios, s.perSecond/d.perSecond), append(byCPU, d.work()/s.work())
		for name, used := range s.cpu {
			cpu[name] = append(cpu[name], used)
		}
		p50, p99 = append(p50, s.at(50).Microseconds()), append(p99, s.at(99).Microseconds())
		p50s, p99s = append(p50s, over(s.at(50), d.at(50))), append(p99s, over(s.at(99), d.at(99)))
		foreign, left = append(foreign, s.foreign), append(left, s.backlog)
		objects, bytes = append(objects, s.allocations), append(bytes, s.bytes)
		r.Failures += s.failures
	}
	for name, used := range cpu {
		if m := median(used); m >= 0.5 {
			r.CPUOf[name] = m
		}
	}
	r.PerSecond, r.Ratio, r.ByCPU, r.P50Ratio, r.P99Ratio = median(speeds), spanOf(ratios), median(byCPU), spanOf(p50s), spanOf(p99s)
	r.P50Micros, r.P99Micros, r.CPUMicros = median(p50), median(p99), median(cpu[t.process])
	r.Foreign, r.Unshipped, r.Allocations, r.AllocBytes = median(foreign), median(left), median(objects), median(bytes)
	var err error
	r.RSSMiB, r.AnonymousMiB, err = t.memory()
	return r, err
}

func over(a, b time.Duration) float64 { return float64(a) / float64(max(b, time.Microsecond)) }

// memory is what the process in front holds now, with those that it started, in MiB.
func (t target) memory() (rss, anonymous float64, err error) {
	for _, pid := range proc.Family(t.pid) {
		m, err := proc.MemoryOf(pid)
		if err != nil {
			return 0, 0, err
		}
		rss, anonymous = rss+float64(m.RSS)/(1<<20), anonymous+float64(m.Anonymous)/(1<<20)
	}
	return rss, anonymous, nil
}

// rest is what a call costs in the processes of Headgate besides the edge.
func (r row) rest() float64 {
	sum := 0.0
	for name, used := range r.CPUOf {
		switch name {
		case "load", "upstream", "reverseproxy", "leanproxy", "nginx", "edge", "edge2", "edge3":
		default:
			sum += used
		}
	}
	return sum
}
