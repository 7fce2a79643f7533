package guard

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

// kept is a Sink that keeps what it was sent.
type kept struct {
	ids   []string
	over  bool
	takes int // how many messages it takes
}

func (k *kept) Send(id string, _ []byte) error {
	if len(k.ids) >= k.takes {
		return errors.New("too slow")
	}
	k.ids = append(k.ids, id)
	return nil
}

func (k *kept) End() { k.over = true }

func logOf(r *replays, owner string) *eventLog {
	return r.begin(owner, func(id string) string { return "t-" + id })
}

func always() error { return nil }

func TestT22WhoStreamsMuchTakesNothingFromOthers(t *testing.T) {
	r := newReplays()
	theirs := logOf(r, "bob")
	theirs.add([]byte("m"))
	for range 2 * maxLoggedAll / maxLogged {
		logOf(r, "ana").add(bytes.Repeat([]byte("x"), maxLogged))
	}
	for range 2 * maxLoggedAll / logCost { // streams without much in them count as well
		logOf(r, "eve").add([]byte("m"))
	}
	if r.from(theirs.id, "bob", 0, always) == nil || r.bytes > maxLoggedAll {
		t.Errorf("bob's stream is gone, or %d bytes are kept", r.bytes)
	}
	if got := theirs.of.of["bob"].bytes; got != logCost+1 {
		t.Errorf("bob has %d bytes", got)
	}
}

func TestAStreamThatRunsDoesNotKeepWhatEndedBeforeIt(t *testing.T) {
	r := newReplays()
	now := time.Now()
	logOf(r, "ana").add([]byte("m")) // goes on
	ended := logOf(r, "ana")
	ended.add([]byte("m"))
	ended.end(now)
	r.sweep(now.Add(loggedFor))
	if len(r.logs) != 1 || r.bytes != logCost+1 {
		t.Errorf("%d streams, %d bytes", len(r.logs), r.bytes)
	}
}

func TestT26AStreamThatWasTakenUpEndsWithTheRightToIt(t *testing.T) {
	r, refused := newReplays(), error(nil)
	l := logOf(r, "ana")
	l.add([]byte("m"))
	k := &kept{takes: 10}
	r.from(l.id, "ana", 0, func() error { return refused }).Attach(k)
	l.add([]byte("m"))
	refused = errors.New("revoked")
	l.add([]byte("m"))
	if len(k.ids) != 2 || !k.over {
		t.Errorf("%v, over: %v", k.ids, k.over)
	}
}

func TestT22WhatIsKeptOfStreamsIsBoundedAndBoundedAgain(t *testing.T) {
	r := newReplays()
	megabyte := bytes.Repeat([]byte("x"), maxLogged-1)
	oldest := logOf(r, "ana")
	for i := range 3 * maxLoggedAll / maxLogged {
		if i > 0 {
			oldest.add(megabyte) // it is long forgotten, and goes on
		}
		one := logOf(r, "ana")
		one.add(megabyte)
		one.add(megabyte)
		if one.bytes > maxLogged || r.bytes > maxLoggedAll {
			t.Fatalf("%d bytes of one stream, %d of all", one.bytes, r.bytes)
		}
	}
	mine := r.of["ana"].logs
	newest := mine[len(mine)-1]
	if r.from(newest.id, "ana", 1, always) == nil || r.from(oldest.id, "ana", 0, always) != nil {
		t.Error("the newest is not kept, or the oldest is")
	}
	now := time.Now()
	for _, one := range r.logs {
		one.end(now)
	}
	oldest.end(now)
	r.sweep(now.Add(loggedFor))
	if r.bytes != 0 || len(r.logs) != 0 || len(r.of) != 0 {
		t.Errorf("%d bytes of %d streams are left", r.bytes, len(r.logs))
	}
}

func TestAStreamThatIsTakenUpAgainHasEachMessageOnce(t *testing.T) {
	r := newReplays()
	l := logOf(r, "ana")
	for range 3 {
		l.add([]byte("m"))
	}
	if r.from(l.id, "bob", 0, always) != nil || r.from("other", "ana", 0, always) != nil {
		t.Error("a stream is another's")
	}
	first, second, slow := &kept{takes: 10}, &kept{takes: 10}, &kept{takes: 1}
	r.from(l.id, "ana", 1, always).Attach(first)
	l.add([]byte("m"))
	r.from(l.id, "ana", 3, always).Attach(second)
	l.add([]byte("m"))
	r.from(l.id, "ana", 0, always).Attach(slow)
	l.end(time.Now())
	numbers := func(k *kept) string {
		out := []string{}
		for _, id := range k.ids {
			out = append(out, strings.TrimPrefix(id, "t-"+l.id+"."))
		}
		return strings.Join(out, " ")
	}
	if got := numbers(first); got != "2 3 4" || !first.over {
		t.Errorf("the first has %s", got)
	}
	if got := numbers(second); got != "4 5" || !second.over {
		t.Errorf("the second has %s", got)
	}
	if got := numbers(slow); got != "1" {
		t.Errorf("the slow one has %s", got)
	}
	late := &kept{takes: 10}
	r.from(l.id, "ana", 4, always).Attach(late)
	if got := numbers(late); got != "5" || !late.over {
		t.Errorf("after the end, there is %s", got)
	}
}

func TestEventIDsAreTakenApart(t *testing.T) {
	for id, want := range map[string]int{"a.1": 1, "a.99": 99, "a.0": 0, "a.-1": 0, "a": 0, "a.": 0, "a.1x": 0, "": 0} {
		token, number, ok := eventID(id)
		if ok != (want > 0) || ok && (token != "a" || number != want) {
			t.Errorf("%s is %s and %s, %v", id, token, strconv.Itoa(number), ok)
		}
	}
}
