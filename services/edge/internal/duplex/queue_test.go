package duplex_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/duplex"
	"headgate.dev/services/edge/internal/guard"
)

// tells is a server whose calls of "slow" are told of as often as a test says before they are answered, without waiting for that. Said is closed then.
func tells(t *testing.T, modern bool, times int, tell func(s *server, token string, i int)) (s *server, said chan struct{}) {
	said = make(chan struct{})
	return serve(t, modern, func(s *server, m *mcp.Message) {
		if m.Name != "slow" {
			s.result(m, `{}`)
			return
		}
		go func() {
			defer close(said)
			for i := range times {
				tell(s, string(mcp.Get(m.Params, "_meta", mcp.MetaProgressToken)), i)
			}
			s.result(m, `{}`)
		}()
	}), said
}

func progress(s *server, token string, i int, more string) {
	s.notice(mcp.MethodProgress, fmt.Sprintf(`{"progressToken":%s,"progress":%d,"message":"%s"}`, token, i, more))
}

// slow is a call whose client takes nothing before release is closed, and what it took then.
func slow(release <-chan struct{}) (guard.Exchange, *[]string) {
	ex, taken := call(`{"name":"slow","_meta":{"progressToken":1}}`), &[]string{}
	ex.Server.Timeout = time.Minute
	ex.Notify = func(notice []byte) error {
		<-release
		*taken = append(*taken, string(notice))
		return nil
	}
	return ex, taken
}

// inOrder checks that notices of progress came from 0 on, one after the other.
func inOrder(t *testing.T, taken []string, times int) {
	t.Helper()
	for i, one := range taken {
		if got := string(mcp.Get([]byte(one), "params", "progress")); got != fmt.Sprint(i) {
			t.Fatalf("notice %d has progress %s", i, got)
		}
	}
	if len(taken) != times {
		t.Errorf("%d of %d notices came", len(taken), times)
	}
}

func TestNothingIsLostForWhoReads(t *testing.T) {
	for _, times := range []int{500, 6_000} { // the second is more than waits at once
		for _, modern := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				s, _ := tells(t, modern, times, func(s *server, token string, i int) { progress(s, token, i, strings.Repeat("x", 200)) })
				read := make(chan struct{})
				close(read)
				ex, taken := slow(read)
				c := s.open(duplex.Config{})
				if _, err := c.Call(t.Context(), ex); err != nil {
					t.Fatal(err)
				}
				inOrder(t, *taken, times)
				c.Close()
			})
		}
	}
}

func TestASlowClientHoldsNobodyUp(t *testing.T) {
	s, said := tells(t, true, 500, func(s *server, token string, i int) { progress(s, token, i, "") })
	c := s.open(duplex.Config{})
	release := make(chan struct{})
	ex, taken := slow(release)
	done := make(chan error, 1)
	go func() {
		_, err := c.Call(t.Context(), ex)
		done <- err
	}()
	<-said
	if _, err := c.Call(t.Context(), call(`{"name":"quick"}`)); err != nil {
		t.Error(err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	inOrder(t, *taken, 500)
}

// A client that takes nothing stops the server for everybody for a second, the next one for a tenth of that. It hears what waited, and the newest.
func TestT22AClientThatTakesNothingStopsAServerForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const times = 5_000 // of a kilobyte each
		s := serve(t, true, nil)
		s.answer = func(s *server, m *mcp.Message) {
			go func() {
				if m.Name == "slow" {
					for i := range times {
						progress(s, string(mcp.Get(m.Params, "_meta", mcp.MetaProgressToken)), i, strings.Repeat("x", 1_000))
					}
				}
				s.result(m, `{}`)
			}()
		}
		c := s.open(duplex.Config{})
		release, done := make(chan struct{}), make(chan error, 2)
		var all []*[]string
		for _, most := range []time.Duration{time.Second, 100 * time.Millisecond} {
			ex, taken := slow(release)
			all = append(all, taken)
			go func() {
				_, err := c.Call(t.Context(), ex)
				done <- err
			}()
			synctest.Wait() // until nothing is read
			began := time.Now()
			if _, err := c.Call(t.Context(), call(`{"name":"quick"}`)); err != nil || time.Since(began) > most {
				t.Errorf("a call of another: %v after %s", err, time.Since(began))
			}
		}
		synctest.Wait() // until everything was said
		close(release)
		for range all {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		for _, taken := range all {
			last := len(*taken) - 1
			inOrder(t, (*taken)[:last], last)
			if got := string(mcp.Get([]byte((*taken)[last]), "params", "progress")); got != fmt.Sprint(times-1) || last < 800 || last > 1_000 {
				t.Errorf("%d notices, the last with progress %s", last+1, got)
			}
		}
		c.Close()
	})
}

func TestWhatASlowClientMissesOfALogItIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const times = 2_000
		s, said := tells(t, false, times, func(s *server, _ string, i int) {
			s.notice(mcp.MethodLog, fmt.Sprintf(`{"level":"info","data":{"progress":%d,"x":"%s"}}`, i, strings.Repeat("x", 1_000)))
		})
		c := s.open(duplex.Config{Alone: true})
		release, done := make(chan struct{}), make(chan error, 1)
		ex, taken := slow(release)
		go func() {
			_, err := c.Call(t.Context(), ex)
			done <- err
		}()
		<-said
		synctest.Wait()
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		last := len(*taken) - 1
		for i, one := range (*taken)[:last] {
			if got := string(mcp.Get([]byte(one), "params", "data", "progress")); got != fmt.Sprint(i) {
				t.Fatalf("word %d is %s", i, got)
			}
		}
		want := fmt.Sprintf("%d notices of the server files were left out here, because they were not read as fast as it sent them.", times-last)
		gap := []byte((*taken)[last])
		text, _ := mcp.Text(gap, "params", "data")
		level, _ := mcp.Text(gap, "params", "level")
		if _, err := mcp.ReadReply(gap, mcp.ReplyLimits()); err != nil || text != want || level != "warning" || last < 800 {
			t.Errorf("%s, %v", gap, err)
		}
		c.Close()
	})
}
