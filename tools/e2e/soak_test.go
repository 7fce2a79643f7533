package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	"headgate.dev/tools/e2e/product"
)

// soak is how long and how much: HEADGATE_E2E_SOAK names the time, as 5m. A minute or more is the whole load, less a small one.
type soak struct {
	length                      time.Duration
	streams, principals, atOnce int
}

func soaking(t *testing.T) soak {
	length := 5 * time.Second
	if text := os.Getenv("HEADGATE_E2E_SOAK"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if length >= time.Minute {
		return soak{length, 10_000, 1000, 32}
	}
	return soak{length, 500, 100, 8}
}

// TestAnEdgeIsAsItWasAfterALongDay holds many idle streams at one edge while many people come, open and close streams and sessions, call, are asked and
// go away. When all are gone, the edge has the memory and the goroutines that it had before.
func TestAnEdgeIsAsItWasAfterALongDay(t *testing.T) {
	s := soaking(t)
	echo, asks := product.StartUpstream(t, product.Echo()), startQuestioner(t, false)
	echo.Forget()
	p := product.Start(t, product.Stack, crowd(echo.URL, asks.URL))
	d := &day{t: t, p: p, soak: s, edge: p.Stack().Edges()[0], metrics: p.Stack().Diagnostics("edge")}
	d.invite()
	d.parallel(len(d.tokens), func(n int) error { return errors.Join(d.visit(d.tokens[n]), d.glance(d.tokens[n])) }) // whatever is kept of people once they came
	d.churn(3 * time.Second)
	before := d.settled(nil)

	held := d.hold()
	during := d.reading()
	d.churn(s.length)
	d.alive(held)
	d.reopen(held)
	for _, c := range held {
		_ = c.Close()
	}
	after := d.settled(&before)
	t.Logf("%d streams, %d people, %d things done in %s", len(held), s.principals, d.done.Load(), s.length)
	t.Logf("goroutines %d, %d with the streams, %d after; heap MiB %.1f, %.1f, %.1f; resident MiB %d, %d, %d", before.goroutines, during.goroutines, after.goroutines,
		mib(before.heap), mib(during.heap), mib(after.heap), before.resident>>20, during.resident>>20, after.resident>>20)
	if d.failed.Load() > 0 {
		t.Errorf("%d of %d things went wrong", d.failed.Load(), d.done.Load())
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// crowd is a tenant whose people have all one role.
func crowd(echo, asks string) string {
	return fmt.Sprintf(`
{apiVersion: headgate/v1, kind: Server, metadata: {name: echo, tenant: acme}, spec: {url: %q, approve: initial}}
---
{apiVersion: headgate/v1, kind: Server, metadata: {name: asks, tenant: acme}, spec: {url: %q, approve: initial}}
---
{apiVersion: headgate/v1, kind: Role, metadata: {name: all, tenant: acme}, spec: {grants: [{server: echo, tools: ["*"], can: call}, {server: asks, tools: ["*"], can: call}]}}
`, echo, asks)
}

// day is one run of the soak.
type day struct {
	t             *testing.T
	p             *product.Product
	soak          soak
	edge, metrics string
	tokens        []string
	http          http.Client
	done, failed  atomic.Int64
}

// invite declares the people and gets a token for each.
func (d *day) invite() {
	var people strings.Builder
	for n := range d.soak.principals {
		fmt.Fprintf(&people, "{apiVersion: headgate/v1, kind: Person, metadata: {name: p%d, tenant: acme}, spec: {email: p%d@acme.example, roles: [all]}}\n---\n", n, n)
	}
	d.p.Apply(people.String())
	d.tokens = make([]string, d.soak.principals)
	d.parallel(d.soak.principals, func(n int) error {
		body := fmt.Sprintf(`{"tenant":"acme","person":"p%d","ttl":"7200s"}`, n)
		q, err := http.NewRequest(http.MethodPost, d.p.Info().API+"/headgate.identity.v1.IdentityService/IssueToken", strings.NewReader(body))
		if err != nil {
			return err
		}
		q.Header.Set("Content-Type", "application/json")
		q.Header.Set("Authorization", "Bearer "+d.p.Token("admin"))
		response, err := d.http.Do(q)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		var issued struct{ Token string }
		if err := json.NewDecoder(response.Body).Decode(&issued); err != nil || issued.Token == "" {
			return fmt.Errorf("no token for p%d: %d %w", n, response.StatusCode, err)
		}
		d.tokens[n] = issued.Token
		return nil
	})
	d.http = http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: d.soak.atOnce}}
	product.Eventually(d.t, 30*time.Second, "the last of them may call", func() bool { return d.call(d.tokens[len(d.tokens)-1]) == nil })
}

// parallel does something n times, a few at once, and fails the test when one of them fails.
func (d *day) parallel(n int, what func(n int) error) {
	d.t.Helper()
	var next atomic.Int64
	var all sync.WaitGroup
	for range d.soak.atOnce {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := what(i); err != nil {
					d.t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if d.t.Failed() {
		d.t.FailNow()
	}
}

// hold opens the idle streams: half of them of either era. Each is a connection and nothing else on this side.
func (d *day) hold() []net.Conn {
	d.t.Helper()
	held := make([]net.Conn, d.soak.streams)
	d.parallel(len(held), func(n int) (err error) {
		held[n], err = d.stream(d.tokens[n%len(d.tokens)], n%2 == 0)
		return err
	})
	return held
}

// alive reads what came down the streams meanwhile: none of them has ended, and where there was time for comments each has had some.
func (d *day) alive(held []net.Conn) {
	d.t.Helper()
	d.parallel(len(held), func(n int) error {
		room, heard, patience := make([]byte, 4096), 0, time.Second // a deadline that is over before the read begins reads nothing, on a busy machine
		if d.soak.length < time.Minute {
			patience = time.Millisecond
		}
		for {
			_ = held[n].SetReadDeadline(time.Now().Add(patience))
			k, err := held[n].Read(room)
			heard, patience = heard+k, time.Millisecond
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded) && heard == 0 && d.soak.length >= time.Minute:
				return fmt.Errorf("nothing came down stream %d in %s", n, d.soak.length)
			case errors.Is(err, os.ErrDeadlineExceeded):
				return nil
			case err != nil:
				return fmt.Errorf("stream %d ended: %w", n, err)
			}
		}
	})
}

// reopen closes a tenth of the streams and opens others.
func (d *day) reopen(held []net.Conn) {
	d.parallel(len(held)/10, func(n int) (err error) {
		_ = held[n].Close()
		held[n], err = d.stream(d.tokens[(n+1)%len(d.tokens)], n%2 == 1)
		return err
	})
}

// stream opens one: subscriptions/listen, or the standing stream of a session that is opened for it.
func (d *day) stream(token string, modern bool) (net.Conn, error) {
	at, err := url.Parse(product.Endpoint(d.edge, "echo"))
	if err != nil {
		return nil, err
	}
	head := "GET " + at.Path + " HTTP/1.1\r\n"
	body := ""
	if modern {
		body = `{"jsonrpc":"2.0","id":"s","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},` + asNow + `}}`
		head = "POST " + at.Path + " HTTP/1.1\r\nContent-Type: application/json\r\nMcp-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\nContent-Length: " +
			strconv.Itoa(len(body)) + "\r\n"
	} else {
		session, err := d.session(token)
		if err != nil {
			return nil, err
		}
		head += "Mcp-Session-Id: " + session + "\r\nMcp-Protocol-Version: 2025-11-25\r\n"
	}
	c, err := dial(at.Host)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, head+"Host: "+at.Host+"\r\nAccept: application/json, text/event-stream\r\nAuthorization: Bearer "+token+"\r\n\r\n"+body); err != nil {
		return nil, err
	}
	status, err := bufio.NewReaderSize(c, 512).ReadString('\n')
	if err != nil || !strings.Contains(status, " 200 ") {
		_ = c.Close()
		return nil, fmt.Errorf("a stream was not opened: %q %w", status, err)
	}
	return c, c.SetDeadline(time.Time{})
}

// dial connects without probes from this side: here one kernel is ten thousand clients, and its queue does not hold what all of them would send.
func dial(host string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1}
	return dialer.Dial("tcp", host)
}

const asNow = `"_meta":{"` + mcp.MetaProtocolVersion + `":"2026-07-28","` + mcp.MetaCapabilities + `":{"elicitation":{}}}`

// churn lets people do what people do, as long as it says.
func (d *day) churn(length time.Duration) {
	over := time.Now().Add(length)
	var all sync.WaitGroup
	for worker := range d.soak.atOnce {
		all.Go(func() {
			for n := worker; time.Now().Before(over); n += d.soak.atOnce {
				token := d.tokens[n%len(d.tokens)]
				var err error
				switch rand.IntN(9) {
				case 0:
					err = d.visit(token)
				case 1:
					err = d.glance(token)
				case 2:
					err = d.asked(d.tokens[n%10]) // few: a session with their server outlives them for ten minutes
				case 3:
					err = d.leaves(d.tokens[n%10])
				case 4:
					err = d.sips(token)
				default:
					err = d.call(token)
				}
				d.done.Add(1)
				if err != nil && d.failed.Add(1) < 10 {
					d.t.Log(err)
				}
			}
		})
	}
	all.Wait()
}

// post sends one message and answers what came last.
func (d *day) post(token, server, session, method, name, body string) (*http.Response, []byte, error) {
	q, err := http.NewRequest(http.MethodPost, product.Endpoint(d.edge, server), strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	h := q.Header
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json, text/event-stream")
	h.Set("Authorization", "Bearer "+token)
	switch {
	case session != "":
		h.Set("Mcp-Session-Id", session)
		h.Set("Mcp-Protocol-Version", "2025-11-25")
	case method != mcp.MethodInitialize:
		h.Set("Mcp-Protocol-Version", "2026-07-28")
		h.Set("Mcp-Method", method)
		if name != "" {
			h.Set("Mcp-Name", name)
		}
	}
	response, err := d.http.Do(q)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		text, err := io.ReadAll(response.Body)
		return response, text, err
	}
	events := mcp.NewEventReader(response.Body, 0)
	var last []byte
	for {
		ev, err := events.Next()
		if err != nil {
			return response, last, nil
		}
		last = bytes.Clone(ev.Data)
	}
}

func (d *day) call(token string) error {
	_, text, err := d.post(token, "echo", "", "tools/call", "echo",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"},`+asNow+`}}`)
	if err != nil || toolText(text) != `{"text":"x"}` {
		return fmt.Errorf("a call: %s %w", text, err)
	}
	return nil
}

// session opens a session.
func (d *day) session(token string) (string, error) {
	response, text, err := d.post(token, "echo", "", "initialize", "",
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"soak","version":"1"}}}`)
	if err != nil || response.Header.Get("Mcp-Session-Id") == "" {
		return "", fmt.Errorf("initialize: %s %w", text, err)
	}
	return response.Header.Get("Mcp-Session-Id"), nil
}

// visit is a session from its beginning to its end.
func (d *day) visit(token string) error {
	session, err := d.session(token)
	if err != nil {
		return err
	}
	_, text, err := d.post(token, "echo", session, "", "", `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}}}`)
	if err != nil || toolText(text) != `{"text":"x"}` {
		return fmt.Errorf("a call of a session: %s %w", text, err)
	}
	q, err := http.NewRequest(http.MethodDelete, product.Endpoint(d.edge, "echo"), nil)
	if err != nil {
		return err
	}
	q.Header.Set("Authorization", "Bearer "+token)
	q.Header.Set("Mcp-Session-Id", session)
	response, err := d.http.Do(q)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// glance opens a stream of either era and goes away.
func (d *day) glance(token string) error {
	c, err := d.stream(token, rand.IntN(2) == 0)
	if err != nil {
		return err
	}
	return c.Close()
}

// asked answers what a server wants to know in the middle of a call.
func (d *day) asked(token string) error {
	id := strconv.FormatInt(rand.Int64(), 36)
	_, text, err := d.post(token, "asks", "", "tools/call", "ask",
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ask","arguments":{"id":"`+id+`"},`+asNow+`}}`)
	state, waits := mcp.Text(text, "result", "requestState")
	names, _ := mcp.Members(mcp.Get(text, "result", "inputRequests"))
	if err != nil || !waits || len(names) != 1 {
		return fmt.Errorf("a call that is asked for: %s %w", text, err)
	}
	params := again(id, state, names[0], "x")
	_, text, err = d.post(token, "asks", "", "tools/call", "ask", `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{`+asNow+`,`+params[1:]+`}`)
	if err != nil || toolText(text) != "hello x" {
		return fmt.Errorf("a call that goes on: %s %w", text, err)
	}
	return nil
}

// leaves goes away in the middle of a call.
func (d *day) leaves(token string) error {
	impatient := d.http
	impatient.Timeout = 50 * time.Millisecond
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait","arguments":{"id":"left"},` + asNow + `}}`
	q, err := http.NewRequest(http.MethodPost, product.Endpoint(d.edge, "asks"), strings.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "Authorization": "Bearer " + token, "Mcp-Protocol-Version": "2026-07-28",
		"Mcp-Method": "tools/call", "Mcp-Name": "wait",
	} {
		q.Header.Set(name, value)
	}
	response, err := impatient.Do(q)
	if err != nil {
		return nil // it went away before anything came
	}
	return response.Body.Close()
}

// sips asks for an answer that no buffer holds, reads its beginning and goes away.
func (d *day) sips(token string) error {
	at, err := url.Parse(product.Endpoint(d.edge, "echo"))
	if err != nil {
		return err
	}
	c, err := dial(at.Host)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"` + strings.Repeat("x", 700_000) + `"},` + asNow + `}}`
	head := "POST " + at.Path + " HTTP/1.1\r\nHost: " + at.Host + "\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n" +
		"Authorization: Bearer " + token + "\r\nMcp-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	if _, err := io.WriteString(c, head+body); err != nil {
		return err
	}
	status, err := bufio.NewReaderSize(c, 512).ReadString('\n')
	if err != nil || !strings.Contains(status, " 200 ") {
		return fmt.Errorf("a large answer: %q %w", status, err)
	}
	return nil
}

// reading is what the edge says of itself. The heap is what is still needed, after a collection.
type reading struct{ goroutines, heap, resident int64 }

// collect has the edge throw away what nobody needs any more.
func (d *day) collect() {
	d.t.Helper()
	response, err := http.Get("http://" + d.metrics + "/debug/pprof/heap?gc=1")
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		d.t.Fatal(response.Status, err)
	}
}

func (d *day) reading() reading {
	d.t.Helper()
	d.collect()
	response, err := http.Get("http://" + d.metrics + "/metrics")
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var now reading
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), " ")
		into := map[string]*int64{
			"go_goroutines": &now.goroutines, "go_memstats_heap_alloc_bytes": &now.heap, "process_resident_memory_bytes": &now.resident,
		}[name]
		if number, err := strconv.ParseFloat(value, 64); into != nil && err == nil {
			*into = int64(number)
		}
	}
	if now.goroutines == 0 || now.heap == 0 || now.resident == 0 {
		d.t.Fatal("the metrics do not say how many goroutines there are, or how much memory")
	}
	return now
}

// settled waits until the edge has come to rest: near what it was, or, without that, until nothing falls any more.
func (d *day) settled(was *reading) reading {
	d.t.Helper()
	const room = 48 << 20 // what the runtime has not given back yet
	now := d.reading()
	calm := func() bool {
		before := now
		now = d.reading()
		if was != nil {
			return now.goroutines <= was.goroutines+16 && now.heap <= was.heap+was.heap/10+(4<<20) && now.resident <= was.resident+was.resident/4+room
		}
		return now.goroutines >= before.goroutines && now.resident >= before.resident-(1<<20)
	}
	limit := time.NewTimer(4 * time.Minute)
	defer limit.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if calm() {
				return now
			}
		case <-limit.C:
			d.t.Errorf("it does not come to rest: %+v, from %+v", now, was)
			return now
		}
	}
}
