// Package duplex holds the conversation with an MCP server over one two-way channel, on which the messages of all calls mix: it gives each request an id
// of its own, brings answers and notices to the calls that they belong to and to nobody else, and takes what the server asks to whom it may ask.
package duplex

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

const (
	clientName    = "headgate"
	clientVersion = "1"
	// mostAnswers is how many questions of the server are answered at once, and how many more are refused at once.
	mostAnswers = 16
	// ownTime bounds a message that nobody waits for: a cancellation, an answer, the end of a subscription.
	ownTime = 2 * time.Second
)

// Message is one message for a server. Headers and lease are for channels that have headers.
type Message struct {
	Body    []byte
	Headers []mcp.Field
	Lease   *guard.Lease
}

// Channel carries whole messages both ways.
type Channel interface {
	// Send gives the server one message. Safe for concurrent use. Ctx bounds the waiting; an error does not end the channel by itself.
	Send(ctx context.Context, m Message) error
	// Receive answers the server's next message, for one goroutine. A *mcp.LongLineError is about one message; every other error ends the channel.
	Receive() ([]byte, error)
	// Close ends the channel with what is behind it, and waits for that. Again is no error.
	Close()
}

// Era is which kind of revision a server speaks.
type Era int32

// The eras of the protocol. Unknown is found out.
const (
	Unknown Era = iota
	Legacy
	Modern
)

// Config says how to speak.
type Config struct {
	// Server is its name, for sentences.
	Server string
	Limits mcp.Limits
	// Alone says that the channel belongs to one client of one principal. Only then the server may ask, and hears what the client offers.
	Alone bool
	Offer json.RawMessage
	// Era is what is known of the server: Legacy is not asked for its era first.
	Era Era
	// Probe is how long the question for the era may stay unanswered before the server is greeted as one of the older revisions too; 0 means 5 s.
	Probe time.Duration
	Log   *slog.Logger
}

// Conversation is one conversation. Safe for concurrent use.
type Conversation struct {
	cfg     Config
	channel Channel
	version atomic.Pointer[string] // that was agreed; nil during the handshake
	era     atomic.Int32
	ids     atomic.Uint64
	// slots has room for answers under way, refusals for those to questions for which that has none.
	slots, refusals chan struct{}
	lease           atomic.Pointer[guard.Lease] // the last, for messages that belong to no call

	life context.Context // ends with the conversation
	end  context.CancelFunc
	done chan struct{} // closed when everything of it has ended
	all  sync.WaitGroup

	gaveUp time.Time // when a client was last not waited for any longer; the reader's own

	mu        sync.Mutex
	over      bool
	waiting   map[uint64]*request
	listeners map[*listener]struct{}
	asked     map[string]context.CancelFunc // what the server asks just now, by its raw id
	strange   int                           // messages that could not be read
	about     guard.About
	aboutAt   time.Time
	level     string // of the log, as the server was told; empty when it was not

	subscribing   chan struct{} // holds a value while subscriptions change
	subscriptions map[string]int
}

// request is one request under way.
type request struct {
	id      uint64
	ctx     context.Context // ends with the request
	end     context.CancelFunc
	notify  func([]byte) error
	ask     func(context.Context, *mcp.Reply) (guard.Reply, error)
	token   json.RawMessage // the caller's progress token; nil for none
	stream  *listener       // what it opened; nil for a call
	notices *queue
	answer  chan outcome

	asking   int // questions that wait for the client, under mu
	answered time.Time
}

type outcome struct {
	reply *mcp.Reply
	err   error
}

// ErrHungUp says that the server ended the channel during the handshake, as some do when they are asked what they do not know.
var ErrHungUp = errors.New("the server ended the conversation")

// Open begins a conversation: it finds the server's era and greets it. When it fails, the channel is closed.
func Open(ctx context.Context, channel Channel, cfg Config, lease *guard.Lease) (*Conversation, error) {
	if cfg.Probe == 0 {
		cfg.Probe = 5 * time.Second
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	c := &Conversation{
		cfg: cfg, channel: channel, slots: make(chan struct{}, mostAnswers), refusals: make(chan struct{}, mostAnswers),
		life: life, end: end, done: make(chan struct{}), waiting: map[uint64]*request{},
		listeners: map[*listener]struct{}{}, asked: map[string]context.CancelFunc{}, subscribing: make(chan struct{}, 1), subscriptions: map[string]int{},
	}
	c.ids.Store(Anywhere())
	c.lease.Store(lease)
	go c.read()
	if err := c.greet(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Anywhere is where the ids of requests to a server begin: what somebody planted in a server's answers cannot know the id of another's call. The
// ids stay below 2^53, which every reader of JSON keeps.
func Anywhere() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:]) >> 12
}

// Era is what the server turned out to speak.
func (c *Conversation) Era() Era { return Era(c.era.Load()) }

// Done is closed when the conversation has ended.
func (c *Conversation) Done() <-chan struct{} { return c.done }

// Over reports whether the conversation has ended, or is about to.
func (c *Conversation) Over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// Close ends the conversation and everything behind its channel, and waits for that.
func (c *Conversation) Close() {
	c.channel.Close()
	<-c.done
}

// read takes what the server says until it says nothing more.
func (c *Conversation) read() {
	defer close(c.done)
	for {
		raw, err := c.channel.Receive()
		var long *mcp.LongLineError
		switch {
		case errors.As(err, &long):
			c.fail(long.ID, fault.New(faultv1.Reason_REASON_INSPECTION,
				"The server %s answered with more than %d bytes, so the answer was withheld. Ask for less.", c.cfg.Server, c.cfg.Limits.Bytes))
		case err != nil:
			c.ended(err)
			return
		default:
			c.take(raw)
		}
	}
}

// ended tells everyone who waits, and joins who works.
func (c *Conversation) ended(err error) {
	c.mu.Lock()
	c.over = true
	for _, r := range c.waiting {
		r.settle(outcome{err: c.broken(err)})
	}
	for l := range c.listeners {
		l.stop(c.broken(err))
	}
	strange := c.strange
	c.mu.Unlock()
	if strange > 0 && c.cfg.Log != nil {
		c.cfg.Log.Info("a server said what is no message", "times", strange)
	}
	c.end()
	c.channel.Close()
	c.all.Wait()
}

// take takes one message, or a batch where the revision that was agreed has them. Each part of one is judged by itself.
func (c *Conversation) take(raw []byte) {
	version := ""
	if agreed := c.version.Load(); agreed != nil {
		version = *agreed
	}
	parts, err := mcp.Split(raw, version, c.cfg.Limits)
	for _, part := range parts {
		if len(parts) > 1 {
			part = bytes.Clone(part) // what waits for a client does not hold the whole batch
		}
		if err != nil {
			c.fail(mcp.FindID(bytes.NewReader(part)), c.outside(err, "its answer stands in a batch that is not strict, or too long"))
			continue
		}
		c.takeOne(part)
	}
	if err != nil && len(parts) == 0 {
		c.fail(nil, nil)
	}
}

func (c *Conversation) takeOne(raw []byte) {
	m, err := mcp.ReadReply(raw, c.cfg.Limits)
	if err != nil {
		c.fail(mcp.FindID(bytes.NewReader(raw)), c.outside(err, "its answer is not one strict JSON-RPC message"))
		return
	}
	switch m.Kind {
	case mcp.Response:
		c.settle(m)
	case mcp.Notification:
		c.notice(m)
	case mcp.Request:
		c.question(m)
	}
}

// settle brings an answer to who waits for it. One that nobody waits for is late, or invented.
func (c *Conversation) settle(m *mcp.Reply) {
	c.mu.Lock()
	r := c.waiting[number(m.ID)]
	c.mu.Unlock()
	if r != nil {
		r.settle(outcome{reply: m})
	}
}

// fail ends the request that a message which cannot be read seems to answer, and drops the message.
func (c *Conversation) fail(id json.RawMessage, why error) {
	c.mu.Lock()
	r := c.waiting[number(id)]
	c.strange++
	first := c.strange == 1
	c.mu.Unlock()
	if r != nil {
		r.settle(outcome{err: why})
	}
	if first && c.cfg.Log != nil {
		c.cfg.Log.Warn("a server says what is no message; it is dropped, as is all that follows of the kind")
	}
}

// Strange is how many messages could not be read.
func (c *Conversation) Strange() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.strange
}

// settle gives the outcome to who waits, once.
func (r *request) settle(out outcome) {
	select {
	case r.answer <- out:
	default:
	}
}

// number is the value of an id of ours; 0, which is none, of any other.
func number(id json.RawMessage) uint64 {
	n, err := strconv.ParseUint(string(id), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// begin registers a request. It is refused when the conversation is over.
func (c *Conversation) begin(ctx context.Context) (*request, error) {
	r := &request{id: c.ids.Add(1), notices: newQueue(c.cfg.Server), answer: make(chan outcome, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return nil, c.broken(nil)
	}
	r.ctx, r.end = context.WithCancel(ctx)
	c.waiting[r.id] = r
	return r, nil
}

func (c *Conversation) forget(r *request) {
	r.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, r.id)
}

// later does something for which nobody waits, with a time of its own. The end of the conversation waits for it. False when that has come.
func (c *Conversation) later(do func(ctx context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.all.Go(func() {
		ctx, cancel := context.WithTimeout(c.life, ownTime)
		defer cancel()
		do(ctx)
	})
	return true
}

// send gives the server a message with the last lease that there was.
func (c *Conversation) send(ctx context.Context, out mcp.Outgoing) error {
	return c.channel.Send(ctx, Message{out.Body, out.Headers, c.lease.Load()})
}

// Mention tells a server of the older revisions something of its client that needs no answer.
func (c *Conversation) Mention(ctx context.Context, ex guard.Exchange) error {
	if c.Era() == Modern {
		return nil
	}
	c.lease.Store(ex.Lease)
	return c.send(ctx, mcp.Outgoing{Body: mcp.Notice(ex.Method, ex.Params), Headers: c.speaker(nil).Headers("", "")})
}

// cancel tells the server that the answer to a request is not wanted any more. On one channel for all, both eras have the same notice (2026-07-28,
// basic/patterns/cancellation).
func (c *Conversation) cancel(r *request) {
	out := c.speaker(nil).Cancelled(mcp.NewID(r.id))
	c.later(func(ctx context.Context) { c.drop(c.send(ctx, out)) })
}

// drop notes an error of a message that nobody waits for.
func (c *Conversation) drop(err error) {
	if err != nil && c.cfg.Log != nil {
		c.cfg.Log.Debug("a message to a server was not sent", "error", err)
	}
}

// speaker writes messages in the revision that was agreed.
func (c *Conversation) speaker(offer json.RawMessage) mcp.Speaker {
	version := mcp.V20251125
	if agreed := c.version.Load(); agreed != nil {
		version = *agreed
	}
	return mcp.Speaker{Version: version, ClientName: clientName, ClientVersion: clientVersion, Capabilities: offer}
}
