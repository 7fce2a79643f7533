package guard

import (
	"testing"
	"time"
)

func TestT22OpenStatesOfOneCallerLeaveRoomForOthers(t *testing.T) {
	s, now := newStates(), time.Now()
	first, _ := s.give("ana", now)
	given := 1
	for id := first; id != ""; given++ {
		id, _ = s.give("ana", now)
		if given > maxStatesOf {
			t.Fatalf("%d states are open for one caller", given)
		}
	}
	if id, _ := s.give("bob", now); id == "" {
		t.Error("there is no room for another")
	}
	if !s.take(first) || s.take(first) {
		t.Error("a state is not good once")
	}
	if id, _ := s.give("ana", now); id == "" {
		t.Error("a state that was used leaves no room")
	}
	if id, _ := s.give("ana", now.Add(stateFor+2*time.Second)); id == "" || len(s.unused) != 1 || s.of["ana"] != 1 || s.of["bob"] != 0 {
		t.Errorf("what expired stays: %d, %v", len(s.unused), s.of)
	}
}
