package main

import (
	"bytes"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"
)

// era is how a call is framed.
type era struct {
	name    string
	body    []byte
	headers map[string]string
}

func eras() []era {
	return []era{
		{name: "2025-11-25",
			body:    []byte(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"the quick brown fox","n":3}}}`),
			headers: map[string]string{"MCP-Protocol-Version": "2025-11-25"}},
		{name: "2026-07-28",
			body: []byte(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"the quick brown fox","n":3},"_meta":{` +
				`"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`),
			headers: map[string]string{"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "echo"}},
	}
}

// target is one thing in front of the upstream, or the upstream itself.
type target struct {
	name    string
	process string
	url     string
	token   string
	pid     int
}

// sample is what one closed-loop round measured.
type sample struct {
	calls     int64
	failures  int64
	perSecond float64
	p50, p99  time.Duration
	// cpu is what each process of the run spent on a call, what came after the last answer included.
	cpu     map[string]time.Duration
	foreign float64
	backlog int64
}

// load runs a closed loop: each caller sends its next call when the last was answered. A failed call counts as none.
func load(t target, e era, callers int, length time.Duration) (sample, error) {
	to, err := url.Parse(t.url)
	if err != nil {
		return sample{}, err
	}
	client := &fasthttp.HostClient{Addr: to.Host, MaxConns: callers, MaxIdemponentCallAttempts: 1}
	var calls, failures atomic.Int64
	latencies := hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)
	var mu sync.Mutex
	var group sync.WaitGroup
	start := time.Now()
	for range callers {
		group.Go(func() {
			mine := caller(client, t, e, start.Add(length), &calls, &failures)
			mu.Lock()
			defer mu.Unlock()
			latencies.Merge(mine)
		})
	}
	group.Wait()
	took := time.Since(start)
	return sample{calls: calls.Load(), failures: failures.Load(), perSecond: float64(calls.Load()) / took.Seconds(),
		p50: time.Duration(latencies.ValueAtQuantile(50)) * time.Microsecond, p99: time.Duration(latencies.ValueAtQuantile(99)) * time.Microsecond}, nil
}

func caller(client *fasthttp.HostClient, t target, e era, end time.Time, calls, failures *atomic.Int64) *hdrhistogram.Histogram {
	latencies := hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	request.SetRequestURI(t.url)
	request.Header.SetMethod(fasthttp.MethodPost)
	request.Header.SetContentType("application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	request.Header.Set("Authorization", "Bearer "+t.token)
	for name, value := range e.headers {
		request.Header.Set(name, value)
	}
	request.SetBody(e.body)
	for time.Now().Before(end) {
		began := time.Now()
		err := client.Do(request, response)
		if err != nil || response.StatusCode() != fasthttp.StatusOK || !bytes.Contains(response.Body(), []byte(`aaaa"}]`)) {
			failures.Add(1)
			continue
		}
		calls.Add(1)
		if err := latencies.RecordValue(max(1, time.Since(began).Microseconds())); err != nil {
			failures.Add(1)
		}
	}
	return latencies
}

// probe makes one call and says what came back when it is not the expected answer.
func probe(t target, e era) error {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.SetRequestURI(t.url)
	request.Header.SetMethod(fasthttp.MethodPost)
	request.Header.SetContentType("application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	request.Header.Set("Authorization", "Bearer "+t.token)
	for name, value := range e.headers {
		request.Header.Set(name, value)
	}
	request.SetBody(e.body)
	if err := fasthttp.Do(request, response); err != nil {
		return err
	}
	if !bytes.Contains(response.Body(), []byte(`aaaa"}]`)) {
		return fmt.Errorf("%s answered %d %.300s", t.name, response.StatusCode(), response.Body())
	}
	return nil
}
