package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
	"github.com/valyala/fasthttp"
)

// The kinds of upstream.
const (
	plainUpstream = "nethttp"
	leanUpstream  = "fasthttp"
)

// The called server's paths: one has few tools that are called, the other many that are listed.
const (
	callPath = "/mcp"
	listPath = "/many"
)

// server is the MCP server that is measured against. Each of its tools answers a text of one size. It runs on the standard library's HTTP server, as
// the official Go SDK does, without the SDK's own cost. The lean one on fasthttp is cheaper than any server that does something: against it a hop of any
// kind looks dear.
type server struct {
	texts map[string][]byte // results by tool, in both eras alike
	tools []byte            // of the path with few
	many  []byte
}

func newServer(sizes []int) *server {
	s := &server{texts: map[string][]byte{}}
	var few []string
	for _, size := range sizes {
		const around = len(`{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":""}]}}`)
		text := `"content":[{"type":"text","text":"` + strings.Repeat("a", max(8, size-around)) + `"}]`
		s.texts[toolName(size)] = []byte(text)
		few = append(few, definition(toolName(size), "Answers a text."))
	}
	s.tools = []byte(`"tools":[` + strings.Join(few, ",") + `]`)
	all := make([]string, many)
	for i := range all {
		all[i] = definition(listed(i), "Looks up one record of the register number "+strconv.Itoa(i)+" and answers its text.")
	}
	s.many = []byte(`"tools":[` + strings.Join(all, ",") + `]`)
	return s
}

// listed is the name of a tool of the server that has many.
func listed(number int) string { return "lookup-" + strconv.Itoa(number) }

func definition(name, description string) string {
	return fmt.Sprintf(`{"name":%q,"description":%q,"inputSchema":{"type":"object","properties":{"text":{"type":"string"},"n":{"type":"integer"}},"required":["text"]}}`,
		name, description)
}

// serve answers on the listener until the process is killed.
func (s *server) serve(listener net.Listener, kind string) error {
	if kind == leanUpstream {
		lean := &fasthttp.Server{NoDefaultServerHeader: true, Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType("application/json")
			reply := s.answer(string(ctx.Path()), ctx.PostBody())
			if reply == nil {
				ctx.SetStatusCode(http.StatusAccepted)
				return
			}
			ctx.Response.SetBodyRaw(reply)
		}}
		return lean.Serve(listener)
	}
	return (&http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		reply := s.answer(r.URL.Path, body)
		if reply == nil {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(reply)))
		_, _ = w.Write(reply) // a client that went away shows on its own side
	})}).Serve(listener)
}

// answer is the reply to one message in the era that it speaks; nil to a notification.
func (s *server) answer(path string, body []byte) []byte {
	found := gjson.GetManyBytes(body, "id", "method", "params.name", `params._meta.io\.modelcontextprotocol/protocolVersion`)
	if found[0].Raw == "" {
		return nil
	}
	kind := ""
	if found[3].Exists() {
		kind = `"resultType":"complete","ttlMs":0,"cacheScope":"public",`
	}
	content := s.texts[found[2].String()]
	switch found[1].String() {
	case "initialize":
		kind, content = "", []byte(`"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1"}`)
	case "server/discover":
		content = []byte(`"supportedVersions":["2026-07-28","2025-11-25"],"capabilities":{"tools":{}}`)
	case "tools/list":
		content = s.tools
		if path == listPath {
			content = s.many
		}
	case "tools/call":
	default:
		content = nil
	}
	if content == nil {
		return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"Method not found"}}`, found[0].Raw)
	}
	reply := bytes.NewBuffer(make([]byte, 0, len(content)+len(kind)+64))
	_, _ = fmt.Fprintf(reply, `{"jsonrpc":"2.0","id":%s,"result":{%s`, found[0].Raw, kind) // into memory
	reply.Write(content)
	reply.WriteString(`}}`)
	return reply.Bytes()
}
