package duplex

import (
	"encoding/json"
	"slices"
	"strings"

	"headgate.dev/libs/mcp"
)

// notice brings a notice to whom it is about. What could be about somebody else is nobody's on a shared channel.
func (c *Conversation) notice(m *mcp.Reply) {
	switch m.Method {
	case mcp.MethodProgress:
		c.progress(m)
	case mcp.MethodCancelled:
		c.withdraw(m)
	case mcp.MethodAcknowledged: // the server says what it will tell; who listens sees what it does tell
	case mcp.MethodToolsListChanged, mcp.MethodPromptsListChanged, mcp.MethodResourcesListChanged, mcp.MethodResourceUpdated, mcp.MethodTasks:
		c.news(m)
	default:
		if c.cfg.Alone {
			c.word(m)
		}
	}
}

// progress goes to the call whose token it has, with the token that the call's client gave.
func (c *Conversation) progress(m *mcp.Reply) {
	c.mu.Lock()
	r := c.waiting[number(mcp.Get(m.Params, mcp.MetaProgressToken))]
	known := r != nil && r.token != nil && r.notify != nil
	c.mu.Unlock()
	if !known {
		return
	}
	if notice, err := mcp.Set(m.Raw, r.token, "params", mcp.MetaProgressToken); err == nil {
		c.hand(r, notice, true)
	}
}

// withdraw is the server's word that it does not want an answer any more, or tells nothing more to a listener.
func (c *Conversation) withdraw(m *mcp.Reply) {
	id := mcp.Get(m.Params, "requestId")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Era() == Modern {
		if r := c.waiting[number(id)]; r != nil && r.stream != nil {
			r.stream.stop(c.silent())
		}
		return
	}
	if cancel := c.asked[string(id)]; cancel != nil {
		cancel()
	}
}

// news goes to who listens for it. A modern server says for which request a notice is.
func (c *Conversation) news(m *mcp.Reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.Era() == Modern {
		r := c.waiting[number(mcp.Get(m.Params, "_meta", mcp.MetaSubscription))]
		if r != nil && r.stream != nil && r.stream.wants(m) {
			r.stream.push(withoutSubscription(m.Raw))
		}
		return
	}
	for l := range c.listeners {
		if l.wants(m) {
			l.push(m.Raw)
		}
	}
}

// withoutSubscription takes out the id of a subscription, which is the edge's own.
func withoutSubscription(notice []byte) []byte {
	notice = mcp.Delete(notice, "params", "_meta", mcp.MetaSubscription)
	if string(mcp.Get(notice, "params", "_meta")) == "{}" {
		notice = mcp.Delete(notice, "params", "_meta")
	}
	return notice
}

// word is what a server says to the one client that it has: to its newest call, or who listens.
func (c *Conversation) word(m *mcp.Reply) {
	c.mu.Lock()
	r := c.newest(func(r *request) bool { return r.notify != nil })
	if r != nil {
		c.mu.Unlock()
		c.hand(r, m.Raw, false)
		return
	}
	defer c.mu.Unlock()
	for l := range c.listeners {
		l.push(m.Raw)
	}
}

// newest is the call that began last of those that fit; nil when none does. The caller holds mu.
func (c *Conversation) newest(fits func(*request) bool) *request {
	var found *request
	for _, r := range c.waiting {
		if fits(r) && (found == nil || r.id > found.id) {
			found = r
		}
	}
	return found
}

// wants reports whether a listener asked for a notice of this kind. What is updated may be a part of what was subscribed to (2025-11-25,
// server/resources).
func (l *listener) wants(m *mcp.Reply) bool {
	switch m.Method {
	case mcp.MethodResourceUpdated:
	case mcp.MethodTasks:
		id, ok := mcp.Text(m.Params, "taskId")
		return ok && slices.Contains(l.wish.Tasks, id)
	default:
		return l.wish.Lists
	}
	uri, ok := mcp.Text(m.Params, "uri")
	for _, one := range l.wish.Resources {
		if ok && (uri == one || strings.HasPrefix(uri, strings.TrimSuffix(one, "/")+"/")) {
			return true
		}
	}
	return false
}

// filter is what a modern server is asked to tell.
func (l *listener) filter() (json.RawMessage, error) {
	wanted := map[string]any{}
	if l.wish.Lists {
		wanted["promptsListChanged"], wanted["resourcesListChanged"] = true, true
	}
	if len(l.wish.Resources) > 0 {
		wanted["resourceSubscriptions"] = l.wish.Resources
	}
	if len(l.wish.Tasks) > 0 {
		wanted["taskIds"] = l.wish.Tasks
	}
	return json.Marshal(map[string]any{"notifications": wanted})
}
