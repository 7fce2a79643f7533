package e2e

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	"headgate.dev/tools/e2e/product"
)

// speaker is a client that reads streams message by message and answers questions.
type speaker struct {
	t       *testing.T
	url     string
	token   string
	modern  bool
	session string
	ids     int
}

// speaks opens an endpoint as a person; a client of 2025-11-25 also initializes.
func speaks(t *testing.T, p *product.Product, person, server string, modern bool) *speaker {
	t.Helper()
	c := &speaker{t: t, url: p.MCP(server), token: p.Token(person), modern: modern}
	if !modern {
		k := c.begin("initialize", `{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"e2e","version":"1"}}`)
		c.session = k.header.Get("Mcp-Session-Id")
		if c.session == "" {
			t.Fatalf("initialize: %d %s", k.status, k.next())
		}
	}
	return c
}

// talk is one request with what comes back for it: messages in order, closed at the end.
type talk struct {
	t      *testing.T
	id     string
	status int
	header http.Header
	said   chan mcp.Event
	last   string // event id of the message that was read last
	leave  context.CancelFunc
}

// body writes a request of the client's revision.
func (c *speaker) body(method, params string) (body, id string) {
	c.ids++
	id = strconv.Itoa(c.ids)
	if c.modern {
		params = `{"_meta":{"` + mcp.MetaProtocolVersion + `":"2026-07-28","` + mcp.MetaCapabilities + `":{"elicitation":{}}},` + params[1:]
	}
	return `{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + params + `}`, id
}

func (c *speaker) begin(method, params string) *talk {
	c.t.Helper()
	body, id := c.body(method, params)
	name, _ := mcp.Text([]byte(params), "name")
	k := c.send(http.MethodPost, body, method, name, "")
	k.id = id
	return k
}

// posts sends a message that has no answer of its own, and answers the status.
func (c *speaker) posts(body string) int {
	c.t.Helper()
	k := c.send(http.MethodPost, body, "", "", "")
	k.leave()
	return k.status
}

// stands opens the standing stream of the session, or takes one up again after an event.
func (c *speaker) stands(after string) *talk { return c.send(http.MethodGet, "", "", "", after) }

func (c *speaker) send(verb, body, method, name, after string) *talk {
	c.t.Helper()
	ctx, leave := context.WithCancel(context.Background())
	q, err := http.NewRequestWithContext(ctx, verb, c.url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	h := q.Header
	h.Set("Authorization", "Bearer "+c.token)
	h.Set("Accept", "application/json, text/event-stream")
	h.Set("Content-Type", "application/json")
	switch {
	case c.modern:
		h.Set("Mcp-Protocol-Version", "2026-07-28")
		h.Set("Mcp-Method", method)
		if name != "" {
			h.Set("Mcp-Name", name)
		}
	case c.session != "":
		h.Set("Mcp-Protocol-Version", "2025-11-25")
		h.Set("Mcp-Session-Id", c.session)
	}
	if after != "" {
		h.Set("Last-Event-ID", after)
	}
	response, err := http.DefaultClient.Do(q)
	if err != nil {
		c.t.Fatal(err)
	}
	k := &talk{t: c.t, status: response.StatusCode, header: response.Header, said: make(chan mcp.Event, 64), leave: leave}
	done := make(chan struct{})
	c.t.Cleanup(func() {
		leave()
		<-done
	})
	go func() {
		defer close(done)
		k.read(response)
	}()
	return k
}

// read takes what comes until it ends. That a stream breaks off is an end as well: processes are killed here.
func (k *talk) read(response *http.Response) {
	defer close(k.said)
	defer func() { _ = response.Body.Close() }()
	if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		body, err := io.ReadAll(response.Body)
		if err == nil && len(body) > 0 {
			k.said <- mcp.Event{Data: body}
		}
		return
	}
	events := mcp.NewEventReader(response.Body, 0)
	for {
		ev, err := events.Next()
		if err != nil {
			return
		}
		if len(ev.Data) > 0 {
			k.said <- mcp.Event{ID: events.LastID(), Data: append([]byte(nil), ev.Data...)}
		}
	}
}

// next is the next message; nil at the end.
func (k *talk) next() []byte {
	k.t.Helper()
	select {
	case ev := <-k.said:
		k.last = ev.ID
		return ev.Data
	case <-time.After(20 * time.Second):
		k.t.Fatal("nothing comes")
		return nil
	}
}

// answer is the answer to the request, past all notices.
func (k *talk) answer() []byte {
	k.t.Helper()
	for {
		message := k.next()
		if message == nil || mcp.Get(message, "result") != nil || mcp.Get(message, "error") != nil {
			return message
		}
	}
}

// toolText is the first text of a tool's result.
func toolText(message []byte) string {
	out := ""
	if content := mcp.Elements(mcp.Get(message, "result", "content")); len(content) > 0 {
		out, _ = mcp.Text(content[0], "text")
	}
	return out
}

// question is the id of a request of the server's, past all notices.
func (k *talk) question() string {
	k.t.Helper()
	for {
		message := k.next()
		if message == nil {
			k.t.Fatal("nothing was asked")
		}
		if mcp.Get(message, "method") != nil && mcp.Get(message, "id") != nil {
			return string(mcp.Get(message, "id"))
		}
	}
}
