package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
)

const (
	// fresh is how long an edge certainly goes on deciding by what it heard last, stale when it certainly does no longer.
	fresh = 2 * time.Second
	stale = 7 * time.Second
	// refusals is how many calls are tried at each edge while none may pass.
	refusals = 200
	// recovers is how soon calls pass again.
	recovers = 5 * time.Second
)

// TestNoEdgeDecidesByOldNews stops each of the services that the edges decide by, without and with its end.
func TestNoEdgeDecidesByOldNews(t *testing.T) {
	up := startServer(t)
	p := product.Start(t, product.Stack, onePerson(up.URL))
	s := p.Stack()
	urls := endpoints(s, "echo")
	agents := startLoad(t, p.Token("ana"), 2, urls...)
	for _, name := range []string{"authz", "trust", "identity"} {
		t.Run(name+" hangs", func(t *testing.T) {
			agents.silence(t, p, up, name, urls, func() { product.Pause(t, s.Process(name)) }, func() { product.Resume(t, s.Process(name)) })
		})
		t.Run(name+" is killed", func(t *testing.T) {
			agents.silence(t, p, up, name, urls, s.Process(name).Kill, func() {
				if err := s.Run(name); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// TestAnEdgeThatHungDoesNotActOnWhatItMissed lets calls wait at an edge that stands still while their person is killed.
func TestAnEdgeThatHungDoesNotActOnWhatItMissed(t *testing.T) {
	const waiting = 64
	up := startServer(t)
	p := product.Start(t, product.Stack, onePerson(up.URL))
	url := endpoints(p.Stack(), "echo")[1]
	agents := startLoad(t, p.Token("ana"), 2, url)
	agents.passing(10*time.Second, "before", url)
	agents.halt()
	product.Pause(t, p.Stack().Process("edge2"))
	p.MustCLI("admin", "kill", "person", "ana", "--tenant", "acme")
	killed, before := time.Now(), len(up.Calls())
	for i := range waiting {
		agents.all.Go(func() { agents.send(agents.client(url, p.Token("ana"), true), fmt.Sprintf("waits-%d", i)) })
	}
	product.Eventually(t, stale, "the edge has heard nothing for longer than it may", func() bool { return time.Since(killed) > 6*time.Second })
	product.Resume(t, p.Stack().Process("edge2"))
	agents.all.Wait()
	reasons := map[string]int{}
	for _, call := range agents.since(url, killed, every) {
		reasons[call.reason]++
		if call.ok || call.reason != "stale" && call.reason != "killed" {
			t.Errorf("a call that waited was answered %+v", call)
		}
	}
	if executed := len(up.Calls()) - before; executed > 0 {
		t.Errorf("%d calls that waited were executed", executed)
	}
	t.Logf("%d calls waited: %v", waiting, reasons)
}

// silence ends the news from a service and looks at every call until they come again.
func (l *load) silence(t *testing.T, p *product.Product, up *server, name string, urls []string, end, begin func()) {
	t.Helper()
	l.passing(10*time.Second, "before", urls...)
	end()
	start := time.Now()
	began := false
	t.Cleanup(func() {
		if !began {
			begin() // leave the next part a whole Headgate
		}
	})
	from := map[string]time.Time{}
	for _, url := range urls {
		product.Eventually(t, stale-time.Since(start), "calls are refused at "+url, func() bool { return len(l.since(url, start, refusedAsStale)) > 0 })
		from[url] = l.since(url, start, refusedAsStale)[0].end
	}
	for _, url := range urls {
		product.Eventually(t, 10*time.Second, fmt.Sprintf("%d calls are tried at %s", refusals, url), func() bool { return len(l.since(url, from[url], every)) >= refusals })
	}
	for i, url := range urls {
		list := l.client(url, p.Token("ana"), true).List()
		if list.OK() || list.Decision().Reason != "stale" {
			t.Errorf("the tools are listed by old news: %d %s", list.Status, list.Body)
		}
		l.checkSilence(t, name, url, start, from[url], up.executed())
		t.Logf("edge %d: the first refusal came after %s", i+1, from[url].Sub(start).Round(10*time.Millisecond))
	}
	began = true
	begin()
	t.Logf("calls pass again after %s", l.passing(recovers, "again", urls...).Round(10*time.Millisecond))
}

func refusedAsStale(o outcome) bool { return o.answered && !o.ok && o.reason == "stale" }

// checkSilence looks at every call from the moment that the news ended: at first all pass, then none.
func (l *load) checkSilence(t *testing.T, name, url string, start, refused time.Time, executed map[string]int) {
	t.Helper()
	named := false
	for _, call := range l.since(url, start, every) {
		switch {
		case call.end.Before(start.Add(fresh)) && !call.ok:
			t.Errorf("a call was refused %s after the last news: %+v", call.end.Sub(start), call)
		case call.start.After(refused) && (call.ok || executed[call.id] > 0):
			t.Errorf("a call passed %s after the first refusal: %+v", call.start.Sub(refused), call)
		case !call.ok && (call.reason != "stale" || !strings.Contains(call.text, "Try again")):
			t.Errorf("a call was refused with %q: %q", call.reason, call.text)
		}
		named = named || strings.Contains(call.text, "the service "+name)
	}
	if !named {
		t.Errorf("no refusal names the service %s", name)
	}
	if after := refused.Sub(start); after < fresh || after > stale {
		t.Errorf("the first refusal came after %s", after)
	}
}

// TestAKillHoldsOnEveryEdge kills and revives a person twenty times under load.
func TestAKillHoldsOnEveryEdge(t *testing.T) {
	const rounds, holds = 20, time.Second
	up := startServer(t)
	p := product.Start(t, product.Stack, onePerson(up.URL))
	urls := endpoints(p.Stack(), "echo")
	agents := startLoad(t, p.Token("ana"), 3, urls...)
	var longest, sum time.Duration
	for round := range rounds {
		agents.passing(2*time.Second, "before the kill", urls...)
		p.MustCLI("admin", "kill", "person", "ana", "--tenant", "acme", "--reason", "drill")
		killed := time.Now()
		for _, url := range urls {
			product.Eventually(t, 5*time.Second, "calls are tried after the kill", func() bool { return len(agents.since(url, killed.Add(holds), every)) >= 20 })
			for _, call := range agents.since(url, killed, passed) {
				after := call.start.Sub(killed)
				longest = max(longest, after)
				if after > holds {
					t.Errorf("round %d: a call that was started %s after the kill passed at %s", round+1, after, url)
				}
			}
			for _, call := range agents.since(url, killed.Add(holds), every) {
				if call.reason != "killed" {
					t.Errorf("round %d: a call after the kill was answered %+v", round+1, call)
				}
			}
		}
		p.MustCLI("admin", "revive", "person", "ana", "--tenant", "acme")
		sum += agents.passing(holds, "after the revival", urls...)
	}
	agents.halt()
	t.Logf("%d kills on %d edges under %d calls: the last call that passed was started %s after a kill; revived within %s on average",
		rounds, len(urls), len(agents.seen(every)), longest, (sum / rounds).Round(time.Millisecond))
}
