package guard

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"headgate.dev/libs/mcp"
)

const (
	// settleFor is how long changes are gathered before streams are told of them, so that many at once are one.
	settleFor = 100 * time.Millisecond
	tickEvery = time.Second
	// lapseAfter is how often everything is compared without news: relations can end by themselves.
	lapseAfter = 10 * time.Second
	// comparing is how many streams are compared at once, so that one whose caller cannot be looked up delays few.
	comparing = 8
)

// audience are the streams that clients opened to hear what changes.
type audience struct {
	g *Guard

	mu       sync.Mutex
	closed   bool
	all      map[*listener]bool
	byClient map[string]*listener // one standing stream for each client of the revisions with sessions
	hearings map[heard]*hearing
	follows  map[string]int // how many servers are followed for streams, by owner
	followed int            // of all
	changed  chan struct{}
	running  sync.WaitGroup
	opened   atomic.Int64
	behind   atomic.Bool // something could not be compared
}

func newAudience(g *Guard) *audience {
	return &audience{
		g: g, all: map[*listener]bool{}, byClient: map[string]*listener{}, hearings: map[heard]*hearing{}, follows: map[string]int{}, changed: make(chan struct{}, 1),
	}
}

// start does something beside, which run waits for; false when nothing begins any more.
func (a *audience) start(what func()) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.running.Go(what)
	return true
}

// join lets a listener hear. A client that opens a second standing stream continues on that one.
func (a *audience) join(l *listener) bool {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return false
	}
	var before *listener
	if l.key != "" {
		if before = a.byClient[l.key]; before != nil && before.number > l.number {
			a.mu.Unlock()
			return false // the client opened that one later
		}
		a.byClient[l.key] = l
	}
	a.all[l] = true
	a.running.Go(l.begin)
	a.mu.Unlock()
	if before != nil {
		before.end(false)
	}
	return true
}

func (a *audience) leave(l *listener) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.all, l)
	if a.byClient[l.key] == l {
		delete(a.byClient, l.key)
	}
	for at, h := range a.hearings {
		a.unhear(at, h, l)
	}
}

func (a *audience) listeners() []*listener {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]*listener, 0, len(a.all))
	for l := range a.all {
		out = append(out, l)
	}
	return out
}

// of is the standing stream of a client; nil when it has none.
func (a *audience) of(key string) *listener {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.byClient[key]
}

// wishesChanged lets a client's standing stream hear what it wishes for by now.
func (a *audience) wishesChanged(key string) {
	if l := a.of(key); l != nil {
		l.tune()
	}
}

// dismiss ends the standing stream of a client whose session ended.
func (a *audience) dismiss(key string) {
	if l := a.of(key); l != nil {
		l.end(false)
	}
}

// sweep says that something can have changed by which callers were judged: streams of those who may not have them end, and lists are compared.
func (a *audience) sweep() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// run looks after the streams until ctx ends, and then ends them. Who is stopped is found here; what has to be looked up is found beside, so that
// it delays nobody's end.
func (a *audience) run(ctx context.Context) {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	news := make(chan struct{}, 1)
	a.start(func() { a.follow(ctx, news) })
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			now := a.g.Now()
			a.g.replays.sweep(now)
			a.g.sweepParked(now)
			a.g.running.sweep(now)
			a.g.clients.sweep(now, func(key string) bool { return a.of(key) != nil })
		case <-a.changed:
			select {
			case <-time.After(settleFor):
			case <-ctx.Done():
			}
		}
		a.judge()
		a.hearAgain(ctx)
		select {
		case news <- struct{}{}:
		default:
		}
	}
	a.close()
	a.running.Wait()
}

// judge ends the streams of those who are stopped by now. It asks nobody.
func (a *audience) judge() {
	for _, l := range a.listeners() {
		if l.stands() != nil {
			l.end(true)
		}
	}
}

// close ends all streams and takes no more.
func (a *audience) close() {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	for _, l := range a.listeners() {
		l.end(true)
	}
}

// EndStreams ends the streams that stay open and takes no more. It is for who shuts the edge down.
func (g *Guard) EndStreams() { g.audience.close() }

// version is another number whenever what callers are judged by can have changed.
func (g *Guard) version() int64 { return g.Catalogue.Version() + g.Decider.Version() }

// follow compares the streams when something changed, one time after the other, until ctx ends.
func (a *audience) follow(ctx context.Context, news <-chan struct{}) {
	var last int64
	var at time.Time
	for {
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
		now, version := a.g.Now(), a.g.version() // before it is compared: what changes meanwhile makes another
		if version != last || now.Sub(at) >= lapseAfter || a.behind.Swap(false) {
			a.compare(ctx)
			last, at = version, now
		}
	}
}

// views are what the callers of streams see, looked up once for all streams of the same caller at the same endpoint.
type views struct {
	mu   sync.Mutex
	seen map[[4]string]func() (string, error)
}

func newViews() *views { return &views{seen: map[[4]string]func() (string, error){}} }

func (v *views) of(ctx context.Context, l *listener) (string, error) {
	at := [4]string{l.caller.Tenant, l.caller.Person, l.caller.Agent, l.in.Server}
	v.mu.Lock()
	look := v.seen[at]
	if look == nil {
		look = sync.OnceValues(func() (string, error) { return l.of.g.Catalogue.Visible(ctx, l.caller, l.in.Server) })
		v.seen[at] = look
	}
	v.mu.Unlock()
	return look()
}

// compare tells streams whose tools changed, and lets them hear from the servers that their callers reach by now.
func (a *audience) compare(ctx context.Context) {
	known := newViews()
	slots := make(chan struct{}, comparing)
	var all sync.WaitGroup
	for _, l := range a.listeners() {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			soon, cancel := context.WithTimeout(ctx, askWithin)
			defer cancel()
			if l.wants(mcp.MethodToolsListChanged) && l.differs(soon, known) {
				l.tell(mcp.Notice(mcp.MethodToolsListChanged, nil))
			}
			l.reach(soon)
		})
	}
	all.Wait()
}
