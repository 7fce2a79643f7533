// Package peers hands clients' requests between edges: what belongs to a session, to a call that waits for its client or to a stream is answered by the
// edge that holds it, whichever edge the client's request came to.
package peers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	edgev1 "headgate.dev/proto/gen/headgate/edge/v1"
	"headgate.dev/proto/gen/headgate/edge/v1/edgev1connect"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// maxPeers is how many other edges are remembered; the addresses come from the edges' own seals.
const maxPeers = 256

// Dial makes the way to another edge, by the URL of its RPCs.
type Dial func(url string) (edgev1connect.EdgeServiceClient, error)

// Peers implements guard.Peers. Safe for concurrent use.
type Peers struct {
	self  string
	edges func() []string
	dial  Dial
	log   *slog.Logger

	mu      sync.Mutex
	ways    map[string]edgev1connect.EdgeServiceClient
	running sync.WaitGroup
}

// Wait waits for the streams that other edges hold, after their clients are gone.
func (p *Peers) Wait() { p.running.Wait() }

// New makes the way to other edges. Self is the URL by which they reach this one, empty for an edge that is alone; edges answers those that there are.
func New(self string, edges func() []string, dial Dial, log *slog.Logger) *Peers {
	return &Peers{self: self, edges: edges, dial: dial, log: log, ways: map[string]edgev1connect.EdgeServiceClient{}}
}

// Self implements guard.Peers.
func (p *Peers) Self() string { return p.self }

// Others implements guard.Peers.
func (p *Peers) Others() []string {
	if p.self == "" {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.edges()), func(edge string) bool { return edge == p.self })
}

// Place implements guard.Peers. Of all edges, it is the one whose name makes the highest hash with the key: when one goes, only what belonged to it moves.
func (p *Peers) Place(key string) string {
	place, highest := p.self, [sha256.Size]byte{}
	if p.self == "" {
		return place
	}
	for _, edge := range p.edges() {
		if sum := sha256.Sum256([]byte(edge + "\x00" + key)); bytes.Compare(sum[:], highest[:]) > 0 {
			place, highest = edge, sum
		}
	}
	return place
}

func (p *Peers) way(home string) (edgev1connect.EdgeServiceClient, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if way := p.ways[home]; way != nil {
		return way, nil
	}
	if p.dial == nil {
		return nil, errors.New("this edge was not told how to reach others")
	}
	way, err := p.dial(home)
	if err != nil {
		return nil, err
	}
	if len(p.ways) >= maxPeers {
		clear(p.ways)
	}
	p.ways[home] = way
	return way, nil
}

// Relay implements guard.Peers.
func (p *Peers) Relay(ctx context.Context, home string, in *guard.Inbound) (guard.Answer, error) {
	way, err := p.way(home)
	if err != nil {
		p.log.Warn("another edge cannot be reached", "edge", home, "error", err)
		return guard.Answer{}, guard.ErrUnreached
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a stream goes on after the request
	stop := context.AfterFunc(ctx, cancel)
	parts, err := way.Relay(life, connect.NewRequest(request(in)))
	if err != nil {
		stop()
		cancel()
		if ctx.Err() != nil {
			return guard.Answer{}, gone()
		}
		return p.unreached(home, err)
	}
	heard := false
	for parts.Receive() {
		heard = true
		part := parts.Msg()
		switch {
		case part.GetStream():
			stop()
			return guard.Answer{Status: http.StatusOK, Stream: &relayed{of: p, parts: parts, cancel: cancel}}, nil
		case part.GetStatus() != 0:
			answer := answerOf(part)
			stop()
			cancel()
			_ = parts.Close() // the answer is here
			return answer, nil
		case in.Pause != nil && part.GetPause() != nil:
			in.Pause(part.GetEventId(), part.GetPause().AsDuration())
			stop()
			cancel() // the call goes on there; its client comes back for the answer
			_ = parts.Close()
			return guard.Answer{Status: http.StatusOK}, nil
		case in.Send != nil && len(part.GetMessage()) > 0:
			if in.Send(part.GetEventId(), part.GetMessage()) != nil {
				in.Send = nil // the client is gone; what it wanted goes on or ends as its revision has it
			}
		case in.Opening != nil && part.GetEventId() != "":
			in.Opening.Named(part.GetEventId())
		}
	}
	stop()
	cancel()
	err = errors.Join(parts.Err(), parts.Close())
	switch {
	case ctx.Err() != nil:
		return guard.Answer{}, gone()
	case !heard:
		return p.unreached(home, err)
	}
	p.log.Warn("another edge broke off", "edge", home, "error", err)
	return guard.Answer{}, broken()
}

// unreached is the answer when another edge did not take a request. Only where no connection was made is it certain that nothing happened there.
func (p *Peers) unreached(home string, err error) (guard.Answer, error) {
	p.log.Warn("another edge cannot be reached", "edge", home, "error", err)
	var failed *net.OpError
	if errors.As(err, &failed) && failed.Op == "dial" {
		return guard.Answer{}, guard.ErrUnreached
	}
	return guard.Answer{}, broken()
}

// gone ends a request whose client did not wait for what another edge answers.
func gone() error {
	return fault.New(faultv1.Reason_REASON_CANCELLED, "The client went away while another gateway process, which records it too, answered its request.")
}

// broken refuses a request of which nobody knows what became.
func broken() error {
	return guard.AtHTTP(http.StatusBadGateway, faultv1.Reason_REASON_UNAVAILABLE,
		"The gateway process that holds this session ended while it answered. Look whether the call took effect before you make it again.")
}

func answerOf(part *edgev1.RelayResponse) guard.Answer {
	return guard.Answer{
		Status: int(part.GetStatus()), Body: part.GetBody(), Session: part.GetSession(), Challenge: part.GetChallenge(), Allow: part.GetAllow(),
		RetryAfter: part.GetRetryAfter().AsDuration(), EventID: part.GetEventId(),
	}
}

func request(in *guard.Inbound) *edgev1.RelayRequest {
	r := &edgev1.RelayRequest{
		Verb: in.Verb, Endpoint: in.Endpoint, Server: in.Server, Host: in.Host, Origins: in.Origins, ContentType: in.ContentType, Accept: in.Accept,
		Bearer: in.Bearer, Session: in.Session, LastEventId: in.LastEventID, TraceParent: in.TraceParent, Ip: in.IP, UserAgent: guard.Clip(in.UserAgent),
		Body: in.Body, Streams: in.Send != nil, Pauses: in.Pause != nil,
	}
	if fields, ok := in.Headers.(guard.Headers); ok {
		for _, f := range fields {
			r.Headers = append(r.Headers, &edgev1.Field{Name: f.Name, Value: f.Value})
		}
	}
	return r
}

// relayed is a stream that another edge holds. It is a guard.Stream.
type relayed struct {
	of     *Peers
	parts  *connect.ServerStreamForClient[edgev1.RelayResponse]
	cancel context.CancelFunc
}

// Attach implements guard.Stream.
func (r *relayed) Attach(to guard.Sink) {
	r.of.running.Go(func() { // it ends with the stream: Gone, or the other edge
		for r.parts.Receive() {
			if to.Send(r.parts.Msg().GetEventId(), r.parts.Msg().GetMessage()) != nil {
				break
			}
		}
		to.End()
		r.cancel()
		_ = r.parts.Close()
	})
}

// Gone implements guard.Stream.
func (r *relayed) Gone() { r.cancel() }

// Guard answers requests.
type Guard interface {
	Call(ctx context.Context, in *guard.Inbound) guard.Answer
}

// openAfter is how long a request from another edge may take before that edge is told the id of the event that its client's stream begins with, should
// there be nothing to say until then: sooner than it begins the stream (front.streamAfter).
const openAfter = 10 * time.Second

// Serve answers a request that another edge handed over.
func Serve(ctx context.Context, g Guard, r *edgev1.RelayRequest, send func(*edgev1.RelayResponse) error) error {
	var mu sync.Mutex
	over := false
	locked := func(part *edgev1.RelayResponse) error {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return errSlow
		}
		return send(part)
	}
	defer func() { // whoever still tells this request something does so to nobody
		mu.Lock()
		over = true
		mu.Unlock()
	}()
	in := inbound(r)
	if r.GetStreams() {
		in.Send = func(id string, message []byte) error {
			return locked(&edgev1.RelayResponse{EventId: id, Message: message})
		}
		in.Opening = &guard.Opening{}
		opening := time.AfterFunc(openAfter, func() {
			if id := in.Opening.ID(); id != "" {
				_ = locked(&edgev1.RelayResponse{EventId: id}) // an edge that is gone has no stream to begin
			}
		})
		defer opening.Stop()
	}
	if r.GetPauses() {
		in.Pause = func(id string, retry time.Duration) {
			_ = locked(&edgev1.RelayResponse{EventId: id, Pause: durationpb.New(retry)}) // an edge that is gone has no client to let go
		}
	}
	answer := g.Call(ctx, in)
	if answer.Stream != nil {
		return hold(ctx, answer.Stream, locked)
	}
	return locked(&edgev1.RelayResponse{
		Status: int32(answer.Status), Body: answer.Message(), Session: answer.Session, Challenge: answer.Challenge, Allow: answer.Allow,
		RetryAfter: duration(answer.RetryAfter), EventId: answer.EventID,
	})
}

func duration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func inbound(r *edgev1.RelayRequest) *guard.Inbound {
	in := &guard.Inbound{
		Verb: r.GetVerb(), Endpoint: r.GetEndpoint(), Server: r.GetServer(), Host: r.GetHost(), Origins: r.GetOrigins(), ContentType: r.GetContentType(),
		Accept: r.GetAccept(), Bearer: r.GetBearer(), Session: r.GetSession(), LastEventID: r.GetLastEventId(), TraceParent: r.GetTraceParent(),
		IP: r.GetIp(), UserAgent: r.GetUserAgent(), Body: r.GetBody(), Relayed: true,
	}
	fields := make(guard.Headers, 0, len(r.GetHeaders()))
	for _, f := range r.GetHeaders() {
		fields = append(fields, mcp.Field{Name: f.GetName(), Value: f.GetValue()})
	}
	in.Headers = fields
	return in
}

// maxQueued is how many bytes of messages may wait for another edge, besides those that a stream begins with.
const maxQueued = 1 << 20

// hold keeps a stream for another edge until one of its ends is gone.
func hold(ctx context.Context, stream guard.Stream, send func(*edgev1.RelayResponse) error) error {
	if err := send(&edgev1.RelayResponse{Stream: true}); err != nil {
		stream.Gone()
		return err
	}
	to := &sink{wake: make(chan struct{}, 1)}
	stream.Attach(to)
	to.begin()
	defer stream.Gone()
	for {
		parts, over := to.take()
		for _, part := range parts {
			if err := send(part); err != nil {
				return err
			}
		}
		switch {
		case len(parts) > 0:
			continue
		case over:
			return nil
		}
		select {
		case <-to.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// sink keeps what another edge is to be told until it is told. What a stream that is taken up again begins with is bounded by who kept it.
type sink struct {
	wake chan struct{} // has room for one

	mu    sync.Mutex
	parts []*edgev1.RelayResponse
	size  int // bytes of what came since the stream began
	begun bool
	over  bool
}

// Send implements guard.Sink.
func (s *sink) Send(id string, message []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		s.size += len(message)
	}
	if s.over || s.size > maxQueued {
		s.over = true
		s.stir()
		return errSlow
	}
	s.parts = append(s.parts, &edgev1.RelayResponse{EventId: id, Message: message})
	s.stir()
	return nil
}

// begin ends what does not count.
func (s *sink) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = true
}

// take answers what waits, and whether nothing more comes.
func (s *sink) take() (parts []*edgev1.RelayResponse, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	parts, s.parts, s.size = s.parts, nil, 0
	return parts, s.over
}

// End implements guard.Sink.
func (s *sink) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.stir()
}

func (s *sink) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

var errSlow = errors.New("the stream is over, or its client is too slow")
