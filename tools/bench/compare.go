package main

import (
	"fmt"
	"io"
)

// change is a figure of this run and of the last.
type change struct {
	what        string
	before, now float64
	// apart says that the ranges of the two runs do not meet.
	apart bool
}

// compare prints what moved since the report that was stored last.
func (r *report) compare(before *report, out io.Writer) {
	if before == nil {
		return
	}
	var all []change
	for _, w := range r.Rows {
		for _, old := range before.Rows {
			if old.Part == w.Part && old.Era == w.Era && old.Callers == w.Callers && old.Bytes == w.Bytes && old.Target == w.Target && w.Target != "direct" {
				at := fmt.Sprintf("%s, %s, %d bytes, %d callers", w.Target, w.Era, w.Bytes, w.Callers)
				all = append(all, spans("throughput ÷ direct: "+at, old.Ratio, w.Ratio), far("CPU µs: "+at, old.CPUMicros, w.CPUMicros))
			}
		}
	}
	for _, o := range r.Open {
		for _, old := range before.Open {
			if old.Era == o.Era && old.Target == o.Target && o.Target != "direct" {
				all = append(all, spans(fmt.Sprintf("p99 ÷ direct, open loop: %s, %s", o.Target, o.Era), old.P99, o.P99))
			}
		}
	}
	for _, l := range r.Lists {
		for _, old := range before.Lists {
			if old.Era == l.Era && old.Target == l.Target && old.Callers == l.Callers && l.Target != "direct" {
				all = append(all, spans(fmt.Sprintf("list, p50 ÷ direct: %s, %d callers", l.Era, l.Callers), old.P50, l.P50))
			}
		}
	}
	for _, s := range r.Streams {
		for _, old := range before.Streams {
			if old.Era == s.Era {
				all = append(all, far("KiB an idle stream: "+s.Era, old.KiB, s.KiB))
			}
		}
	}
	for _, s := range r.Stages {
		for _, old := range before.Stages {
			if old.Stage == s.Stage {
				all = append(all, far("stage "+s.Stage+", µs", old.Micros, s.Micros))
			}
		}
	}
	t := newTable(out, fmt.Sprintf("compared with %s\tthen\tnow\tnow ÷ then\t", before.Taken.Format("2006-01-02 15:04")))
	for _, c := range all {
		mark := ""
		if c.apart {
			mark = "changed"
		}
		t.add("%s\t%.2f\t%.2f\t%.2f\t%s\t\n", c.what, c.before, c.now, c.now/max(c.before, 1e-9), mark)
	}
	_ = t.Flush()
}

func spans(what string, before, now span) change {
	return change{what: what, before: before.Median, now: now.Median, apart: now.High < before.Low || now.Low > before.High}
}

// far compares figures that have no range: a tenth is a change.
func far(what string, before, now float64) change {
	return change{what: what, before: before, now: now, apart: now > before*1.1 || now < before*0.9}
}
