package back

import (
	"context"
	"sync"
	"time"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

// peer is one server as Back needs it, whatever it is spoken to over. Safe for concurrent use.
type peer interface {
	// call makes one request until a deadline. It is sent at most once.
	call(ctx context.Context, ex guard.Exchange, deadline time.Time) (guard.Reply, error)
	// about is what the server says of itself, as of a minute ago at most.
	about(ctx context.Context, lease *guard.Lease) (guard.About, error)
	// said is about where nobody has to be asked; false otherwise.
	said() (guard.About, bool)
	// listen passes on what the server says unasked until ctx ends.
	listen(ctx context.Context, l guard.Listening) error
	// definitions are all tools that the server shows.
	definitions(ctx context.Context, lease *guard.Lease) ([]mcp.Definition, error)
	// mention tells the server something that needs no answer, wherever a client of these capabilities is known already. It opens nothing.
	mention(ctx context.Context, ex guard.Exchange) error
	// release ends what is kept for a holder. It waits for nothing.
	release(h holder)
	// sweep ends what nobody has used for a while. It waits for nothing.
	sweep(now time.Time)
	// close ends everything, and returns when every goroutine of the peer has ended.
	close()
}

// holder is whom something is kept for at a server: one client's session, of one person through one agent. The edge's own has no names.
type holder struct{ person, agent, client, session string }

func holderOf(c *guard.Caller, session string) holder {
	if c == nil {
		return holder{}
	}
	return holder{c.Person, c.Agent, c.ClientID, session}
}

// crew is goroutines that end together. Safe for concurrent use.
type crew struct {
	mu     sync.Mutex
	closed bool
	all    sync.WaitGroup
	life   context.Context
	end    context.CancelFunc
}

func newCrew() *crew {
	c := &crew{}
	c.life, c.end = context.WithCancel(context.Background())
	return c
}

// start runs f, whose context ends when the crew is closed. It answers false, and runs nothing, when that has happened.
func (c *crew) start(f func(life context.Context)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.all.Go(func() { f(c.life) })
	return true
}

// close ends the context of all and returns when all have ended. Nothing starts any more.
func (c *crew) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.end()
	c.all.Wait()
}

// bound answers ctx as it is while the crew lives.
func (c *crew) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.life, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}
