// Package probe looks at an MCP server as it is: which revisions it speaks and every definition it shows, as the bytes that came. It follows no
// redirect, bounds everything that it reads, and hands on nothing that holds the credential it sent.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"headgate.dev/libs/egress"
	"headgate.dev/libs/mcp"
)

// Limits bound one look.
type Limits struct {
	Tools   int           // definitions of all pages
	Bytes   int           // of everything that the server sends
	Request time.Duration // for one request
	Look    time.Duration // for all of it
}

// DefaultLimits are 10,000 tools, 16 MiB, 10 s for a request and a minute for a look.
func DefaultLimits() Limits {
	return Limits{Tools: 10_000, Bytes: 16 << 20, Request: 10 * time.Second, Look: time.Minute}
}

const (
	mostVersions = 16
	mostAbout    = 64 << 10 // of server info and of capabilities
)

// Field is one header of the credential.
type Field struct{ Name, Value string }

// Target is where to look and with what. CA, Pins and ClientCertificate are those of the declaration (egress.Server).
type Target struct {
	Tenant            string
	URL               string
	CA                string
	Pins              []string
	ClientCertificate string
	Identities        egress.Identities
	Headers           []Field
	Secrets           []string // what must not come back
}

// Look is what a server showed.
type Look struct {
	Versions     []string // newest first
	ServerInfo   string   // raw; the server's own word
	Capabilities string   // raw
	Instructions string
	Tools        []mcp.Definition
}

// ErrUnauthorized says that the server did not take the credential, or wants one.
var ErrUnauthorized = errors.New("the server answers 401: it wants a credential or does not take the one it was sent. Look at the server's connection")

// Server looks at one server. An error is a sentence for the administrator and holds nothing of what the server said.
func Server(ctx context.Context, target Target, limits Limits) (Look, error) {
	ctx, cancel := context.WithTimeout(ctx, limits.Look)
	defer cancel()
	w, err := newWire(target, limits)
	if err != nil {
		return Look{}, err
	}
	defer w.close()
	look, err := discover(ctx, w)
	if _, ok := errors.AsType[*answerError](err); ok {
		look, err = initialize(ctx, w) // it is there, but does not speak of itself in the newest revision
	}
	if w.perhapsOlder(err) && w.fall(ctx) == nil {
		look, err = initialize(ctx, w)
	}
	if err != nil {
		return Look{}, err
	}
	if look.Tools, err = list(ctx, w, look); err != nil {
		return Look{}, err
	}
	return look, nil
}

// discover asks in the newest revision. A server that answers with anything but a discovery gets an answerError.
func discover(ctx context.Context, w *wire) (Look, error) {
	w.speak(mcp.V20260728)
	reply, err := w.ask(ctx, w.speaker.Discover)
	if err != nil {
		return Look{}, err
	}
	if reply.ErrorCode == mcp.CodeUnsupportedVersion && slices.Contains(versionsOf(mcp.Get(reply.Error, "data", "supported")), mcp.V20260728) {
		// It speaks the revision and did not take it: the specification has the client ask again (2026-07-28, basic/versioning).
		if reply, err = w.ask(ctx, w.speaker.Discover); err != nil {
			return Look{}, err
		}
	}
	versions := versionsOf(mcp.Get(reply.Result, "supportedVersions"))
	if reply.Error != nil || !slices.Contains(versions, mcp.V20260728) {
		return Look{}, &answerError{"it does not speak " + mcp.V20260728}
	}
	info := mcp.Get(reply.Result, "_meta", mcp.MetaServerInfo)
	if info == nil {
		info = mcp.Get(reply.Result, "serverInfo")
	}
	return about(reply, info, versions)
}

// initialize begins a session as the revisions before 2026-07-28 have it.
func initialize(ctx context.Context, w *wire) (Look, error) {
	w.speak(mcp.V20251125)
	reply, err := w.ask(ctx, w.speaker.Initialize)
	if err != nil {
		return Look{}, err
	}
	if reply.Error != nil {
		return Look{}, fmt.Errorf("the server refuses initialize with error %d", reply.ErrorCode)
	}
	version, _ := mcp.Text(reply.Result, "protocolVersion")
	if !mcp.Legacy(version) && version != mcp.V20241105 {
		return Look{}, errors.New("the server answers initialize with a revision of the protocol that the gateway does not speak")
	}
	w.speak(version)
	if err := w.tell(ctx, w.speaker.Initialized()); err != nil {
		return Look{}, err
	}
	return about(reply, mcp.Get(reply.Result, "serverInfo"), []string{version})
}

func about(reply *mcp.Reply, info []byte, versions []string) (Look, error) {
	look := Look{Versions: versions, ServerInfo: string(info), Capabilities: string(mcp.Get(reply.Result, "capabilities"))}
	if len(look.ServerInfo) > mostAbout || len(look.Capabilities) > mostAbout {
		return Look{}, fmt.Errorf("the server says more than %d bytes of itself or of its capabilities", mostAbout)
	}
	look.Instructions, _ = mcp.Text(reply.Result, "instructions")
	return look, nil
}

// versionsOf reads the revisions that a server lists.
func versionsOf(raw []byte) []string { return Versions(texts(raw)) }

// Versions orders revisions, newest first; what does not look like one is left out.
func Versions(said []string) []string {
	var out []string
	for _, text := range said {
		if len(out) < mostVersions && len(text) == len(mcp.V20260728) && strings.Trim(text, "0123456789-") == "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

// list reads every page of tools. A server that says that it has none is not asked.
func list(ctx context.Context, w *wire, look Look) ([]mcp.Definition, error) {
	if mcp.Get([]byte(look.Capabilities), "tools") == nil {
		return nil, nil
	}
	var tools []mcp.Definition
	var cursor *string
	cursors := map[string]bool{}
	for {
		reply, err := w.ask(ctx, func(id json.RawMessage) mcp.Outgoing { return w.speaker.ListTools(id, cursor) })
		if err != nil {
			return nil, err
		}
		if reply.Error != nil {
			return nil, fmt.Errorf("the server refuses tools/list with error %d", reply.ErrorCode)
		}
		if kind, said := mcp.Text(reply.Result, "resultType"); said && kind != "complete" {
			return nil, errors.New("the server answers tools/list with something else than a complete result")
		}
		page, next, more, err := mcp.Tools(reply.Result)
		if err != nil {
			return nil, fmt.Errorf("the server's answer to tools/list is not in order: %w", err)
		}
		tools = append(tools, page...)
		switch {
		case len(tools) > w.limits.Tools:
			return nil, fmt.Errorf("the server shows more than %d tools", w.limits.Tools)
		case !more:
			return tools, nil
		case cursors[next] || len(cursors) >= w.limits.Tools:
			return nil, errors.New("the server's list of tools does not end: a page leads back to one before")
		}
		cursors[next], cursor = true, &next
	}
}
