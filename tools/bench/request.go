package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

// era is a revision of the protocol that calls are framed in.
type era struct{ name, meta string }

var (
	legacy = era{name: "2025-11-25"}
	modern = era{name: "2026-07-28", meta: `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`}
)

// target is one thing in front of the called server, or the server itself.
type target struct {
	name string
	// process is the name of what stands in front, as usage counts it; stats is where it says what it allocates, empty for nowhere.
	process, stats string
	pid            int
	// url is of the server with the tools that are called, lists of the one with many tools.
	url, lists string
	token      string
}

// gate reports whether it is Headgate.
func (t target) gate() bool { return strings.HasPrefix(t.process, "edge") }

// request is one message, and how its answer is known.
type request struct {
	url     string
	token   string
	headers [][2]string
	body    []byte
	good    func(body []byte) bool
}

// callOf calls the tool whose answers have a size.
func callOf(t target, e era, size int) request {
	tool := toolName(size)
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":%q,"arguments":{"text":"the quick brown fox","n":3}%s}}`, tool, comma(e.meta))
	return request{url: t.url, token: t.token, headers: e.headers("tools/call", tool), body: []byte(body), good: func(body []byte) bool {
		return len(body) > size/2 && bytes.Contains(body[max(0, len(body)-64):], []byte(`aaaa"}]`))
	}}
}

// listOf lists the tools of the server that has many.
func listOf(t target, e era, tools int) request {
	params := ""
	if e.meta != "" {
		params = `,"params":{` + e.meta + `}`
	}
	return request{
		url: t.lists, token: t.token, headers: e.headers("tools/list", ""), body: []byte(`{"jsonrpc":"2.0","id":7,"method":"tools/list"` + params + `}`),
		good: func(body []byte) bool { return bytes.Count(body, []byte(`"inputSchema"`)) == tools },
	}
}

func (e era) headers(method, name string) [][2]string {
	all := [][2]string{{"MCP-Protocol-Version", e.name}}
	if e.meta == "" {
		return all
	}
	all = append(all, [2]string{"Mcp-Method", method})
	if name != "" {
		all = append(all, [2]string{"Mcp-Name", name})
	}
	return all
}

func comma(member string) string {
	if member == "" {
		return ""
	}
	return "," + member
}

// toolName is the tool whose answers have a size.
func toolName(size int) string { return "text-" + strconv.Itoa(size) }

// into fills the library's request.
func (r request) into(out *fasthttp.Request) {
	out.SetRequestURI(r.url)
	out.Header.SetMethod(fasthttp.MethodPost)
	out.Header.SetContentType("application/json")
	out.Header.Set("Accept", "application/json, text/event-stream")
	if r.token != "" {
		out.Header.Set("Authorization", "Bearer "+r.token)
	}
	for _, h := range r.headers {
		out.Header.Set(h[0], h[1])
	}
	out.SetBody(r.body)
}

// probe makes a request once and says what came back when it is not the expected answer.
func (r request) probe() error {
	in, out := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(in)
	defer fasthttp.ReleaseResponse(out)
	r.into(in)
	if err := fasthttp.Do(in, out); err != nil {
		return err
	}
	if out.StatusCode() != fasthttp.StatusOK || !r.good(out.Body()) {
		return fmt.Errorf("%s answered %d %.300s", r.url, out.StatusCode(), out.Body())
	}
	return nil
}
