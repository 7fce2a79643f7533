package main

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAGoalIsMetOnlyWhenEveryFigureIs(t *testing.T) {
	of := func(era string, callers int, ratio float64) row {
		return row{Part: "calls", Era: era, Callers: callers, Bytes: 150, Target: "headgate spool", Ratio: span{Median: ratio}}
	}
	r := &report{Rows: []row{of("2025-11-25", 16, 0.55), of("2025-11-25", 64, 0.52), of("2026-07-28", 1, 0.2)}}
	if g := r.goals()[0]; len(g.got) != 2 || !g.met() {
		t.Errorf("%v of %q is not met: one caller does not count", g.got, g.what)
	}
	r.Rows = append(r.Rows, of("2026-07-28", 64, 0.49))
	if g := r.goals()[0]; g.met() {
		t.Errorf("%v of %q is met", g.got, g.what)
	}
}

func TestCPUIsComparedWithTheLeanProxyOfTheSameMeasurement(t *testing.T) {
	r := &report{Rows: []row{
		{Part: "calls", Era: "2025-11-25", Callers: 16, Target: "leanproxy", CPUMicros: 25, PerSecond: 1},
		{Part: "calls", Era: "2026-07-28", Callers: 16, Target: "leanproxy", CPUMicros: 1, PerSecond: 1},
		{Part: "calls", Era: "2025-11-25", Callers: 16, Target: "headgate spool", CPUMicros: 75},
	}}
	all := r.goals()
	if g := all[len(all)-1]; len(g.got) != 1 || g.got[0] != 3 || g.met() {
		t.Errorf("%v", g.got)
	}
}

func TestARunOfSomePartsKeepsTheStoredFiguresOfTheOthers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "folder", "last.json")
	first := &report{Rows: []row{{Part: "calls", Target: "direct"}, {Part: "sizes", Target: "direct"}}, Lists: []listRow{{Tools: 900}}}
	if err := first.save(file); err != nil {
		t.Fatal(err)
	}
	before, err := load(file)
	if err != nil {
		t.Fatal(err)
	}
	second := &report{Rows: []row{{Part: "calls", Target: "nginx"}}, Streams: []streamRow{{KiB: 4}}}
	whole := second.over(before)
	if len(whole.Rows) != 2 || whole.Rows[0].Target != "nginx" || whole.Rows[1].Part != "sizes" || len(whole.Lists) != 1 || len(whole.Streams) != 1 {
		t.Errorf("%+v", whole)
	}
}

func TestOnlyRangesThatDoNotMeetAreAChange(t *testing.T) {
	row := func(low, median, high float64) *report {
		return &report{Rows: []row{{Part: "calls", Era: "2025-11-25", Callers: 16, Target: "nginx", Ratio: span{median, low, high}, CPUMicros: 10}}}
	}
	var same, other bytes.Buffer
	row(0.5, 0.6, 0.7).compare(row(0.6, 0.7, 0.8), &same)
	row(0.5, 0.55, 0.59).compare(row(0.6, 0.7, 0.8), &other)
	if strings.Contains(same.String(), "changed") || !strings.Contains(other.String(), "changed") {
		t.Errorf("%s%s", same.String(), other.String())
	}
}

func TestTheDefaultRunFitsIntoTenMinutes(t *testing.T) {
	c, err := flags(nil)
	if err != nil {
		t.Fatal(err)
	}
	if planned := c.planned(); planned > 10*time.Minute || c.spare < 0 {
		t.Errorf("it takes %s", planned)
	}
	if _, err := flags([]string{"-parts", "calls,speed"}); err == nil || !strings.Contains(err.Error(), `"speed"`) {
		t.Errorf("a part that does not exist is taken: %v", err)
	}
}

func TestTheCalledServerAnswersBothErasWithTheWantedSize(t *testing.T) {
	s := newServer([]int{150, 16384})
	for _, e := range []era{legacy, modern} {
		for _, size := range []int{150, 16384} {
			of := callOf(target{}, e, size)
			reply := s.answer(callPath, of.body)
			if !of.good(reply) || len(reply) < size || len(reply) > size+80 {
				t.Errorf("%s, %d bytes: %d bytes: %.200s", e.name, size, len(reply), reply)
			}
		}
		if of := listOf(target{}, e, many); !of.good(s.answer(listPath, of.body)) {
			t.Errorf("%s: no list of %d tools", e.name, many)
		}
	}
	if reply := s.answer(callPath, []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)); reply != nil {
		t.Errorf("a notification is answered: %s", reply)
	}
}

func TestAnOpenLoopSendsWhenCallsAreDueAndNotWhenAnswersCome(t *testing.T) {
	var sent []time.Time
	begin := time.Now()
	if err := pace(context.Background(), 1000, begin.Add(200*time.Millisecond), func(at time.Time) { sent = append(sent, at) }); err != nil {
		t.Fatal(err)
	}
	if len(sent) < 130 || len(sent) > 280 { // a Poisson process: 200 on average, five deviations to both sides
		t.Errorf("%d calls were due in 200 ms at 1,000 a second", len(sent))
	}
	if !slices.IsSortedFunc(sent, time.Time.Compare) || sent[0].Before(begin) {
		t.Error("they are not in the order of time")
	}
}
