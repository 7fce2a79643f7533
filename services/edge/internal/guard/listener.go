package guard

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// listener is one stream of a client: the standing stream of a session, or one subscriptions/listen of 2026-07-28. It is a Stream.
type listener struct {
	of     *audience
	in     Inbound // without what only one request has
	caller *Caller
	number int64 // in the order in which they were opened
	offer  json.RawMessage
	key    string          // of a client of the revisions with sessions
	id     json.RawMessage // of a subscriptions/listen
	ack    []byte
	lists  []string            // the notices about lists that it wants
	uris   map[string][]string // of a subscriptions/listen, by server
	tasks  map[string]taskWishes

	tuning  sync.Mutex // one change of what it hears after the other
	mu      sync.Mutex
	sink    Sink
	over    bool
	visible string // digest of the tools that were visible last
	within  string // the servers that the caller reached last
	wishes  string // what it is tuned for
	stop    context.CancelFunc
}

// standing answers the GET of a client of the revisions with sessions: what is said outside of its requests, or a stream that it takes up again.
func (g *Guard) standing(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	if !strings.Contains(in.Accept, "text/event-stream") && !strings.Contains(in.Accept, "*/*") {
		return Answer{}, AtHTTP(http.StatusNotAcceptable, faultv1.Reason_REASON_INVALID, "A GET opens a stream, so its Accept must take text/event-stream.")
	}
	client, err := g.client(in, e)
	if err != nil {
		return Answer{}, err
	}
	if err := g.Replicas.Fresh(); err != nil {
		return Answer{}, err
	}
	if err := g.Catalogue.Stopped(e.caller); err != nil {
		return Answer{}, err
	}
	if in.LastEventID != "" {
		return g.resume(ctx, in, e)
	}
	offer := client.Offer
	if in.Session == "" {
		e.home, offer = g.Peers.Place(strayKey(in, e.caller)), g.clients.offered(strayKey(in, e.caller), g.Now())
	}
	if answer, ok, err := g.elsewhere(ctx, in, e); ok {
		return answer, err
	}
	l := g.listener(in, e)
	l.key, l.offer = clientKey(in, e.caller), offer
	l.lists = []string{mcp.MethodToolsListChanged, mcp.MethodPromptsListChanged, mcp.MethodResourcesListChanged}
	return Answer{Status: http.StatusOK, Stream: l}, nil
}

// client is what the session of a request says of its client; nothing for who has none.
func (g *Guard) client(in *Inbound, e *Entry) (Client, error) {
	if in.Session == "" {
		return Client{}, nil
	}
	client, ok := g.Sessions.Check(e.caller, in.Endpoint, in.Session)
	if !ok {
		return Client{}, AtHTTP(http.StatusNotFound, faultv1.Reason_REASON_NOT_FOUND, "This session is not known to Headgate for this caller. Send initialize again.")
	}
	e.says(client)
	e.home, e.offer, in.word.client = client.Home, client.Offer, client
	return client, nil
}

// resume goes on with a stream behind the event that the client saw last.
func (g *Guard) resume(ctx context.Context, in *Inbound, e *Entry) (Answer, error) {
	gone := AtHTTP(http.StatusBadRequest, faultv1.Reason_REASON_NOT_FOUND, // 404 would say that the session is over
		"The stream of this event is not kept any more, or is not this caller's. Open a new one without Last-Event-ID.")
	token, number, ok := eventID(in.LastEventID)
	if !ok {
		return Answer{}, gone
	}
	plain, ok := g.Keys.Open(sealStream, token, bound(e.caller)...)
	home, id, cut := strings.Cut(plain, "\x00")
	if !ok || !cut {
		return Answer{}, gone
	}
	e.home = home
	if answer, ok, err := g.elsewhere(ctx, in, e); ok {
		return answer, err
	}
	stream := g.replays.from(id, streamOwner(in, e.caller), number, func() error {
		_, err := g.Admitter.Current(in, e.caller)
		return err
	})
	if stream == nil {
		return Answer{}, gone
	}
	return Answer{Status: http.StatusOK, Stream: stream}, nil
}

func (g *Guard) listener(in *Inbound, e *Entry) *listener {
	return &listener{
		of: g.audience, caller: e.caller, number: g.audience.opened.Add(1),
		in: Inbound{Verb: in.Verb, Endpoint: in.Endpoint, Server: in.Server, Bearer: in.Bearer, Session: in.Session, IP: in.IP, word: in.word},
	}
}

// Attach implements Stream.
func (l *listener) Attach(to Sink) {
	l.mu.Lock()
	over := l.over
	l.sink = to
	l.mu.Unlock()
	if over {
		to.End()
		return
	}
	l.mu.Lock()
	over = l.over
	l.mu.Unlock()
	if over { // the client left while its stream was opened
		l.of.leave(l)
		return
	}
	if l.ack != nil {
		l.tell(l.ack) // before anything else
	}
	if !l.of.join(l) {
		l.end(true)
		return
	}
	if l.key != "" && l.in.Session != "" { // whoever ended the session meanwhile did not find this stream
		if _, ok := l.of.g.Sessions.Check(l.caller, l.in.Endpoint, l.in.Session); !ok {
			l.end(false)
		}
	}
}

// begin notes what is visible now and listens to the servers.
func (l *listener) begin() {
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	l.differs(ctx, newViews())
	l.reach(ctx)
	l.tune()
}

// stands refuses a stream whose caller's token expired or was revoked, or who is disabled or stopped. It asks nobody.
func (l *listener) stands() error {
	if _, err := l.of.g.Admitter.Current(&l.in, l.caller); err != nil {
		return err
	}
	return l.of.g.Catalogue.Stopped(l.caller)
}

// reach hears from other servers than before when the caller reaches others now. At the endpoint of one server, the stream ends when that server is
// lost: killed, deleted, or not the caller's any more.
func (l *listener) reach(ctx context.Context) {
	servers, err := l.of.g.Catalogue.Servers(ctx, l.caller, l.in.Server)
	if err != nil {
		l.of.behind.Store(true)
		return
	}
	var now strings.Builder
	for _, s := range servers {
		now.WriteString(s.Name + "\x00" + s.URL + "\x00" + s.CA + "\x00")
	}
	l.mu.Lock()
	before := l.within
	l.within = now.String()
	l.mu.Unlock()
	switch {
	case len(servers) == 0 && l.in.Server != "" && before != now.String():
		l.end(true)
		return
	case len(l.lists) > 0 && before != now.String():
		l.of.hear(l, servers)
	}
	l.tune() // rules may make something else of what it subscribes to
}

// Gone implements Stream.
func (l *listener) Gone() { l.end(false) }

// end closes the stream; a subscription is told so.
func (l *listener) end(say bool) {
	l.mu.Lock()
	sink, over, stop := l.sink, l.over, l.stop
	l.over = true
	l.mu.Unlock()
	if over {
		return
	}
	if stop != nil {
		stop()
	}
	l.of.leave(l)
	if sink == nil {
		return
	}
	if say && l.id != nil {
		_ = sink.Send("", mcp.Result(l.id, slices.Concat([]byte(`{"resultType":"complete","_meta":{"`+mcp.MetaSubscription+`":`), l.id, []byte(`}}`))))
	}
	sink.End()
}

// tell sends one notice. A subscription's carries its id, and no other does, whatever a server says.
func (l *listener) tell(notice []byte) {
	if l.id == nil {
		_ = l.push(mcp.WithoutSubscription(notice))
		return
	}
	if marked, err := mcp.Set(notice, l.id, "params", "_meta", mcp.MetaSubscription); err == nil {
		_ = l.push(marked)
	}
}

// push queues one message for a client that may have it now. A client that does not take it loses its stream; so does one whose caller does not stand any
// more, or cannot be judged by what is known: to leave something out unsaid would be worse.
func (l *listener) push(message []byte) error {
	l.mu.Lock()
	sink, over := l.sink, l.over
	l.mu.Unlock()
	if over || sink == nil {
		return errGone
	}
	err := l.of.g.Replicas.Fresh()
	if err == nil {
		err = l.stands()
	}
	if err != nil {
		l.end(true)
		return err
	}
	if err := sink.Send("", message); err != nil {
		l.end(false)
		return err
	}
	return nil
}

var errGone = AtHTTP(http.StatusGone, faultv1.Reason_REASON_CANCELLED, "The client's stream is gone.")

func (l *listener) wants(method string) bool { return slices.Contains(l.lists, method) }

// sees reports whether the caller may see what a notice about a server's lists is about.
func (l *listener) sees(ctx context.Context, s *Server, method string) bool {
	of := mcp.MethodResourceRead
	if method == mcp.MethodPromptsListChanged {
		of = mcp.MethodPromptsGet
	}
	_, err := l.of.g.Catalogue.Method(ctx, l.caller, s.Name, of)
	return err == nil
}

// differs reports whether other tools are visible than when it was asked last.
func (l *listener) differs(ctx context.Context, known *views) bool {
	now, err := known.of(ctx, l)
	if err != nil {
		l.of.behind.Store(true)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.visible
	l.visible = now
	return before != "" && before != now
}

// streamOwner is whose a kept stream is: a caller's, at one endpoint, in one session where there is one.
func streamOwner(in *Inbound, c *Caller) string {
	return ownerOf(c) + "\x00" + in.Endpoint + "\x00" + in.Session
}
