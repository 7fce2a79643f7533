package clock_test

import (
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func TestAClockThatJumpsIsNotBelievedUntilItRanEvenly(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, 6 * time.Second, -6 * time.Second, 365 * 24 * time.Hour} {
		wall, steady := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC), 77*time.Hour
		w := clock.NewWatch(func() time.Time { return wall }, func() time.Duration { return steady })
		pass := func(d time.Duration) { wall, steady = wall.Add(d), steady+d }
		for range 100 {
			pass(time.Second)
			wall = wall.Add(30 * time.Millisecond) // one that is a little fast, or slowly corrected
			if err := w.Check(); err != nil {
				t.Fatal(err)
			}
		}
		pass(30 * 24 * time.Hour) // nobody asked for a month
		wall = wall.Add(20 * time.Minute)
		if err := w.Check(); err != nil {
			t.Fatal(err)
		}
		wall = wall.Add(jump)
		way := map[bool]string{true: "forward", false: "back"}[jump > 0]
		if err := w.Check(); !fault.Is(err, faultv1.Reason_REASON_CLOCK) || !strings.Contains(err.Error(), way+" by "+jump.Abs().String()) {
			t.Errorf("%s: %v", jump, err)
		}
		pass(59 * time.Second)
		if err := w.Check(); err == nil {
			t.Errorf("%s: believed after 59 s", jump)
		}
		pass(time.Second)
		if err := w.Check(); err != nil {
			t.Errorf("%s: %v", jump, err)
		}
		wall = wall.Add(-jump) // set right again: that is a jump too
		if err := w.Check(); err == nil {
			t.Errorf("%s: the way back was not seen", jump)
		}
	}
}

func TestSteadyTimePasses(t *testing.T) {
	steady := clock.NewSteady()
	before := steady()
	began := time.Now()
	for time.Since(began) < 5*time.Millisecond {
	}
	if passed := steady() - before; passed < 4*time.Millisecond || passed > time.Hour {
		t.Errorf("%s passed", passed)
	}
}
