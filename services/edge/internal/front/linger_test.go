package front

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// sipping is the connection of a client that takes each portion after a while.
type sipping struct {
	net.Conn

	each     time.Duration
	deadline time.Time
	taken    int
}

func (s *sipping) SetWriteDeadline(at time.Time) error {
	s.deadline = at
	return nil
}

func (s *sipping) Write(data []byte) (int, error) {
	at := time.Now().Add(s.each)
	if at.After(s.deadline) {
		time.Sleep(time.Until(s.deadline))
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(s.each)
	s.taken += len(data)
	return len(data), nil
}

// TestT22WhoSipsAnAnswerIsCut: one that takes each portion just in time keeps a large answer for a minute, and not for an hour.
func TestT22WhoSipsAnAnswerIsCut(t *testing.T) {
	const size = 8 << 20
	for name, c := range map[string]struct {
		each   time.Duration
		whole  bool
		within time.Duration
	}{
		"just in time for each portion": {29 * time.Second, false, time.Minute},
		"half the slowest pace":         {4 * time.Second, false, 2 * time.Minute},
		"the slowest pace":              {2 * time.Second, true, 5 * time.Minute},
		"nothing":                       {time.Hour, false, writeLimit},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // time is the test's own
				client := &sipping{each: c.each}
				p, began := &patient{Conn: client}, time.Now()
				_, err := p.Write(make([]byte, size))
				if took := time.Since(began); (err == nil) != c.whole || (err != nil && !errors.Is(err, os.ErrDeadlineExceeded)) || took > c.within {
					t.Errorf("%d bytes in %s, %v", client.taken, took, err)
				}
			})
		})
	}
}

// TestT22ManySmallWritesAreOneAnswer: the pace is that of all events of a stream, and another answer on the connection begins anew.
func TestT22ManySmallWritesAreOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patient{Conn: &sipping{each: 20 * time.Second}}
		writes := 0
		for ; writes < 100; writes++ {
			if _, err := p.Write([]byte("event")); err != nil {
				break
			}
		}
		if writes != 1 {
			t.Errorf("%d events were written to a client that takes one each 20 s", writes)
		}
		p.pace = pace{}
		if _, err := p.Write([]byte("event")); err != nil {
			t.Error(err)
		}
	})
}
