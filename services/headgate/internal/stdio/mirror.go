package stdio

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"headgate.dev/libs/mcp"
)

const (
	maxPages = 100     // of one list
	maxTools = 1 << 16 // that are remembered
)

// tool is what a definition says about the headers of its calls.
type tool struct {
	bindings []mcp.Binding
	broken   error // the annotations break their rules
}

// mirror knows which arguments of which tool travel in headers too (2026-07-28, streamable-http, "Custom Headers from Tool Parameters"). Stdio knows no headers:
// the client does not send them, so they are made here, from the definitions that the client was shown. Safe for concurrent use.
type mirror struct {
	busy chan struct{} // held by who asks for the list
	read bool          // the list was asked for once; guarded by busy

	mu    sync.Mutex
	tools map[string]tool
}

func (m *mirror) known(name string) (tool, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tools[name]
	return t, ok
}

// note remembers the definitions of one page, and answers those that must not be called over HTTP, with the reason.
func (m *mirror) note(page []mcp.Definition) map[string]error {
	broken := map[string]error{}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.tools)+len(page) > maxTools {
		m.tools = map[string]tool{}
	}
	for _, d := range page {
		var t tool
		t.bindings, t.broken = mcp.Bindings(mcp.Get(d.Raw, "inputSchema"))
		m.tools[d.Name] = t
		if t.broken != nil {
			broken[d.Name] = t.broken
		}
	}
	return broken
}

// listed notes a list that is on its way to the client. A tool with annotations that break their rules is left out of it, as a client over HTTP must.
func (b *Bridge) listed(f *flight, r *mcp.Reply) []byte {
	page, _, _, err := mcp.Tools(r.Result)
	if err != nil {
		b.log.Warn("the definitions of a list were not understood", "error", err)
		return r.Raw
	}
	broken := b.mirror.note(page)
	if len(broken) == 0 || !f.modern {
		return r.Raw
	}
	var kept [][]byte
	for _, d := range page {
		if broken[d.Name] == nil {
			kept = append(kept, d.Raw)
			continue
		}
		b.log.Warn("a tool was left out of the list", "tool", d.Name, "error", broken[d.Name])
	}
	line, err := mcp.Set(r.Raw, slices.Concat([]byte{'['}, bytes.Join(kept, []byte{','}), []byte{']'}), "result", "tools")
	if err != nil {
		return r.Raw
	}
	return line
}

// mirrored are the headers that a call's arguments have to be mirrored in. For a tool that was not seen yet the list is asked for, once.
func (b *Bridge) mirrored(ctx context.Context, f *flight) ([]mcp.Field, *mcp.Error) {
	if f.method != mcp.MethodToolsCall || !mcp.Modern(f.message.ProtocolVersion) {
		return nil, nil
	}
	t, ok := b.mirror.known(f.message.Name)
	if !ok {
		b.lookUp(ctx, f, false)
		t, _ = b.mirror.known(f.message.Name)
	}
	if t.broken != nil {
		return nil, &mcp.Error{Code: mcp.CodeInvalidParams, Message: fmt.Sprintf("The definition of %s cannot be used over HTTP: %v. The call was not made; tell the server's owner.",
			f.message.Name, t.broken)}
	}
	fields, err := mcp.ParamHeaders(t.bindings, f.message.Arguments)
	if err != nil {
		return nil, &mcp.Error{Code: mcp.CodeInvalidParams, Message: "The call was not made: " + err.Error() + "."}
	}
	return fields, nil
}

// mismatched reports whether the server refused a call because of its headers.
func mismatched(a *answer) bool {
	return errorCode(a.body) == mcp.CodeHeaderMismatch
}

// relearned looks whether the definition of a tool has changed, and answers the headers of the call if they are others now.
func (b *Bridge) relearned(ctx context.Context, f *flight, sent []mcp.Field) ([]mcp.Field, bool) {
	b.lookUp(ctx, f, true)
	mirrored, failed := b.mirrored(ctx, f)
	if failed != nil {
		return nil, false
	}
	fields := append(headers(f.message), mirrored...)
	return fields, !slices.Equal(fields, sent)
}

// lookUp asks for the list of tools on behalf of the client that makes a call. What cannot be found out is left to the server to refuse.
func (b *Bridge) lookUp(ctx context.Context, f *flight, again bool) {
	select {
	case b.mirror.busy <- struct{}{}:
		defer func() { <-b.mirror.busy }()
	case <-ctx.Done():
		return
	}
	if b.mirror.read && !again {
		return
	}
	as := mcp.Speaker{Version: f.message.ProtocolVersion, ClientName: f.message.ClientName, ClientVersion: f.message.ClientVersion, Capabilities: f.message.ClientCapabilities}
	var cursor *string
	for range maxPages {
		page, next, more, err := b.page(ctx, as, cursor)
		if err != nil {
			b.log.Warn("the tools of the gateway could not be listed", "error", err)
			return
		}
		b.mirror.note(page)
		if !more || cursor != nil && *cursor == next {
			break
		}
		cursor = &next
	}
	b.mirror.read = true
}

func (b *Bridge) page(ctx context.Context, as mcp.Speaker, cursor *string) (tools []mcp.Definition, next string, more bool, err error) {
	id := b.newID()
	reply, _, failed := b.inquire(ctx, nil, id, mcp.MethodToolsList, as.ListTools(id, cursor))
	switch {
	case failed != nil:
		return nil, "", false, failed
	case reply.Result == nil:
		return nil, "", false, fmt.Errorf("%s", strings.TrimSpace(reply.ErrorMessage))
	}
	return mcp.Tools(reply.Result)
}
