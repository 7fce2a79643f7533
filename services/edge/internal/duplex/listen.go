package duplex

import (
	"context"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// mostNews is how many notices wait for a listener that is slow. One who misses any must know, so the listening ends.
const mostNews = 256

// listener is one client that hears what the server says unasked.
type listener struct {
	wish guard.Listening
	ctx  context.Context
	news chan []byte
	over chan error // the reason why it ends, once
}

func (l *listener) push(notice []byte) {
	select {
	case l.news <- notice:
	default:
		l.stop(fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s said more at once than could be passed on. Listen again, and look at what you need.",
			l.wish.Server.Name))
	}
}

func (l *listener) stop(why error) {
	select {
	case l.over <- why:
	default:
	}
}

// Listen passes on what the server says unasked until ctx ends. Each request of its own may take limit.
func (c *Conversation) Listen(ctx context.Context, wish guard.Listening, limit time.Duration) error {
	if !c.says(wish) {
		return c.mute()
	}
	c.lease.Store(wish.Lease)
	ctx, end := context.WithCancel(ctx)
	defer end()
	l := &listener{wish: wish, ctx: ctx, news: make(chan []byte, mostNews), over: make(chan error, 1)}
	if c.Era() == Modern {
		return c.open(ctx, l)
	}
	if err := c.join(l); err != nil { // before the server is asked, so that nothing is missed
		return err
	}
	defer c.part(l)
	kept, err := c.subscribe(ctx, wish.Resources, limit)
	defer c.unsubscribe(kept)
	if err != nil {
		return err
	}
	_, err = l.pass(ctx, nil)
	return err
}

func (c *Conversation) mute() error {
	return fault.New(faultv1.Reason_REASON_METHOD, "The server %s says nothing unasked.", c.cfg.Server)
}

// silent says that the server ended a stream of notices in order.
func (c *Conversation) silent() error {
	return fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s ended its stream of notices. Listen again.", c.cfg.Server)
}

// says reports whether the server says of itself that it tells any of what is wished. One that belongs to the listener alone may also ask.
func (c *Conversation) says(wish guard.Listening) bool {
	if c.cfg.Alone && wish.Ask != nil && c.Era() == Legacy {
		return true
	}
	if len(wish.Tasks) > 0 { // who shares a server offers it nothing, and tasks only with the extension
		return c.cfg.Alone && c.Era() == Modern && c.knows("extensions", mcp.ExtensionTasks)
	}
	return wish.Lists && (c.has("prompts", "listChanged") || c.has("resources", "listChanged")) || len(wish.Resources) > 0 && c.has("resources", "subscribe")
}

// has reports whether the server has a capability that is said with true.
func (c *Conversation) has(path ...string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(mcp.Get(c.about.Capabilities, path...)) == "true"
}

// knows reports whether the server has a capability, whatever it says of it.
func (c *Conversation) knows(path ...string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return mcp.Get(c.about.Capabilities, path...) != nil
}

func (c *Conversation) join(l *listener) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return c.broken(nil)
	}
	c.listeners[l] = struct{}{}
	return nil
}

func (c *Conversation) part(l *listener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.listeners, l)
}

// open asks a modern server for a stream of the listener's own. The answer to that request ends the stream.
func (c *Conversation) open(ctx context.Context, l *listener) error {
	filter, err := l.filter()
	if err != nil {
		return err
	}
	speaker := c.speaker(nil)
	if c.cfg.Alone {
		speaker.Capabilities = l.wish.Offer
	}
	params, err := speaker.Params(filter)
	if err != nil {
		return err
	}
	r, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer c.forget(r)
	c.mu.Lock()
	r.stream = l
	c.mu.Unlock()
	if err := c.send(ctx, mcp.Outgoing{Body: mcp.NewRequest(mcp.NewID(r.id), mcp.MethodListen, params)}); err != nil {
		return c.unsent(ctx, err)
	}
	answer, err := l.pass(ctx, r)
	switch {
	case answer == nil:
		c.cancel(r)
		return err
	case answer.err != nil:
		return answer.err
	case answer.reply.ErrorCode == mcp.CodeMethodNotFound:
		return c.mute()
	case answer.reply.Error != nil:
		return c.outside(nil, "it refused to say what changes")
	}
	return c.silent()
}

// pass brings notices to the listener until ctx ends, which is no error, or the server's answer to r does it.
func (l *listener) pass(ctx context.Context, r *request) (*outcome, error) {
	for {
		select {
		case notice := <-l.news:
			if err := l.wish.Notify(notice); err != nil {
				return nil, err
			}
		case why := <-l.over:
			return nil, why
		case out := <-r.answers():
			return &out, nil
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// subscribe asks the server to tell of changes of resources, once for all who want the same. It answers what is held now, also with an error.
func (c *Conversation) subscribe(ctx context.Context, resources []string, limit time.Duration) (kept []string, err error) {
	if len(resources) == 0 || !c.has("resources", "subscribe") {
		return nil, nil
	}
	select {
	case c.subscribing <- struct{}{}:
		defer func() { <-c.subscribing }()
	case <-ctx.Done():
		return nil, c.unwaited(ctx)
	}
	for _, uri := range resources {
		if c.subscriptions[uri] == 0 {
			reply, err := c.concerning(ctx, mcp.MethodSubscribe, uri, limit)
			if err != nil {
				return kept, err
			}
			if reply.Error != nil {
				return kept, c.outside(nil, "it refused to say when a resource changes")
			}
		}
		c.subscriptions[uri]++
		kept = append(kept, uri)
	}
	return kept, nil
}

// unsubscribe gives back what subscribe answered. What nobody holds any more the server need not tell.
func (c *Conversation) unsubscribe(kept []string) {
	if len(kept) == 0 {
		return
	}
	c.later(func(ctx context.Context) {
		select {
		case c.subscribing <- struct{}{}:
			defer func() { <-c.subscribing }()
		case <-c.life.Done():
			return
		}
		for _, uri := range kept {
			if c.subscriptions[uri]--; c.subscriptions[uri] > 0 {
				continue
			}
			delete(c.subscriptions, uri)
			_, err := c.concerning(ctx, mcp.MethodUnsubscribe, uri, ownTime)
			c.drop(err)
		}
	})
}

// concerning makes a request about one resource.
func (c *Conversation) concerning(ctx context.Context, method, uri string, limit time.Duration) (*mcp.Reply, error) {
	params, err := mcp.Set([]byte("{}"), mcp.Quote(uri), "uri")
	if err != nil {
		return nil, c.outside(err, "a resource has no name")
	}
	return c.ask(ctx, method, params, c.lease.Load(), limit)
}
