package catalogue

import (
	"context"
	"sync"
	"time"

	"headgate.dev/libs/clock"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// firstPause is how long after a look that was in vain the next one is. The pauses grow up to LookEvery.
const firstPause = time.Second

// Kept reports whether a server may be used at all: it is there, and neither quarantined nor stopped.
func (c *Catalogue) Kept(tenant, name string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.servers[key{tenant, name}]
	return s != nil && c.usable(s)
}

func (c *Catalogue) usable(s *server) bool {
	return s.standing != trustv1.Standing_STANDING_QUARANTINED && c.halted(s, "") == nil
}

// Run looks at the servers that trust cannot look at, the programs of this machine: as soon as it hears of one, and at a steady pace from then on. It
// ends with ctx.
func (c *Catalogue) Run(ctx context.Context) error {
	type loop struct {
		of   *server
		stop context.CancelFunc
	}
	var all sync.WaitGroup
	defer all.Wait()
	loops := map[key]loop{}
	for {
		now := c.programs()
		for at, l := range loops {
			if s := now[at]; s == nil || moved(&l.of.Server, &s.Server) {
				l.stop()
				delete(loops, at)
			}
		}
		for at, s := range now {
			if _, running := loops[at]; running {
				continue
			}
			looking, stop := context.WithCancel(ctx)
			defer stop()
			loops[at] = loop{s, stop}
			all.Go(func() { c.observe(looking, at) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.heard:
		}
	}
}

// programs are the servers that only an edge can look at, as far as they may be used.
func (c *Catalogue) programs() map[key]*server {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := map[key]*server{}
	for at, s := range c.servers {
		if s.Stdio != nil && c.usable(s) {
			out[at] = s
		}
	}
	return out
}

// observe looks at one program again and again until ctx ends.
func (c *Catalogue) observe(ctx context.Context, at key) {
	pause, failures := firstPause, 0
	for {
		c.mu.RLock()
		s := c.servers[at]
		c.mu.RUnlock()
		wait := c.LookEvery
		if s != nil {
			shown, err := c.look(ctx, s)
			if ctx.Err() != nil {
				return
			}
			if err == nil && s.known {
				c.report(ctx, s, shown, shown.report) // also when nothing differs, so that trust knows when it was seen
			}
			failures = c.remark(s, failures, err)
			if err != nil || !s.known {
				wait, pause = min(pause, c.LookEvery), min(2*pause, c.LookEvery)
			} else {
				pause = firstPause
			}
		}
		if !clock.Sleep(ctx, wait) {
			return
		}
	}
}

// remark says once when looks begin to fail, and once when they succeed again. One failure alone may be a server that is starting.
func (c *Catalogue) remark(s *server, failures int, err error) int {
	switch {
	case err != nil && failures == 1:
		c.Log.Warn("a server cannot be looked at", "tenant", s.Tenant, "server", s.Name, "cause", err.Error())
	case err == nil && failures > 1:
		c.Log.Info("a server can be looked at again", "tenant", s.Tenant, "server", s.Name)
	}
	if err == nil {
		return 0
	}
	return failures + 1
}
