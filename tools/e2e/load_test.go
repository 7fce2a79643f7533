package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
)

// onePerson is the smallest tenant that has a server, a right and a rule.
func onePerson(upstream string) string {
	return fmt.Sprintf(`
{apiVersion: headgate/v1, kind: Server, metadata: {name: echo, tenant: acme}, spec: {url: %q, approve: initial}}
---
{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {email: ana@acme.example, roles: [support]}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: support, tenant: acme}, spec: {grants: [{server: echo, tools: ["*"], can: call}]}}
---
apiVersion: headgate/v1
kind: Policy
metadata: {name: echo, tenant: acme}
spec:
  match: {server: echo, tools: [echo]}
  rules:
    - {name: small, when: 'has(args.n) && args.n > 10', effect: block, reason: "Numbers above 10 are too large."}
    - {name: rest, when: 'true', effect: allow}
`, upstream)
}

// quick is how often each worker of a load calls; leisurely, where it is to go on for long.
const (
	quick     = 5 * time.Millisecond
	leisurely = 50 * time.Millisecond
)

// load is agents that call a tool again and again. Each call has a JSON-RPC id of its own, which is also its argument: what the server executed, what
// the caller saw and what the record holds are found by it.
type load struct {
	t      *testing.T
	http   *http.Client
	pace   time.Duration
	serial atomic.Int64
	stop   chan struct{}
	all    sync.WaitGroup

	mu    sync.Mutex
	calls []outcome
}

// outcome is what a caller saw of one call.
type outcome struct {
	id, url    string
	start, end time.Time
	ok         bool
	answered   bool // there was an answer at all
	reason     string
	text       string
}

// startLoad runs workers for each URL, those of odd number as clients of 2025-11-25, until the test ends or halt is called.
func startLoad(t *testing.T, token string, workers int, urls ...string) *load {
	t.Helper()
	return startLoadAt(t, quick, token, workers, urls...)
}

func startLoadAt(t *testing.T, pace time.Duration, token string, workers int, urls ...string) *load {
	t.Helper()
	l := &load{t: t, pace: pace, stop: make(chan struct{}),
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workers}}}
	for _, url := range urls {
		for worker := range workers {
			c := l.client(url, token, worker%2 == 0)
			l.all.Go(func() { l.work(c) })
		}
	}
	t.Cleanup(l.halt)
	return l
}

func (l *load) client(url, token string, modern bool) *product.Client {
	c := product.NewClient(l.t, url, token, modern)
	c.HTTP = l.http
	return c
}

func (l *load) work(c *product.Client) {
	tick := time.NewTicker(l.pace)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			l.send(c, fmt.Sprintf("call-%d", l.serial.Add(1)))
		}
	}
}

// send makes one call and remembers what came of it.
func (l *load) send(c *product.Client, id string) outcome {
	meta := ""
	if c.Modern {
		meta = "," + modernMeta
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":"tools/call","params":{"name":"echo","arguments":{"text":%q}%s}}`, id, id, meta)
	start := time.Now()
	answer := c.Raw([]byte(body), c.Headers("tools/call", "echo"))
	o := outcome{id: id, url: c.URL, start: start, end: time.Now(), ok: answer.OK(), answered: answer.Err == nil, reason: answer.Decision().Reason, text: answer.Text()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, o)
	return o
}

// halt ends the load; every call has then ended.
func (l *load) halt() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.all.Wait()
	l.http.CloseIdleConnections()
}

// seen are the calls that have ended and fit.
func (l *load) seen(fits func(outcome) bool) []outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []outcome
	for _, one := range l.calls {
		if fits(one) {
			found = append(found, one)
		}
	}
	return found
}

// since are the calls to a URL that were started after an instant and fit.
func (l *load) since(url string, start time.Time, fits func(outcome) bool) []outcome {
	return l.seen(func(o outcome) bool { return o.url == url && o.start.After(start) && fits(o) })
}

func passed(o outcome) bool { return o.ok }

func every(outcome) bool { return true }

// passing waits until calls that start now pass at every URL and returns how long it took.
func (l *load) passing(limit time.Duration, what string, urls ...string) time.Duration {
	l.t.Helper()
	from := time.Now()
	return product.Eventually(l.t, limit, "calls pass "+what, func() bool {
		for _, url := range urls {
			if len(l.since(url, from, passed)) == 0 {
				return false
			}
		}
		return true
	})
}

// kills is how many times a test kills: few by default, many where a machine has the time.
func kills(t *testing.T) int {
	t.Helper()
	text := os.Getenv("HEADGATE_E2E_KILLS")
	if text == "" {
		return 6
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("HEADGATE_E2E_KILLS is %q: it must be a positive number", text)
	}
	return n
}

// server is an upstream that can hold calls back.
type server struct {
	*product.Upstream
	mu   sync.Mutex
	held map[string]chan struct{}
}

// startServer makes the server of a load: it answers within ten milliseconds, except calls that were announced with hold.
func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{Upstream: product.StartUpstream(t, product.Echo()), held: map[string]chan struct{}{}}
	s.OnCall = func(call product.Executed) map[string]any {
		s.mu.Lock()
		gate := s.held[text(call)]
		s.mu.Unlock()
		if gate == nil {
			// Tools take a moment, so that a kill finds calls under way.
			gate = make(chan struct{})
			time.AfterFunc(rand.N(10*time.Millisecond), func() { close(gate) })
		}
		<-gate
		return product.Text("done")
	}
	return s
}

// hold lets the call with this id wait at the server until release is called.
func (s *server) hold(id string) (release func()) {
	gate := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[id] = gate
	return sync.OnceFunc(func() { close(gate) })
}

// executed counts the executions of each call by its id.
func (s *server) executed() map[string]int {
	counts := map[string]int{}
	for _, call := range s.Calls() {
		counts[text(call)]++
	}
	return counts
}

func text(call product.Executed) string {
	var args struct{ Text string }
	if json.Unmarshal(call.Args, &args) != nil {
		return ""
	}
	return strings.TrimSpace(args.Text)
}
