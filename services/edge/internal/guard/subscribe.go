package guard

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// listen is subscriptions/listen of 2026-07-28.
func (g *Guard) listen(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	if !e.modern {
		return Answer{}, e.unknownMethod()
	}
	if in.Send == nil {
		return Answer{}, AtHTTP(http.StatusNotAcceptable, faultv1.Reason_REASON_INVALID, "subscriptions/listen opens a stream, so Accept must take text/event-stream.")
	}
	if err := g.Catalogue.Stopped(e.caller); err != nil {
		return Answer{}, err
	}
	l := g.listener(in, e)
	l.id, l.offer, l.uris = slices.Clone(e.msg.ID), e.offer, map[string][]string{} // the offer finds the session of the client's calls
	filter := mcp.Get(e.msg.Params, "notifications")
	honoured := []byte{'{'}
	servers := sync.OnceValues(func() ([]said, error) { return g.said(ctx, in, e) }) // who wants to hear of tools alone needs none
	if err := l.hearsOfLists(filter, servers, &honoured); err != nil {
		return Answer{}, err
	}
	for _, one := range [...]struct {
		member string
		find   func(context.Context, *Inbound, *Entry, *listener, func() ([]said, error), json.RawMessage) ([]string, error)
	}{{"resourceSubscriptions", g.subscriptions}, {"taskIds", g.tasksOf}} {
		taken, err := one.find(ctx, in, e, l, servers, mcp.Get(filter, one.member))
		if err != nil {
			return Answer{}, err
		}
		if len(taken) == 0 {
			continue
		}
		names, err := json.Marshal(taken)
		if err != nil {
			return Answer{}, err
		}
		honoured = append(append(append(honoured, `"`+one.member+`":`...), names...), ',')
	}
	if n := len(l.uris) + len(l.tasks); n > 0 && g.audience.full(e.caller, n) {
		return Answer{}, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "You have too many subscriptions open. End some of them, or try again later.")
	}
	if n := len(honoured); honoured[n-1] == ',' {
		honoured = honoured[:n-1]
	}
	l.ack = mcp.Notice(mcp.MethodAcknowledged, slices.Concat([]byte(`{"_meta":{"`+mcp.MetaSubscription+`":`), l.id, []byte(`},"notifications":`), honoured, []byte(`}}`)))
	return Answer{Status: http.StatusOK, Stream: l}, nil
}

// hearsOfLists takes the lists whose changes a filter wants to hear of and somebody tells of.
func (l *listener) hearsOfLists(filter json.RawMessage, servers func() ([]said, error), honoured *[]byte) error {
	for _, one := range [...]struct{ member, method, of string }{
		{"toolsListChanged", mcp.MethodToolsListChanged, ""}, // Headgate looks by itself
		{"promptsListChanged", mcp.MethodPromptsListChanged, "prompts"}, {"resourcesListChanged", mcp.MethodResourcesListChanged, "resources"},
	} {
		if string(mcp.Get(filter, one.member)) != "true" {
			continue
		}
		if one.of != "" {
			about, err := servers()
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(about, func(s said) bool { return s.promises(one.of, "listChanged") }) {
				continue
			}
		}
		l.lists = append(l.lists, one.method)
		*honoured = append(*honoured, `"`+one.member+`":true,`...)
	}
	return nil
}

// subscriptions finds the servers of the resources that a client wants to hear of. What it may not read is left out, as what is not there.
func (g *Guard) subscriptions(
	ctx context.Context, in *Inbound, e *Entry, l *listener, told func() ([]said, error), raw json.RawMessage,
) ([]string, error) {
	if raw == nil {
		return nil, nil
	}
	var uris, taken []string
	if err := json.Unmarshal(raw, &uris); err != nil || len(uris) > maxSubscriptions || size(uris) > maxWished {
		return nil, AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_INVALID,
			"resourceSubscriptions must be a list of at most %d URIs and %d bytes.", maxSubscriptions, maxWished)
	}
	servers, err := g.Catalogue.Servers(ctx, e.caller, in.Server)
	if err != nil {
		return nil, err
	}
	about, err := told()
	if err != nil {
		return nil, err
	}
	for _, visible := range uris {
		server, own := in.Server, visible
		if server == "" {
			found, uri, ok := ownURI(servers, visible)
			if !ok {
				continue
			}
			server, own = found.Name, uri
		}
		if !slices.ContainsFunc(about, func(s said) bool { return s.server == server && s.promises("resources", "subscribe") }) {
			continue // it would tell nothing
		}
		if _, err := g.readable(ctx, in, e.caller, server, own); err != nil {
			continue
		}
		l.uris[server] = append(l.uris[server], own)
		taken = append(taken, visible)
	}
	return taken, nil
}

func size(texts []string) (n int) {
	for _, one := range texts {
		n += len(one)
	}
	return n
}

// full reports whether there is no room for that many more servers that are followed for streams of a caller.
func (a *audience) full(c *Caller, more int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.followed+more > maxFollows || a.follows[ownerOf(c)]+more > maxFollowsOf
}

// readable decides whether a caller may read a resource now, as resources/read would be, and answers the URI that the rules make of it. The caller is
// looked up anew, so that it is judged by what the directory says by now.
func (g *Guard) readable(ctx context.Context, in *Inbound, c *Caller, server, uri string) (target string, err error) {
	if c, err = g.Admitter.Current(in, c); err != nil {
		return "", err
	}
	tool, err := g.Catalogue.Method(ctx, c, server, mcp.MethodResourceRead)
	if err != nil {
		return "", err
	}
	decision, err := g.Decider.Decide(ctx, in.question(Question{
		Caller: c, Tool: tool, Arguments: slices.Concat([]byte(`{"uri":`), mcp.Quote(uri), []byte{'}'}), At: g.Now(), CallID: g.ids.New(), Again: true,
	}))
	if err == nil {
		err = against(decision)
	}
	switch {
	case err != nil:
		return "", err
	case decision.Effect == effectAllow:
		return uri, nil
	}
	target, ok := mcp.Text(decision.Arguments, "uri")
	if !ok || target == "" {
		return "", misfit(decision, fault.Invalid("it leaves no URI."))
	}
	return target, nil
}

// subscribe is resources/subscribe and resources/unsubscribe of the revisions that have them.
func (g *Guard) subscribe(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	if e.modern {
		return Answer{}, e.unknownMethod()
	}
	key := clientKey(in, e.caller)
	if e.msg.Method == mcp.MethodUnsubscribe {
		return g.unsubscribe(ctx, in, e, key)
	}
	asked := ""
	answer, err := g.callFound(ctx, in, e, func(tool *Tool, own string) error {
		asked = own
		return g.clients.room(key, tool.Server.Name, own)
	})
	if err != nil || e.tool == nil || answer.Result == nil && mcp.Get(answer.Body, "error") != nil {
		return answer, err
	}
	if err := g.clients.subscribe(key, e.tool.Server.Name, asked, g.Now()); err != nil {
		return Answer{}, err
	}
	g.audience.wishesChanged(key)
	return answer, nil
}

// unsubscribe takes a wish back, also where the rules do not let the caller read the resource any more.
func (g *Guard) unsubscribe(ctx context.Context, in *Inbound, e *Entry, key string) (Answer, error) {
	forgot := false
	answer, err := g.callFound(ctx, in, e, func(tool *Tool, own string) error {
		forgot = g.clients.unsubscribe(key, tool.Server.Name, own)
		return nil
	})
	if forgot {
		g.audience.wishesChanged(key)
	}
	return answer, err
}

// subscribing tells a server what a client subscribes to. One of 2026-07-28 has no such request, and one that all callers share takes it of none of
// them: there the client's own stream subscribes.
func (g *Guard) subscribing(ctx context.Context, ex Exchange) (Reply, error) {
	about, err := g.Upstream.About(ctx, ex.Server, ex.Lease)
	switch {
	case err != nil:
		return Reply{}, err
	case (about.Legacy || !about.Modern) && !ex.Server.shared():
		return g.Upstream.Forward(ctx, ex)
	case string(mcp.Get(about.Capabilities, "resources", "subscribe")) != "true":
		return Reply{}, fault.New(faultv1.Reason_REASON_METHOD, "The server %s has no subscriptions to resources.", ex.Server.Name)
	}
	return Reply{Result: json.RawMessage(`{}`)}, nil
}
