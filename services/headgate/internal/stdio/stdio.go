// Package stdio lets a client that only knows MCP's stdio transport use a gateway that speaks Streamable HTTP: each line of the client becomes a request,
// each message that comes back becomes a line. It speaks every revision, and passes messages on as the bytes that they are.
package stdio

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"headgate.dev/libs/mcp"
)

const (
	lastWait     = 2 * time.Second  // for what the end itself has to do
	initWait     = time.Minute      // for an answer to initialize
	noticeWait   = 15 * time.Second // for a notification to be accepted
	lull         = 250 * time.Millisecond
	maxReconnect = 30 * time.Second
	mostTries    = 10 // to take up a stream again, one after the other without success
)

// Config says where the gateway is and what is taken. A zero field means its default.
type Config struct {
	// Endpoint is the URL of the MCP endpoint. Without TLS it is on this machine.
	Endpoint string
	Tokens   Tokens
	// MaxLine is the most bytes of one message of the client; 4 MiB.
	MaxLine int
	// MaxReply is the most bytes of one message of the gateway; 16 MiB. The gateway itself takes 8 MiB of a server and adds a little.
	MaxReply int
	// Parallel is how many requests are sent at once; 64. Three times as many wait for their turn, more are refused.
	Parallel int
	// Grace is how long a request may go on whose answer is not wanted any more: the client has closed its end, or cancelled it in a session; 5 s.
	Grace time.Duration
	// Reconnect is the first wait before a stream is opened again, unless the server asks for another; 1 s.
	Reconnect time.Duration
	Log       *slog.Logger
	// Server is the name of the one server behind the endpoint; empty for all.
	Server string
	// Notice takes a sentence for the person whose client shows nothing; nil for nobody.
	Notice func(sentence string)
}

// Bridge is between one client and one endpoint.
type Bridge struct {
	cfg     Config
	log     *slog.Logger
	door    *door
	flights flights
	asked   asked
	mirror  mirror
	turns   chan struct{} // one for each request that is sent at once
	prefix  string        // of the bridge's own ids
	count   atomic.Uint64
	group   sync.WaitGroup // everything that runs
	short   sync.WaitGroup // what ends by itself
	told    sync.Once      // that a list is empty

	// Of the run.
	life   context.Context
	out    *writer
	greets chan struct{} // held by who begins a session

	mu      sync.Mutex
	session *session
	kept    kept
}

// New checks the configuration; nothing is connected yet.
func New(cfg Config) (*Bridge, error) {
	cfg.MaxLine, cfg.MaxReply = cmp.Or(cfg.MaxLine, mcp.DefaultLimits().Bytes), cmp.Or(cfg.MaxReply, 16<<20)
	cfg.Parallel = cmp.Or(cfg.Parallel, 64)
	cfg.Grace, cfg.Reconnect = cmp.Or(cfg.Grace, 5*time.Second), cmp.Or(cfg.Reconnect, time.Second)
	door, err := newDoor(cfg.Endpoint, cfg.Tokens, cfg.MaxReply)
	if err != nil {
		return nil, err
	}
	b := &Bridge{
		cfg: cfg, log: cfg.Log, door: door, flights: flights{limit: 4 * cfg.Parallel, byID: map[string]*flight{}},
		turns: make(chan struct{}, cfg.Parallel), prefix: "headgate-" + rand.Text()[:8] + "-", greets: make(chan struct{}, 1),
	}
	b.asked = asked{newID: b.newID, open: map[string]question{}}
	b.mirror = mirror{busy: make(chan struct{}, 1), tools: map[string]tool{}}
	return b, nil
}

// newID is an id that the client does not use.
func (b *Bridge) newID() json.RawMessage {
	return mcp.Quote(b.prefix + strconv.FormatUint(b.count.Add(1), 10))
}

// Run carries messages until in ends, the context does, or out takes no more, which is an error. Once in has ended or the context has, requests under way may
// go on for the grace; a second reason to end ends them at once. A Bridge runs once. A read of in that is under way when Run returns ends with in itself.
func (b *Bridge) Run(ctx context.Context, in io.Reader, out io.Writer) error {
	life, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	b.life = life
	b.out = &writer{out: out, fail: func(err error) { stop(fmt.Errorf("standard output takes no more messages: %w", err)) }}
	end := &ending{grace: b.cfg.Grace, stop: func() { stop(nil) }}
	defer end.over()
	defer context.AfterFunc(ctx, end.begin)()

	lines, finished := make(chan line), make(chan struct{})
	defer close(finished)
	go b.pump(newLineReader(in, b.cfg.MaxLine), lines, finished, end.begin)
	b.serve(ctx, lines)

	settled := make(chan struct{})
	go func() {
		b.short.Wait()
		close(settled)
	}()
	select {
	case <-settled:
	case <-life.Done():
	}
	stop(nil)
	return errors.Join(b.finish(), broken(life))
}

// broken is why the run could not go on.
func broken(life context.Context) error {
	if cause := context.Cause(life); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// ending gives what is under way some time after the first reason to end.
type ending struct {
	grace time.Duration
	stop  func()

	mu    sync.Mutex
	timer *time.Timer
}

func (e *ending) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.timer != nil {
		e.stop()
		return
	}
	e.timer = time.AfterFunc(e.grace, e.stop)
}

func (e *ending) over() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.timer != nil {
		e.timer.Stop()
	}
}

// pump reads lines in its own goroutine: a read cannot be broken off.
func (b *Bridge) pump(in *lineReader, lines chan<- line, finished <-chan struct{}, ended func()) {
	defer close(lines)
	for {
		l, err := in.next()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
				b.log.Warn("standard input cannot be read", "error", err)
			}
			select {
			case <-finished:
			default:
				ended()
			}
			return
		}
		select {
		case lines <- l:
		case <-finished:
			return
		}
	}
}

// serve takes one line after the other. Notifications and answers of the client are delivered before the next line is looked at, so that they keep their
// order; requests run side by side.
func (b *Bridge) serve(ctx context.Context, lines <-chan line) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.life.Done():
			return
		case l, ok := <-lines:
			if !ok {
				return
			}
			b.take(b.life, l)
		}
	}
}

// finish joins what still runs and ends the session.
func (b *Bridge) finish() error {
	joined := make(chan struct{})
	go func() {
		b.group.Wait()
		close(joined)
	}()
	var held error
	select {
	case <-joined:
	case <-time.After(lastWait): // only a client that does not read its messages holds them up
		held = errors.New("the client does not read its messages: some were not delivered")
	}
	b.leave(b.current())
	b.door.close()
	return held
}
