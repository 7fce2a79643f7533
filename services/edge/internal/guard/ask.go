package guard

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const sealAsk = "ask"

// asks are the requests to clients that wait for an answer, by the id that the client was sent.
type asks struct {
	mu      sync.Mutex
	waiting map[string]*asked
}

// asked is one of them. Answer has room for one.
type asked struct {
	owner  string
	answer chan Reply
}

func newAsks() *asks { return &asks{waiting: map[string]*asked{}} }

func (a *asks) begin(owner string) (id string, one *asked) {
	id, one = rand.Text(), &asked{owner: owner, answer: make(chan Reply, 1)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting[id] = one
	return id, one
}

func (a *asks) end(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, id)
}

// answer gives a client's answer to who waits for it; false when nobody does, or it was another caller who was asked.
func (a *asks) answer(id, owner string, reply Reply) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.waiting[id]
	if one == nil || one.owner != owner {
		return false
	}
	delete(a.waiting, id)
	one.answer <- reply
	return true
}

func ownerOf(c *Caller) string { return strings.Join(bound(c), "\x00") }

// capabilityOf is the capability of a client that a request of a server needs.
var capabilityOf = map[string]string{mcp.MethodElicit: "elicitation", mcp.MethodSample: "sampling", mcp.MethodRoots: "roots"}

// question is a request of a server to the client in the words that the client gets: inspected, from a server that says who it is, and only what the
// client said that it can do.
func (g *Guard) question(in *Inbound, server string, offer json.RawMessage, lease *Lease, method string, params json.RawMessage) (json.RawMessage, error) {
	capability, known := capabilityOf[method]
	if !known || mcp.Get(offer, capability) == nil {
		return nil, fault.New(faultv1.Reason_REASON_METHOD, "This client does not take %s.", clip(method, 64))
	}
	if params == nil {
		return nil, nil
	}
	clean, _, err := g.Inspector.Inspect(params, lease)
	if err != nil {
		return nil, err
	}
	clean = unforged(clean, "_meta")
	switch {
	case method == mcp.MethodElicit:
	case method == mcp.MethodSample && in.Server == "":
		return renamedLinks(clean, server), nil
	default:
		return clean, nil
	}
	if mode, _ := mcp.Text(clean, "mode"); mode == "url" {
		if err := safeURL(offer, clean); err != nil {
			return nil, err
		}
	}
	if in.Server != "" {
		return clean, nil
	}
	// A client of all servers must be able to say which of them wants to know (2026-07-28, client/elicitation).
	message, _ := mcp.Text(clean, "message")
	return mcp.Set(clean, mcp.Quote(server+": "+message), "message")
}

// returned is a client's answer to a question in the words of the server that asked.
func (in *Inbound) returned(answer Reply, server *Server) Reply {
	if in.Server == "" && answer.Result != nil {
		answer.Result = ownLinks(answer.Result, server)
	}
	return answer
}

// numbered gives an elicitation by URL the id that 2025-11-25 wants one to have, where its server, of another revision, gave none.
func numbered(params json.RawMessage) (json.RawMessage, error) {
	if mode, _ := mcp.Text(params, "mode"); mode != "url" || mcp.Get(params, "elicitationId") != nil {
		return params, nil
	}
	return mcp.Set(params, mcp.Quote(rand.Text()), "elicitationId")
}

// unnumbered takes that id away: 2026-07-28 does not have it.
func unnumbered(params json.RawMessage) json.RawMessage {
	if mode, _ := mcp.Text(params, "mode"); mode != "url" {
		return params
	}
	return mcp.Delete(params, "elicitationId")
}

// safeURL refuses an address that a person should not be sent to: only https, or http on the person's own machine, and no text that breaks out.
func safeURL(offer, params json.RawMessage) error {
	text, _ := mcp.Text(params, "url")
	u, err := url.Parse(text)
	local := err == nil && u.Scheme == "http" && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1")
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !local || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r > 0x7e }) {
		return fault.New(faultv1.Reason_REASON_INSPECTION, "The server wants to send the person to an address that is not plain https. The question was not asked.")
	}
	if mcp.Get(offer, "elicitation", "url") == nil {
		return fault.New(faultv1.Reason_REASON_METHOD, "This client does not take elicitation by URL.")
	}
	return nil
}

// ask takes a request of a server to a client of the revisions that have sessions, on the stream of its call, and waits for the answer.
func (g *Guard) ask(ctx context.Context, c *Caller, send func([]byte) error, method string, params json.RawMessage) (Reply, error) {
	id, one := g.asks.begin(ownerOf(c))
	defer g.asks.end(id)
	sealed := g.Keys.Seal(sealAsk, g.Peers.Self()+"\x00"+id, bound(c)...)
	if err := send(mcp.NewRequest(mcp.Quote(sealed), method, params)); err != nil {
		return Reply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, stateFor)
	defer cancel()
	select {
	case reply := <-one.answer:
		return reply, nil
	case <-ctx.Done():
		_ = send(mcp.Notice(mcp.MethodCancelled, slices.Concat([]byte(`{"requestId":`), mcp.Quote(sealed), []byte{'}'}))) // a client that is gone asks nobody
		return Reply{}, fault.New(faultv1.Reason_REASON_CANCELLED, "The client did not answer.").Because(ctx.Err())
	}
}

// answered takes a client's answer to a request of a server.
func (g *Guard) answered(e *Entry) (home, id string, ok bool) {
	sealed, isText := mcp.Text(e.msg.Raw, "id")
	if !isText {
		return "", "", false
	}
	plain, ok := g.Keys.Open(sealAsk, sealed, bound(e.caller)...)
	if !ok {
		return "", "", false
	}
	return strings.Cut(plain, "\x00")
}
