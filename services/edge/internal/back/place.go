package back

import (
	"sync"
	"sync/atomic"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// place is a peer with what Back itself counts of it.
type place struct {
	peer  peer
	name  string
	heard atomic.Int64 // Listenings
	used  atomic.Int64 // when, in Unix nanoseconds

	mu      sync.Mutex
	running int // calls
	of      map[principal]int
}

// principal is whose calls are counted together.
type principal struct{ person, agent string }

// enter counts a call until leave. Nobody takes so many places that none are left for others.
func (p *place) enter(c *guard.Caller, cfg *Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running >= cfg.MaxCalls {
		return fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s has too many calls running. Try again in a moment.", p.name)
	}
	if c != nil {
		who := principal{c.Person, c.Agent}
		if p.of[who] >= cfg.MaxCallsOfOne {
			return fault.New(faultv1.Reason_REASON_RATE_LIMITED,
				"This caller has %d calls running at the server %s, which is all that one may have. Wait until one of them is answered.", cfg.MaxCallsOfOne, p.name)
		}
		if p.of == nil {
			p.of = map[principal]int{}
		}
		p.of[who]++
	}
	p.running++
	return nil
}

func (p *place) leave(c *guard.Caller) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	if c == nil {
		return
	}
	who := principal{c.Person, c.Agent}
	if p.of[who]--; p.of[who] == 0 {
		delete(p.of, who)
	}
}

// calls is how many run.
func (p *place) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}
