package admit

import (
	"sync"
	"time"

	"headgate.dev/services/edge/internal/guard"
)

// maxBuckets is how many principals are counted; beyond it those that are full again are forgotten.
const maxBuckets = 100_000

// buckets limit how often each principal comes. A rate of zero limits nothing.
type buckets struct {
	rate, burst float64
	mu          sync.Mutex
	of          map[principal]*bucket
}

type principal struct{ tenant, person, agent string }

type bucket struct {
	left float64
	at   time.Time
}

// take answers how long to wait; zero lets the request pass.
func (b *buckets) take(c *guard.Caller, now time.Time) time.Duration {
	if b.rate <= 0 {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	who := principal{c.Tenant, c.Person, c.Agent}
	mine := b.of[who]
	if mine == nil {
		if b.of == nil {
			b.of = map[principal]*bucket{}
		}
		b.forget(now)
		mine = &bucket{left: b.burst, at: now}
		b.of[who] = mine
	}
	mine.left = min(b.burst, mine.left+now.Sub(mine.at).Seconds()*b.rate)
	mine.at = now
	if mine.left < 1 {
		return time.Duration((1 - mine.left) / b.rate * float64(time.Second))
	}
	mine.left--
	return 0
}

func (b *buckets) forget(now time.Time) {
	if len(b.of) < maxBuckets {
		return
	}
	for who, one := range b.of {
		if one.left+now.Sub(one.at).Seconds()*b.rate >= b.burst {
			delete(b.of, who)
		}
	}
}
