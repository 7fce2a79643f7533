package main

import (
	"context"
	"fmt"
)

// listRow is what asking for a long list took.
type listRow struct {
	Era       string  `json:"era"`
	Target    string  `json:"target"`
	Callers   int     `json:"callers"`
	Tools     int     `json:"tools"`
	P50Micros int64   `json:"p50_us"`
	P99Micros int64   `json:"p99_us"`
	P50       span    `json:"p50_to_direct"`
	P99       span    `json:"p99_to_direct"`
	CPUMicros float64 `json:"cpu_us_per_list"`
	Foreign   float64 `json:"foreign_share"`
	Failures  int64   `json:"failures"`
}

// lists measures a list of 1,000 tools: the upstream's own, and what Headgate shows of it to a caller who may see 900.
func lists(_ context.Context, f *field, c *config, r *report) error {
	targets := []target{f.targets[0]}
	for _, t := range f.targets {
		if t.gate() && t.lists != targets[len(targets)-1].lists {
			t.name = "headgate"
			targets = append(targets, t)
		}
	}
	for _, e := range c.eras {
		of := func(t target) request {
			if t.gate() {
				return listOf(t, e, shown)
			}
			return listOf(t, e, many)
		}
		for _, t := range targets {
			if err := of(t).probe(); err != nil {
				return fmt.Errorf("before the run: %w", err)
			}
		}
		for _, callers := range []int{1, sizeCallers} {
			samples, err := f.rounds(c, targets, fmt.Sprintf("lists-%s-%d", e.name, callers), func(t target) (outcome, error) {
				return closedLoop(of(t), callers, c.length)
			})
			if err != nil {
				return err
			}
			for _, t := range targets {
				w, err := summarise(t, samples[t.name], samples[targets[0].name])
				if err != nil {
					return err
				}
				l := listRow{Era: e.name, Target: t.name, Callers: callers, Tools: many, P50Micros: w.P50Micros, P99Micros: w.P99Micros, P50: w.P50Ratio, P99: w.P99Ratio}
				l.CPUMicros, l.Foreign, l.Failures = w.CPUMicros, w.Foreign, w.Failures
				if t.gate() {
					l.Tools = shown
				}
				r.Lists = append(r.Lists, l)
			}
		}
	}
	return nil
}
