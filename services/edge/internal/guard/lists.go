package guard

import (
	"bytes"
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// maxItems is how many things one server adds to a page of the list of all at most.
	maxItems = 10_000
	// maxListed is how many bytes one server adds to a page of the list of all at most, maxListedAll how many all do.
	maxListed    = 4 << 20
	maxListedAll = 16 << 20
)

// listed says of a list its member in the result, the method that relations know it by, and the capability that a server needs to have it.
var listed = map[string]struct{ member, method, capability string }{
	mcp.MethodPromptsList:   {"prompts", mcp.MethodPromptsGet, "prompts"},
	mcp.MethodResourcesList: {"resources", mcp.MethodResourceRead, "resources"},
	mcp.MethodTemplatesList: {"resourceTemplates", mcp.MethodResourceRead, "resources"},
}

// listOthers lists prompts, resources and their templates as the servers show them to this caller now.
func (g *Guard) listOthers(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	e.event.Target = &eventsv1.Target{Server: clip(in.Server, 63)}
	if err := g.Catalogue.Stopped(e.caller); err != nil {
		return Answer{}, err
	}
	servers, err := g.Catalogue.Servers(ctx, e.caller, in.Server)
	if err != nil {
		return Answer{}, err
	}
	of := listed[e.msg.Method]
	var tools []*Tool
	for _, s := range servers {
		if tool, err := g.Catalogue.Method(ctx, e.caller, s.Name, of.method); err == nil {
			tools = append(tools, tool)
		}
	}
	if in.Server != "" && len(tools) == 1 {
		return g.listOwn(ctx, e, tools[0], of.member)
	}
	if in.Server != "" {
		if err := e.firstPage(); err != nil {
			return Answer{}, err
		}
	}
	parts, err := g.parts(e, tools)
	if err != nil {
		return Answer{}, err
	}
	var asked []*Server
	for _, one := range parts {
		if one.err == nil {
			asked = append(asked, one.tool.Server)
		}
	}
	if err := g.startedAt(e, asked); err != nil {
		return Answer{}, err
	}
	return g.merge(ctx, e, parts, of.member)
}

// listOwn answers a page of one server's list at its own endpoint, where a cursor is the server's.
func (g *Guard) listOwn(ctx context.Context, e *Entry, tool *Tool, member string) (Answer, error) {
	if err := g.startedAt(e, []*Server{tool.Server}); err != nil {
		return Answer{}, err
	}
	got, err := g.page(ctx, e, tool, e.msg.Params)
	if err != nil {
		return Answer{}, err
	}
	e.found(got.found)
	e.count(len(mcp.Elements(mcp.Get(got.result, member))))
	return g.listAnswer(e, got.result)
}

// firstPage refuses a cursor of a list that is Headgate's own and has one page. The empty string is a cursor too (2026-07-28, server/utilities/pagination);
// none was given out, so from clients that send it when they begin it means the beginning.
func (e *Entry) firstPage() error {
	if e.msg.Cursor == nil || string(e.msg.Cursor) == `""` {
		return nil
	}
	return fault.Invalid("This list has one page, so no cursor is known. Ask again without a cursor.")
}

func (e *Entry) count(n int) {
	e.event.List = &eventsv1.ListCounts{Total: int32(min(n, 1<<30)), Shown: int32(min(n, 1<<30))}
}

// merge answers a page of the list of all: a page of each server's after each other, by the servers' names. One that does not answer in time is left out, and
// so is one whose list cannot be read to its end: both are named, because what is there would look like all of it.
func (g *Guard) merge(ctx context.Context, e *Entry, parts []*part, member string) (Answer, error) {
	var all sync.WaitGroup
	var room atomic.Int64
	room.Store(maxListedAll)
	for _, one := range parts {
		if one.err != nil {
			continue
		}
		at := one.at
		all.Go(func() {
			got, err := inName(ctx, g, e.caller, one.tool.Server, len(parts) > 1, func(ctx context.Context) (leaf, error) { return g.turnTo(ctx, e, one.tool, at) })
			if err == nil {
				one.found = got.found
				err = one.take(got.result, member, &room)
			}
			one.err = err
		})
	}
	all.Wait()
	for _, one := range parts {
		e.found(one.found)
	}
	next, err := g.cursor(e, parts)
	if err != nil {
		return Answer{}, err
	}
	result, n, err := written(parts, member, next)
	if err != nil {
		return Answer{}, err
	}
	e.count(n)
	return g.listAnswer(e, result)
}

// turnTo asks one server for the page at a place. A cursor of the client's was Headgate's, never the server's own, not even an empty one.
func (g *Guard) turnTo(ctx context.Context, e *Entry, tool *Tool, at place) (leaf, error) {
	params := json.RawMessage(mcp.Delete(e.msg.Params, "cursor"))
	if at.Cursor != "" {
		if params == nil {
			params = json.RawMessage(`{}`)
		}
		var err error
		if params, err = mcp.Set(params, json.RawMessage(at.Cursor), "cursor"); err != nil {
			return leaf{}, err
		}
	}
	return g.page(ctx, e, tool, params)
}

// written puts a page together, and counts what is on it.
func written(parts []*part, member, next string) (result []byte, n int, err error) {
	var out bytes.Buffer
	out.WriteString(`{"` + member + `":[`)
	var missing []string
	for _, one := range parts {
		if one.err != nil {
			missing = append(missing, one.tool.Server.Name)
		}
		for _, item := range one.items {
			if n++; n > 1 {
				out.WriteByte(',')
			}
			out.Write(item)
		}
	}
	out.WriteByte(']')
	if next != "" {
		out.WriteString(`,"nextCursor":`)
		out.Write(mcp.Quote(next))
	}
	if len(missing) > 0 {
		names, err := json.Marshal(missing)
		if err != nil {
			return nil, 0, err
		}
		out.WriteString(`,"_meta":{"` + mcp.MetaUnavailable + `":`)
		out.Write(names)
		out.WriteByte('}')
	}
	out.WriteByte('}')
	return out.Bytes(), n, nil
}

// leaf is one page of one server's list, and what its inspection found.
type leaf struct {
	result json.RawMessage
	found  Inspection
}

// page asks one server for one page, inspected. A server that has no such list has an empty one. It changes nothing of the entry, and may outlast it.
func (g *Guard) page(ctx context.Context, e *Entry, tool *Tool, params json.RawMessage) (leaf, error) {
	of := listed[e.msg.Method]
	wanted := LeaseRequest{Caller: e.caller, Server: tool.Server, Tool: tool.Name, CallID: e.id}
	lease, err := g.Lender.Lease(ctx, wanted)
	if err != nil {
		return leaf{}, err
	}
	about, err := g.about(ctx, tool.Server, lease)
	if err != nil {
		return leaf{}, g.redacted(err, lease)
	}
	if mcp.Get(about.Capabilities, of.capability) == nil {
		return leaf{result: json.RawMessage(`{"` + of.member + `":[]}`)}, nil
	}
	reply, err := g.Upstream.Forward(ctx, Exchange{
		Caller: e.caller, Server: tool.Server, Method: e.msg.Method, Params: params, Lease: lease, Modern: e.modern, Session: e.in.Session, Offer: e.offer,
	})
	if err != nil {
		return leaf{}, g.redacted(err, lease)
	}
	if reply.Result == nil {
		return leaf{}, g.refusedBy(reply.Error, lease)
	}
	clean, found, err := g.Inspector.Inspect(reply.Result, lease)
	if err != nil {
		return leaf{}, err
	}
	return leaf{unforged(clean, "_meta"), found}, nil
}

// refusedBy is a server's own error, cleaned, in the protocol's terms.
func (g *Guard) refusedBy(raw json.RawMessage, lease *Lease) error {
	text, _ := mcp.Text(raw, "message")
	code, err := strconv.Atoi(string(mcp.Get(raw, "code")))
	if err != nil {
		code = mcp.CodeInternal
	}
	return &mcp.Error{Code: code, Message: g.Inspector.Text(clip(text, 1000), lease), HTTPStatus: 200, Reason: faultv1.Reason_REASON_UPSTREAM}
}

// listAnswer puts a list into the terms of the client's era. It differs by caller, so nobody else may be shown it.
func (g *Guard) listAnswer(e *Entry, result json.RawMessage) (Answer, error) {
	result, err := mcp.AdaptResult(result, e.modern)
	if err == nil && e.modern {
		result, err = private(result)
	}
	if err != nil {
		return Answer{}, err
	}
	return e.answer(200, mcp.Result(e.msg.ID, result)), nil
}

// private says how long and for whom a result may be kept (2026-07-28, server/utilities/caching): as long as the server said, for the caller alone.
func private(result json.RawMessage) (json.RawMessage, error) {
	var err error
	if ttl := mcp.Get(result, "ttlMs"); ttl == nil {
		if result, err = mcp.Set(result, json.RawMessage("0"), "ttlMs"); err != nil {
			return nil, err
		}
	}
	return mcp.Set(result, json.RawMessage(`"private"`), "cacheScope")
}
