package product

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Client talks MCP with plain HTTP, so that tests see statuses, headers and bytes as they are.
type Client struct {
	t       testing.TB
	URL     string
	Token   string
	Modern  bool
	session string
	next    int
	HTTP    *http.Client
}

// NewClient opens an endpoint; a client of 2025-11-25 also initializes.
func NewClient(t testing.TB, url, token string, modern bool) *Client {
	c := &Client{t: t, URL: url, Token: token, Modern: modern, HTTP: &http.Client{Timeout: 30 * time.Second}}
	if !modern {
		answer := c.RPC("initialize", map[string]any{"protocolVersion": "2025-11-25", "capabilities": map[string]any{}, "clientInfo": map[string]any{"name": "e2e", "version": "1"}})
		c.session = answer.Header.Get("Mcp-Session-Id")
	}
	return c
}

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Err    error
	Reply  Reply
}

// Reply is a JSON-RPC response.
type Reply struct {
	Result *Result         `json:"result"`
	Error  *ErrorReply     `json:"error"`
	ID     json.RawMessage `json:"id"`
}

// Result is what tools/list and tools/call answer.
type Result struct {
	Tools   []struct{ Name, Description string } `json:"tools"`
	Content []struct{ Type, Text string }        `json:"content"`
	IsError bool                                 `json:"isError"`
	Meta    map[string]json.RawMessage           `json:"_meta"`
}

// ErrorReply is a JSON-RPC error.
type ErrorReply struct {
	Code    int                        `json:"code"`
	Message string                     `json:"message"`
	Data    map[string]json.RawMessage `json:"data"`
}

// Decision is what a refused caller is told.
type Decision struct {
	ID, Effect, Rule, Reason string
	Approval                 json.RawMessage
}

// Decision reads the decision of a refusal; empty when there is none.
func (a Answer) Decision() Decision {
	var d Decision
	var raw json.RawMessage
	if a.Reply.Result != nil {
		raw = a.Reply.Result.Meta["io.headgate/decision"]
	} else if a.Reply.Error != nil {
		raw = a.Reply.Error.Data["io.headgate/decision"]
	}
	if raw != nil && json.Unmarshal(raw, &d) != nil {
		return Decision{}
	}
	return d
}

// OK reports whether a call went through.
func (a Answer) OK() bool { return a.Reply.Result != nil && !a.Reply.Result.IsError }

// Text is the first text of the result, or the error's message.
func (a Answer) Text() string {
	if a.Reply.Result != nil && len(a.Reply.Result.Content) > 0 {
		return a.Reply.Result.Content[0].Text
	}
	if a.Reply.Error != nil {
		return a.Reply.Error.Message
	}
	return ""
}

// Names lists the tools of a list.
func (a Answer) Names() []string {
	names := []string{}
	if a.Reply.Result != nil {
		for _, tool := range a.Reply.Result.Tools {
			names = append(names, tool.Name)
		}
	}
	return names
}

// List asks for the tools.
func (c *Client) List() Answer { return c.RPC("tools/list", map[string]any{}) }

// Call calls a tool.
func (c *Client) Call(tool string, args map[string]any) Answer {
	if args == nil {
		args = map[string]any{}
	}
	return c.RPC("tools/call", map[string]any{"name": tool, "arguments": args})
}

// RPC sends one request in the client's era.
func (c *Client) RPC(method string, params map[string]any) Answer {
	c.next++
	if c.Modern {
		params["_meta"] = map[string]any{"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": map[string]any{},
			"io.modelcontextprotocol/clientInfo": map[string]any{"name": "e2e", "version": "1"}}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": c.next, "method": method, "params": params})
	if err != nil {
		c.t.Fatal(err)
	}
	name, _ := params["name"].(string)
	return c.Raw(body, c.Headers(method, name))
}

// Headers are what a well-behaved client sends.
func (c *Client) Headers(method, name string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	if c.Token != "" {
		h.Set("Authorization", "Bearer "+c.Token)
	}
	if c.Modern {
		h.Set("Mcp-Protocol-Version", "2026-07-28")
		h.Set("Mcp-Method", method)
		if name != "" {
			h.Set("Mcp-Name", name)
		}
		return h
	}
	if c.session != "" {
		h.Set("Mcp-Session-Id", c.session)
		h.Set("Mcp-Protocol-Version", "2025-11-25")
	}
	return h
}

// Raw sends bytes as they are.
func (c *Client) Raw(body []byte, header http.Header) Answer {
	request, err := http.NewRequest(http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header = header
	if host := header.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := c.HTTP.Do(request)
	if err != nil {
		return Answer{Err: err}
	}
	defer func() { _ = response.Body.Close() }()
	answer := Answer{Status: response.StatusCode, Header: response.Header}
	answer.Body, answer.Err = io.ReadAll(response.Body)
	text := answer.Body
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		text = lastData(answer.Body)
	}
	if len(text) > 0 && json.Unmarshal(text, &answer.Reply) != nil {
		answer.Reply = Reply{}
	}
	return answer
}

// lastData is the data of the last event: the response to the request.
func lastData(stream []byte) []byte {
	var last []byte
	lines := bufio.NewScanner(bytes.NewReader(stream))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if data, ok := bytes.CutPrefix(lines.Bytes(), []byte("data:")); ok && len(bytes.TrimSpace(data)) > 0 {
			last = bytes.Clone(data)
		}
	}
	return last
}
