package main

import (
	"fmt"
	"io"
	"strings"
)

// goal is something that the figures of a run should show.
type goal struct {
	what   string
	wanted float64
	atMost bool
	got    []float64
}

// goals are the aims, as far as this run measured them. A goal is met when every figure of it is: both revisions, and each number of callers.
type goals []*goal

func (r *report) goals() goals {
	spool := &goal{what: "throughput ÷ direct, 16 and 64 callers, spool", wanted: 0.50}
	strict := &goal{what: "throughput ÷ direct, 16 and 64 callers, strict", wanted: 0.33}
	cpu := &goal{what: "CPU of a call ÷ the bare lean proxy's, 16 callers, spool", wanted: 2, atMost: true}
	rss := &goal{what: "resident MiB of the edge at 64 callers", wanted: 40, atMost: true}
	large := &goal{what: "throughput ÷ the bare lean proxy's, 256 KB", wanted: 0.8}
	for _, w := range r.Rows {
		spooled, stricter := strings.HasPrefix(w.Target, "headgate spool"), strings.HasPrefix(w.Target, "headgate strict")
		small := w.Part == "calls"
		switch {
		case small && w.Callers >= 16 && spooled:
			spool.got = append(spool.got, w.Ratio.Median)
		case small && w.Callers >= 16 && stricter:
			strict.got = append(strict.got, w.Ratio.Median)
		}
		if lean := r.beside(w, "leanproxy"); lean != nil && spooled && lean.PerSecond > 0 {
			if small && w.Callers == 16 {
				cpu.got = append(cpu.got, w.CPUMicros/lean.CPUMicros)
			}
			if w.Bytes == 256<<10 {
				large.got = append(large.got, w.PerSecond/lean.PerSecond)
			}
		}
		if small && w.Callers == 64 && spooled {
			rss.got = append(rss.got, w.RSSMiB)
		}
	}
	p99 := &goal{what: "p99 ÷ direct's, open loop, each at half of what it takes, spool", wanted: 1.5, atMost: true}
	same := &goal{what: "p99 ÷ direct's, open loop, direct at the same rate, spool", wanted: 1.5, atMost: true}
	for _, o := range r.Open {
		if strings.HasPrefix(o.Target, "headgate spool") {
			p99.got, same.got = append(p99.got, o.P99.Median), append(same.got, o.P99Same.Median)
		}
	}
	list := &goal{what: "p50 of a filtered list of 1,000 tools ÷ the server's own", wanted: 1.2, atMost: true}
	for _, l := range r.Lists {
		if l.Target != "direct" {
			list.got = append(list.got, l.P50.Median)
		}
	}
	idle := &goal{what: "KiB of the edge for an idle stream", wanted: 8, atMost: true}
	for _, s := range r.Streams {
		idle.got = append(idle.got, s.KiB)
	}
	return goals{spool, strict, p99, same, list, large, idle, rss, cpu}
}

// beside is the row of another target that was measured in the same way.
func (r *report) beside(w row, target string) *row {
	for i, other := range r.Rows {
		if other.Target == target && other.Part == w.Part && other.Era == w.Era && other.Callers == w.Callers && other.Bytes == w.Bytes {
			return &r.Rows[i]
		}
	}
	return nil
}

func (g *goal) met() bool {
	for _, got := range g.got {
		if g.atMost && got > g.wanted || !g.atMost && got < g.wanted {
			return false
		}
	}
	return true
}

func (all goals) print(out io.Writer) {
	t := newTable(out, "aim\twanted\tmeasured\t")
	for _, g := range all {
		if len(g.got) == 0 {
			continue
		}
		sign, verdict := "≥", "missed"
		if g.atMost {
			sign = "≤"
		}
		if g.met() {
			verdict = "met"
		}
		figures := make([]string, len(g.got))
		for i, got := range g.got {
			figures[i] = fmt.Sprintf("%.2f", got)
		}
		t.add("%s\t%s %.2f\t%s\t%s\t\n", g.what, sign, g.wanted, strings.Join(figures, ", "), verdict)
	}
	_ = t.Flush()
}
