package duplex

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

// capability is what a client must have offered before it is asked.
func capability(method string) string {
	switch method {
	case mcp.MethodElicit:
		return "elicitation"
	case mcp.MethodSample:
		return "sampling"
	case mcp.MethodRoots:
		return "roots"
	}
	return ""
}

// asker is a client that can be asked: through a call, or as a listener.
type asker struct {
	ctx  context.Context
	call *request
	ask  func(context.Context, *mcp.Reply) (guard.Reply, error)
}

// question answers what the server asks. A modern server asks in its results alone, and is not answered here.
func (c *Conversation) question(m *mcp.Reply) {
	switch {
	case c.Era() == Modern:
	case m.Method == mcp.MethodPing:
		c.reply(mcp.Result(m.ID, json.RawMessage("{}")))
	default:
		who := c.whom(m.Method)
		if who == nil {
			c.reply(mcp.ErrorReply(m.ID, mcp.CodeMethodNotFound, "Method not found: no client that can be asked this was offered.", nil))
			return
		}
		c.pose(m, who)
	}
}

// whom finds the client to ask: that of the newest call, or one who listens. Nil when nobody offered to be asked this.
func (c *Conversation) whom(method string) *asker {
	needed := capability(method)
	if !c.cfg.Alone || needed == "" || mcp.Get(c.cfg.Offer, needed) == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.newest(func(r *request) bool { return r.ask != nil }); r != nil {
		return &asker{ctx: r.ctx, call: r, ask: r.ask}
	}
	for l := range c.listeners {
		if l.wish.Ask != nil {
			return &asker{ctx: l.ctx, ask: l.wish.Ask}
		}
	}
	return nil
}

// pose takes a question to a client and the answer back, while the conversation goes on.
func (c *Conversation) pose(m *mcp.Reply, who *asker) {
	select {
	case c.slots <- struct{}{}:
	default:
		c.tooMany(m)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		<-c.slots
		return
	}
	ctx, cancel := context.WithCancel(who.ctx)
	stop := context.AfterFunc(c.life, cancel)
	key := string(m.ID)
	c.asked[key] = cancel
	if who.call != nil {
		who.call.asking++
	}
	c.all.Go(func() {
		defer func() { <-c.slots }()
		defer stop()
		defer cancel()
		reply, err := who.ask(ctx, m)
		c.posed(key, who)
		if ctx.Err() != nil {
			return // the server does not want the answer any more, or nobody is there to hear it
		}
		if reply.Lease != nil {
			c.lease.Store(reply.Lease)
		}
		sending, done := context.WithTimeout(c.life, ownTime)
		defer done()
		c.drop(c.send(sending, mcp.Outgoing{Body: answerTo(m.ID, reply, err), Headers: c.speaker(nil).Headers("", "")}))
	})
}

// tooMany answers a question for which there is no room. Who does not take these answers either gets no more of them.
func (c *Conversation) tooMany(m *mcp.Reply) {
	body := mcp.ErrorReply(m.ID, mcp.CodeInternal, "Too many questions wait for the client. Ask again when some of them are answered.", nil)
	c.write(c.refusals, body)
}

func (c *Conversation) posed(key string, who *asker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asked, key)
	if who.call != nil {
		who.call.asking--
		who.call.answered = time.Now()
	}
}

// answerTo is a client's answer as a message. An error is a sentence for the server.
func answerTo(id json.RawMessage, reply guard.Reply, err error) []byte {
	switch {
	case err != nil:
		return mcp.ErrorReply(id, mcp.CodeInternal, fault.From(err).Sentence, nil)
	case reply.Error != nil:
		return slices.Concat([]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"error":`), reply.Error, []byte(`}`))
	case reply.Result == nil:
		return mcp.Result(id, json.RawMessage("{}"))
	}
	return mcp.Result(id, reply.Result)
}

// reply sends an answer without waiting for it to be taken. Who asks more than is answered at once gets none.
func (c *Conversation) reply(body []byte) { c.write(c.slots, body) }

// write sends an answer where there is room for one.
func (c *Conversation) write(room chan struct{}, body []byte) {
	select {
	case room <- struct{}{}:
	default:
		return
	}
	sent := c.later(func(ctx context.Context) {
		defer func() { <-room }()
		c.drop(c.send(ctx, mcp.Outgoing{Body: body, Headers: c.speaker(nil).Headers("", "")}))
	})
	if !sent {
		<-room
	}
}
