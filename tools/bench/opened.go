package main

import (
	"context"
)

// openCallers is how many callers find out what a target can take.
const openCallers = 64

// openRow is what an open loop at half of what a target can take saw.
type openRow struct {
	Era    string `json:"era"`
	Target string `json:"target"`
	// Sent is the calls a second that were due: half of what a closed loop of 64 callers reached just before.
	Sent      float64 `json:"calls_per_second_sent"`
	Answered  float64 `json:"calls_per_second"`
	P50Micros int64   `json:"p50_us"`
	P99Micros int64   `json:"p99_us"`
	// P99 is to direct at half of what direct can take, P99Same to direct at the same rate; the latter is there for Headgate.
	P99      span    `json:"p99_to_direct"`
	P99Same  span    `json:"p99_to_direct_at_the_same_rate"`
	Foreign  float64 `json:"foreign_share"`
	Failures int64   `json:"failures"`
	Rounds   int     `json:"rounds"`
}

// open measures latencies at half of what each target can take, and beside those of Headgate, direct ones at the same rate.
func open(ctx context.Context, f *field, c *config, r *report) error {
	for _, e := range c.eras {
		if err := f.warm(c, e, c.small); err != nil {
			return err
		}
		full, err := f.rounds(c, f.targets, "saturation-"+e.name, func(t target) (outcome, error) {
			return closedLoop(callOf(t, e, c.small), openCallers, c.length/2)
		})
		if err != nil {
			return err
		}
		var all []target
		rates := map[string]float64{}
		for _, t := range f.targets {
			all = append(all, t)
			rates[t.name] = medianOf(full[t.name], func(s sample) float64 { return s.perSecond }) / 2
			if t.gate() {
				beside := f.targets[0]
				beside.name = beside.name + " beside " + t.name
				rates[beside.name] = rates[t.name]
				all = append(all, beside)
			}
		}
		half, err := f.rounds(c, all, "open-"+e.name, func(t target) (outcome, error) {
			return openLoop(ctx, callOf(t, e, c.small), rates[t.name], c.length)
		})
		if err != nil {
			return err
		}
		direct := f.targets[0].name
		for _, t := range f.targets {
			r.Open = append(r.Open, openOf(e, t, rates[t.name], half[t.name], half[direct], half[direct+" beside "+t.name]))
		}
	}
	return nil
}

func openOf(e era, t target, rate float64, mine, direct, same []sample) openRow {
	o := openRow{Era: e.name, Target: t.name, Sent: rate, Rounds: len(mine)}
	o.Answered = medianOf(mine, func(s sample) float64 { return s.perSecond })
	o.P50Micros = int64(medianOf(mine, func(s sample) float64 { return float64(s.at(50).Microseconds()) }))
	o.P99Micros = int64(medianOf(mine, func(s sample) float64 { return float64(s.at(99).Microseconds()) }))
	o.Foreign = medianOf(mine, func(s sample) float64 { return s.foreign })
	o.P99 = p99Ratio(mine, direct)
	if same != nil {
		o.P99Same = p99Ratio(mine, same)
	}
	for _, s := range mine {
		o.Failures += s.failures
	}
	return o
}

func p99Ratio(mine, other []sample) span {
	ratios := make([]float64, len(mine))
	for i := range mine {
		ratios[i] = over(mine[i].at(99), other[i].at(99))
	}
	return spanOf(ratios)
}

func medianOf(samples []sample, of func(sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	return median(values)
}
