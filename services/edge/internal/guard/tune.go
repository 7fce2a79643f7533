package guard

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"headgate.dev/libs/mcp"
)

const (
	// maxFollows is how many servers are followed for single streams on one edge at most, maxFollowsOf how many of one caller.
	maxFollows   = 4096
	maxFollowsOf = 64
	// decidedFor is how long one decision about a notice holds without news: rules may look at the time and at facts.
	decidedFor = time.Second
	// maxVerdicts is how many decisions are kept of one stream and server.
	maxVerdicts = 2 * maxSubscriptions
)

// aims are what is subscribed to at one server: the URI that the client asked for → the one that the rules make of it.
type aims map[string]string

// tune lets a listener hear from servers what it alone wishes for: changes of resources, the log, and questions of servers that have nothing to do
// with a request. What it heard before ends, unless it is the same.
func (l *listener) tune() {
	l.tuning.Lock()
	defer l.tuning.Unlock()
	asked, level := l.uris, ""
	if l.key != "" {
		level, asked = l.of.g.clients.of(l.key)
	}
	ctx, stop := context.WithCancel(context.Background())
	aimed := l.aimed(ctx, asked)
	l.mu.Lock()
	wishes := fmt.Sprint(l.within, level, aimed) // maps print in order of their keys
	if l.over || l.stop != nil && l.wishes == wishes {
		l.mu.Unlock()
		stop()
		return
	}
	if l.stop != nil {
		l.stop()
	}
	l.stop, l.wishes = stop, wishes
	l.mu.Unlock()
	for server, at := range aimed {
		l.of.following(l, func() { l.follow(ctx, server, at) })
	}
	for server, of := range l.tasks {
		l.of.following(l, func() { l.followTasks(ctx, server, of) })
	}
	if l.key != "" && l.in.Server != "" && len(aimed[l.in.Server]) == 0 && (level != "" || l.offer != nil) {
		l.of.following(l, func() { l.follow(ctx, l.in.Server, nil) })
	}
}

// aimed decides what the caller may hear of by now. What cannot be decided is left out, and tried again.
func (l *listener) aimed(ctx context.Context, asked map[string][]string) map[string]aims {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	out := map[string]aims{}
	for server, uris := range asked {
		for _, uri := range uris {
			target, err := l.of.g.readable(ctx, &l.in, l.caller, server, uri)
			switch {
			case err != nil:
				if ctx.Err() != nil {
					l.of.behind.Store(true)
				}
			case out[server] == nil:
				out[server] = aims{uri: target}
			default:
				out[server][uri] = target
			}
		}
	}
	return out
}

// following follows a server beside, as long as the caller does not have too many that are followed.
func (a *audience) following(l *listener, follow func()) {
	owner := ownerOf(l.caller)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	if a.followed >= maxFollows || a.follows[owner] >= maxFollowsOf {
		a.g.Log.Warn("a stream does not hear what it wishes for, because its caller has too many", "person", l.caller.Person)
		return
	}
	a.followed++
	a.follows[owner]++
	a.running.Go(func() {
		follow()
		a.mu.Lock()
		defer a.mu.Unlock()
		a.followed--
		if a.follows[owner]--; a.follows[owner] == 0 {
			delete(a.follows, owner)
		}
	})
}

// followed is what one stream hears of one server for its client alone.
type followed struct {
	l    *listener
	tool *Tool
	at   aims

	mu       sync.Mutex
	verdicts map[string]verdict
}

// verdict is what was decided about one URI.
type verdict struct {
	version int64
	until   time.Time
	target  string
	err     error
}

// follow listens to one server for this client alone, as long as the client may read its resources.
func (l *listener) follow(ctx context.Context, server string, at aims) {
	g := l.of.g
	tool, err := g.Catalogue.Method(ctx, l.caller, server, mcp.MethodResourceRead)
	if err != nil {
		if ctx.Err() == nil {
			l.forget()
		}
		return
	}
	f := &followed{l: l, tool: tool, at: at, verdicts: map[string]verdict{}}
	g.heed(ctx, LeaseRequest{Caller: l.caller, Server: tool.Server, Tool: tool.Name}, f.listen)
}

// forget lets the next comparison follow anew what could not be followed.
func (l *listener) forget() {
	l.mu.Lock()
	l.wishes = ""
	l.mu.Unlock()
}

func (f *followed) listen(ctx context.Context, lease *Lease) error {
	l, g := f.l, f.l.of.g
	if err := f.may(ctx); err != nil {
		return err
	}
	hears := Listening{
		Caller: l.caller, Server: f.tool.Server, Session: l.in.Session, Offer: l.offer, Lease: lease, Resources: slices.Sorted(maps.Values(f.at)),
		Notify: func(notice []byte) error { return f.pass(ctx, lease, notice) },
	}
	hears.Resources = slices.Compact(hears.Resources)
	if l.key != "" && l.offer != nil {
		hears.Ask = func(ctx context.Context, request *mcp.Reply) (Reply, error) {
			if err := f.may(ctx); err != nil {
				return Reply{}, err
			}
			clean, err := g.question(&l.in, f.tool.Server.Name, l.offer, lease, request.Method, request.Params)
			if err == nil {
				clean, err = numbered(clean)
			}
			if err != nil {
				return Reply{}, err
			}
			reply, err := g.ask(ctx, l.caller, l.push, request.Method, clean)
			if err == nil {
				err = f.may(ctx) // the question may have been open for minutes
			}
			return l.in.returned(reply, f.tool.Server), err
		}
	}
	return g.Upstream.Listen(ctx, hears)
}

// may refuses what the server says or asks while it cannot be judged, or once its resources are not the caller's to read any more.
func (f *followed) may(ctx context.Context) error {
	if err := f.l.of.g.still(ctx, &f.l.in, f.l.caller, f.tool); err != nil {
		return err
	}
	return f.l.stands()
}

// pass hands one notice of the server on, if it is one that this client wishes for and may have now.
func (f *followed) pass(ctx context.Context, lease *Lease, notice []byte) error {
	l, g := f.l, f.l.of.g
	method, _ := mcp.Text(notice, "method")
	switch method {
	case mcp.MethodResourceUpdated:
	case mcp.MethodLog, mcp.MethodElicitationComplete:
		if l.key == "" {
			return nil
		}
	default:
		return nil
	}
	if err := f.may(ctx); err != nil {
		if g.Replicas.Fresh() != nil {
			l.end(true) // to leave something out unsaid would be worse
		}
		return err
	}
	clean, _, err := g.Inspector.Inspect(notice, lease)
	if err != nil {
		return err
	}
	clean = unforged(clean, "params", "_meta")
	if method != mcp.MethodResourceUpdated {
		f.tell(clean)
		return nil
	}
	for _, own := range f.asked(ctx, clean) {
		named, err := mcp.Set(clean, mcp.Quote(own), "params", "uri")
		if err != nil {
			return err
		}
		f.tell(named)
	}
	return nil
}

func (f *followed) tell(notice []byte) {
	if f.l.in.Server == "" {
		notice = renamed(notice, f.tool.Server.Name)
	}
	f.l.tell(slices.Clone(notice))
}

// asked finds what the client asked for that a notice is about, and decides again whether the client may read it. A notice about what lies below a
// resource is one about that resource (2025-11-25, server/resources, "Subscriptions"); any other URI is none of the client's.
func (f *followed) asked(ctx context.Context, notice []byte) (own []string) {
	uri, _ := mcp.Text(notice, "params", "uri")
	for asked, target := range f.at {
		rest, within := below(target, uri)
		if !within || slices.Contains(own, asked+rest) {
			continue
		}
		if f.l.key != "" && !f.l.of.g.clients.subscribes(f.l.key, f.tool.Server.Name, asked) {
			continue // it was told that it is not subscribed any more, and the stream is about to be tuned
		}
		if got, err := f.decide(ctx, asked+rest); err == nil && got == uri {
			own = append(own, asked+rest)
		}
	}
	return own
}

// below answers what of a URI comes after another one that it is, or lies below.
func below(of, uri string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(uri, of)
	return rest, ok && (rest == "" || strings.HasSuffix(of, "/") || rest[0] == '/' || rest[0] == '?' || rest[0] == '#')
}

// decide is readable, remembered for as long as nothing changed.
func (f *followed) decide(ctx context.Context, uri string) (target string, err error) {
	g := f.l.of.g
	now, version := g.Now(), g.version()
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, ok := f.verdicts[uri]; ok && v.version == version && now.Before(v.until) {
		return v.target, v.err
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	target, err = g.readable(ctx, &f.l.in, f.l.caller, f.tool.Server.Name, uri)
	if len(f.verdicts) >= maxVerdicts {
		clear(f.verdicts)
	}
	f.verdicts[uri] = verdict{version, now.Add(decidedFor), target, err}
	return target, err
}
