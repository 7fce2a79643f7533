package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/stack"
)

// TestOneProcessDiesAgainAndAgain kills headgate dev under load and starts it again on the same data.
func TestOneProcessDiesAgainAndAgain(t *testing.T) {
	since, up := time.Now().Add(-time.Minute), startServer(t)
	p := product.Start(t, product.Dev, onePerson(up.URL), "--no-demo", "--listen", free(t), "--api-listen", free(t))
	url := p.MCP("echo")
	agents := startLoad(t, p.Token("ana"), 4, url)
	var inFlight []string
	var down time.Duration
	for round := range kills(t) {
		agents.passing(10*time.Second, fmt.Sprintf("before kill %d", round+1), url)
		up.more(t, rand.N(150))
		id, end := agents.hold(t, up, url, p.Token("ana"), round)
		inFlight = append(inFlight, id)
		start := time.Now()
		p.Kill()
		end()
		p.StartAgain()
		down += time.Since(start)
	}
	agents.passing(10*time.Second, "after the last kill", url)
	agents.halt()
	checkCrashes(t, p, since, up, agents, inFlight, nil)
	t.Logf("back after %s on average", down/time.Duration(kills(t)))
}

// TestEachOfTheProcessesDies kills one process after the other under load.
func TestEachOfTheProcessesDies(t *testing.T) {
	since, up := time.Now().Add(-time.Minute), startServer(t)
	p := product.Start(t, product.Stack, onePerson(up.URL))
	s := p.Stack()
	urls := endpoints(s, "echo")
	agents := startLoad(t, p.Token("ana"), 2, urls...)
	victims := append([]string{"edge"}, slices.DeleteFunc(s.Names(), func(name string) bool { return name == "edge" })...)
	var inFlight, finished []string
	for round := range kills(t) {
		victim := victims[round%len(victims)]
		agents.passing(15*time.Second, "before the kill of "+victim, urls...)
		up.more(t, rand.N(150))
		url := urls[0]
		if victim == "edge2" {
			url = urls[1]
		}
		id, end := agents.hold(t, up, url, p.Token("ana"), round)
		s.Process(victim).Kill()
		answer := end()
		if strings.HasPrefix(victim, "edge") {
			inFlight = append(inFlight, id)
		} else if finished = append(finished, id); !answer.ok {
			t.Errorf("%s died and the call that was under way did not end well: %+v", victim, answer)
		}
		start := time.Now()
		if err := s.Run(victim); err != nil {
			t.Fatal(err)
		}
		if err := s.WaitReady(victim); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s is ready again after %s", victim, time.Since(start).Round(time.Millisecond))
	}
	agents.passing(15*time.Second, "after the last kill", urls...)
	agents.halt()
	checkCrashes(t, p, since, up, agents, inFlight, finished)
}

// checkCrashes compares executions, answers and records of a test that killed.
func checkCrashes(t *testing.T, p *product.Product, since time.Time, up *server, agents *load, inFlight, finished []string) {
	t.Helper()
	executed, seen := up.executed(), agents.seen(every)
	start := time.Now()
	records := complete(t, p, since, executed, seen)
	found := time.Since(start)
	last, crashed, lost := finals(records), 0, 0
	for _, id := range inFlight {
		if r := last[id]; r.Outcome != unknown || r.Decision.Reason != crash || r.Decision.Sentence == "" {
			t.Errorf("%s was under way at the kill and is recorded as %+v", id, r)
		}
	}
	for _, id := range finished {
		if r := last[id]; r.Outcome != success {
			t.Errorf("%s was under way when another service was killed and is recorded as %+v", id, r)
		}
	}
	for _, r := range last {
		if r.Decision.Reason == crash {
			crashed++
		}
	}
	for _, call := range seen {
		if !call.answered {
			lost++
		}
	}
	if crashed < len(inFlight) {
		t.Errorf("%d calls were under way at the kills, %d are recorded as unknown", len(inFlight), crashed)
	}
	if found := p.Records("-q", "crash", "--action", "tool-call"); len(found) != crashed {
		t.Errorf("headgate audit search finds %d calls that a crash ended, not %d", len(found), crashed)
	}
	t.Logf("%d kills, %d calls sent, %d executed, %d without an answer, %d recorded as unknown, %d records, whole after %s",
		kills(t), len(seen), len(executed), lost, crashed, len(records), found.Round(time.Millisecond))
}

// more waits until the server has executed so many calls more.
func (s *server) more(t *testing.T, calls int) {
	t.Helper()
	want := len(s.Calls()) + calls
	product.Eventually(t, 20*time.Second, fmt.Sprintf("%d more calls are executed", calls), func() bool { return len(s.Calls()) >= want })
}

// hold makes a call and returns while the server executes it. What end returns is what the caller saw.
func (l *load) hold(t *testing.T, up *server, url, token string, round int) (id string, end func() outcome) {
	t.Helper()
	id = fmt.Sprintf("held-%d", round)
	release := up.hold(id)
	t.Cleanup(release)
	c, answer := l.client(url, token, round%2 == 0), make(chan outcome, 1)
	l.all.Go(func() { answer <- l.send(c, id) })
	product.Eventually(t, 5*time.Second, "the server executes the call "+id, func() bool { return up.executed()[id] == 1 })
	return id, func() outcome {
		release()
		return <-answer
	}
}

func free(t *testing.T) string {
	t.Helper()
	address, err := stack.Free()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func endpoints(s *stack.Stack, server string) []string {
	var urls []string
	for _, edge := range s.Edges() {
		urls = append(urls, product.Endpoint(edge, server))
	}
	return urls
}
