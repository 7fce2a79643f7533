package duplex

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

// longestCall bounds a call whose server asks its client again and again.
const longestCall = time.Hour

// Call makes one request, once.
func (c *Conversation) Call(ctx context.Context, ex guard.Exchange) (guard.Reply, error) {
	modern := c.Era() == Modern
	if refusal := c.forAll(ex.Method); refusal != nil {
		return guard.Reply{Error: refusal, Modern: modern}, nil
	}
	if err := c.speakUp(ctx, ex, ex.Server.Timeout); err != nil {
		return guard.Reply{}, err
	}
	r, err := c.begin(ctx)
	if err != nil {
		return guard.Reply{}, err
	}
	defer c.forget(r)
	body, token, err := c.request(r, ex)
	if err != nil {
		return guard.Reply{}, c.outside(err, "its request could not be written")
	}
	c.mu.Lock()
	r.notify, r.token = ex.Notify, token
	if c.cfg.Alone {
		r.ask = ex.Ask
	}
	c.mu.Unlock()
	c.lease.Store(ex.Lease)
	reply, err := c.exchange(ctx, r, Message{body, c.speaker(nil).Headers(ex.Method, ex.Name), ex.Lease}, ex.Server.Timeout)
	if err != nil {
		return guard.Reply{}, err
	}
	if reply.Result != nil {
		level, _ := mcp.Text(ex.Params, "level")
		c.leveled(ex.Method, level)
	}
	return guard.Reply{Result: reply.Result, Error: reply.Error, Modern: modern}, nil
}

// forAll refuses what would change a channel for everyone who shares it, in the server's place.
func (c *Conversation) forAll(method string) json.RawMessage {
	switch method {
	case mcp.MethodSetLevel, mcp.MethodSubscribe, mcp.MethodUnsubscribe:
		if !c.cfg.Alone {
			return json.RawMessage(`{"code":-32601,"message":"This server is shared by all callers, so nobody can set that for it."}`)
		}
	}
	return nil
}

// request writes the request. The caller's progress token becomes the request's own id, so that a notice can only be about this call.
func (c *Conversation) request(r *request, ex guard.Exchange) (body []byte, token json.RawMessage, err error) {
	var offer json.RawMessage
	if c.cfg.Alone {
		offer = ex.Offer
	}
	params, err := c.speaker(offer).Params(ex.Params)
	if err != nil {
		return nil, nil, err
	}
	id := mcp.NewID(r.id)
	if token = slices.Clone(mcp.Get(params, "_meta", mcp.MetaProgressToken)); token != nil {
		if params, err = mcp.Set(params, id, "_meta", mcp.MetaProgressToken); err != nil {
			return nil, nil, err
		}
	}
	return mcp.NewRequest(id, ex.Method, params), token, nil
}

// exchange sends a request and waits for its answer. Notices that come before it go on as they come. Who stops waiting tells the server so.
func (c *Conversation) exchange(ctx context.Context, r *request, m Message, limit time.Duration) (*mcp.Reply, error) {
	sending, stop := context.WithTimeout(ctx, limit)
	err := c.channel.Send(sending, m)
	if err != nil {
		err = c.unsent(sending, err)
	}
	stop()
	if err != nil {
		if ctx.Err() != nil {
			c.cancel(r) // it may have arrived all the same
		}
		return nil, err
	}
	reply, err := c.await(ctx, r, limit)
	if err != nil && !c.Over() {
		c.cancel(r)
	}
	return reply, err
}

func (c *Conversation) await(ctx context.Context, r *request, limit time.Duration) (*mcp.Reply, error) {
	began := time.Now()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case <-r.notices.some:
			if notice := r.notices.next(); notice != nil {
				if err := r.notify(notice); err != nil {
					return nil, err
				}
			}
		case out := <-r.answer:
			if out.err != nil {
				return nil, out.err
			}
			return out.reply, r.drain()
		case <-timer.C:
			left := c.left(r, limit)
			if left <= 0 || time.Since(began) > longestCall {
				return nil, c.late()
			}
			timer.Reset(left)
		case <-ctx.Done():
			return nil, c.unwaited(ctx)
		}
	}
}

// drain passes on the notices that came before the answer.
func (r *request) drain() error {
	for notice := r.notices.next(); notice != nil; notice = r.notices.next() {
		if err := r.notify(notice); err != nil {
			return err
		}
	}
	return nil
}

// left is how much longer a call may take whose time is over. While its client is asked, the server cannot go on, so that time is not the server's.
func (c *Conversation) left(r *request, limit time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.asking > 0 {
		return time.Second
	}
	if r.answered.IsZero() {
		return 0
	}
	return limit - time.Since(r.answered)
}

// ask makes a request of the edge's own.
func (c *Conversation) ask(ctx context.Context, method string, params json.RawMessage, lease *guard.Lease, limit time.Duration) (*mcp.Reply, error) {
	r, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer c.forget(r)
	c.lease.Store(lease)
	speaker := c.speaker(nil)
	if params, err = speaker.Params(params); err != nil {
		return nil, c.outside(err, "a request could not be written")
	}
	return c.exchange(ctx, r, Message{mcp.NewRequest(mcp.NewID(r.id), method, params), speaker.Headers(method, ""), lease}, limit)
}
