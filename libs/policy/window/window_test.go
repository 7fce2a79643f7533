package window_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/policy/window"
)

func TestSumsSlide(t *testing.T) {
	s := window.New()
	at := time.Date(2026, 3, 4, 12, 0, 30, 0, time.UTC)
	add := func(n float64, at time.Time) float64 {
		sum, _, err := s.Add("a", time.Hour, n, at)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	if got := add(3, at); got != 3 {
		t.Error(got)
	}
	if got := add(4, at.Add(30*time.Minute)); got != 7 {
		t.Error(got)
	}
	if got := s.Sum("a", time.Hour, at.Add(time.Hour)); got != 7 {
		t.Errorf("an amount left early: %v", got)
	}
	if got := s.Sum("a", time.Hour, at.Add(62*time.Minute)); got != 4 {
		t.Errorf("an amount left late: %v", got)
	}
	if got := add(1, at.Add(-10*time.Hour)); got != 5 {
		t.Errorf("a clock that was set back forgot: %v", got)
	}
	if got := s.Sum("b", time.Hour, at); got != 0 {
		t.Error(got)
	}
}

func TestTwoAtOnceDoNotFitIntoTheSameRest(t *testing.T) {
	s := window.New()
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	var passed int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			sum, slot, err := s.Add("a", time.Hour, 1, at)
			if err != nil {
				t.Error(err)
			}
			if sum > 10 {
				s.Undo(slot, 1)
				return
			}
			mu.Lock()
			passed++
			mu.Unlock()
		})
	}
	all.Wait()
	if passed > 10 || s.Sum("a", time.Hour, at) != float64(passed) {
		t.Errorf("%d passed, the sum is %v", passed, s.Sum("a", time.Hour, at))
	}
}

func TestWhatIsToldTwiceCountsOnce(t *testing.T) {
	a, b := window.New(), window.New()
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	tell := func(all map[window.Slot]float64) {
		for range 2 {
			for slot, n := range all {
				if err := b.Hear("a", slot, n, at); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	_, slot, err := a.Add("x", time.Hour, 5, at)
	if err != nil {
		t.Fatal(err)
	}
	told := a.Changed()
	tell(told)
	if got := b.Sum("x", time.Hour, at); got != 5 || len(a.Changed()) != 0 {
		t.Error(got)
	}
	a.Again(told)
	a.Undo(slot, 2)
	tell(a.Changed())
	if got := b.Sum("x", time.Hour, at); got != 3 {
		t.Error(got)
	}
	a.AgainAll()
	tell(a.Changed())
	if sum, _, err := b.Add("x", time.Hour, 1, at); err != nil || sum != 4 {
		t.Error(sum, err)
	}
	if got := b.Changed(); len(got) != 1 || got[slot] != 1 {
		t.Errorf("what was heard is told as if it were one's own: %v", got)
	}
}

func TestThereIsAnEndToWhatIsKept(t *testing.T) {
	s := window.New()
	at := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for i := range 200_000 {
		if _, _, err := s.Add(fmt.Sprint(i), time.Minute, 1, at); err != nil {
			t.Fatal(i, err)
		}
	}
	if _, _, err := s.Add("one more", time.Minute, 1, at); !errors.Is(err, window.ErrFull) {
		t.Fatal(err)
	}
	if sum, _, err := s.Add("one more", time.Minute, 1, at.Add(time.Hour)); err != nil || sum != 1 {
		t.Fatal(sum, err)
	}
}
