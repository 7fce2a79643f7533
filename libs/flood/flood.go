// Package flood counts what is refused at a door more often than is worth a record each: who has no right to anything must not be able to fill the journal,
// which then refuses everybody.
package flood

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// PerSecond and AtOnce are how many refusals of one source have a record each.
	PerSecond, AtOnce = 5, 100
	// TogetherPerSecond and TogetherAtOnce are how many of all of them have one.
	TogetherPerSecond, TogetherAtOnce = 200, 2000
	// Every is how long a count waits for its record.
	Every = 10 * time.Second
	// most is how many sources, and counts, are told apart; the rest is one.
	most = 10_000
	// others is the source of those who are not told apart.
	others = ""
)

// Counter has a record for each refusal of a source up to a rate, and beyond it one record in ten seconds with how many more there were. It is safe for
// concurrent use.
type Counter struct {
	action, stage string // of the counts' records

	mu      sync.Mutex
	ended   bool
	all     *rate
	sources map[string]*rate
	counts  map[key]*count
	forgot  time.Time // when the quiet ones were forgotten last
}

// Refusal is a request that was refused at the door.
type Refusal struct {
	// Source is whose request it was, as Person or Address name it.
	Source string
	// Kind is what refusals of one source have in common that are counted together; empty where all are.
	Kind string
	// Common is what the records of these refusals have in common. Without a decision its reason is that there were too many.
	Common func() *eventsv1.Event
}

type key struct{ source, kind string }

// count is of requests without a record of their own.
type count struct {
	more int64
	of   *eventsv1.Event
}

// rate is a bucket of records.
type rate struct {
	left float64
	at   time.Time
}

// New returns a counter whose records say this action and, where the decision is not told, this stage.
func New(action, stage string) *Counter {
	return &Counter{action: action, stage: stage, sources: map[string]*rate{}, counts: map[key]*count{}}
}

// Person is the source of what somebody is refused who is known.
func Person(tenant, person, agent string) string {
	return "principal " + tenant + " " + person + " " + agent
}

// Address is the source of what comes from an address; IPv6 gives everybody many.
func Address(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err == nil && addr.Unmap().Is6() {
		if net, err := addr.Prefix(64); err == nil {
			return net.String()
		}
	}
	return ip
}

// Counts reports whether a refusal is counted instead of recorded: its source had its share of records. After the end none is.
func (c *Counter) Counts(r Refusal, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	source, own := c.source(r.Source, now)
	if own.take(PerSecond, AtOnce, now) && c.all.take(TogetherPerSecond, TogetherAtOnce, now) {
		return false
	}
	c.add(key{source, r.Kind}, 1, r.Common)
	return true
}

// take has room for one more record, or not.
func (r *rate) take(perSecond, burst float64, now time.Time) bool {
	r.left = min(burst, r.left+max(0, now.Sub(r.at).Seconds())*perSecond)
	r.at = now
	if r.left < 1 {
		return false
	}
	r.left--
	return true
}

// source is as whose a refusal counts, and how many records are left.
func (c *Counter) source(name string, now time.Time) (string, *rate) {
	if c.all == nil {
		c.all = &rate{left: TogetherAtOnce, at: now}
	}
	if one := c.sources[name]; one != nil {
		return name, one
	}
	if len(c.sources) >= most && now.Sub(c.forgot) >= time.Second {
		c.forgot = now
		c.forget(now)
	}
	if len(c.sources) >= most {
		name = others
	}
	one := c.sources[name]
	if one == nil {
		one = &rate{left: AtOnce, at: now}
		c.sources[name] = one
	}
	return name, one
}

// forget drops who has been quiet long enough to have all records again.
func (c *Counter) forget(now time.Time) {
	for name, one := range c.sources {
		if one.left+now.Sub(one.at).Seconds()*PerSecond >= AtOnce {
			delete(c.sources, name)
		}
	}
}

func (c *Counter) add(k key, more int64, common func() *eventsv1.Event) {
	if len(c.counts) >= most && c.counts[k] == nil {
		k.source = others
	}
	if k.source == others {
		k.kind, common = "", c.nobodys
	}
	one := c.counts[k]
	if one == nil {
		one = &count{of: common()}
		c.counts[k] = one
	}
	one.more += more
}

// nobodys is all that the records of those have in common who are not told apart.
func (c *Counter) nobodys() *eventsv1.Event {
	return &eventsv1.Event{Action: c.action, Tenant: record.SystemTenant}
}

// Write records a count; it may fill in what identifies the record.
type Write func(ev *eventsv1.Event) error

// Run writes the counts until ctx ends, and those that are left then.
func (c *Counter) Run(ctx context.Context, now clock.Now, write Write) {
	ticker := time.NewTicker(Every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			c.end()
			c.Tally(now(), write)
			return
		case <-ticker.C:
			c.Tally(now(), write)
		}
	}
}

func (c *Counter) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

// Tally writes what was counted since it was asked last. What cannot be written is counted again.
func (c *Counter) Tally(now time.Time, write Write) {
	for k, one := range c.taken() {
		if write(c.event(k, one, now)) != nil {
			c.again(k, one)
		}
	}
}

func (c *Counter) taken() map[key]*count {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.counts
	c.counts = map[key]*count{}
	return taken
}

func (c *Counter) again(k key, one *count) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(k, one.more, func() *eventsv1.Event { return one.of })
}

func (c *Counter) event(k key, one *count, now time.Time) *eventsv1.Event {
	ev := one.of
	ev.Phase, ev.Outcome, ev.Time, ev.Repeats = eventsv1.Phase_PHASE_FINAL, eventsv1.Outcome_OUTCOME_FAILURE, timestamppb.New(now), one.more
	if ev.Decision == nil {
		ev.Decision = &eventsv1.Decision{Effect: record.Block, Stage: c.stage, Reason: faultv1.Reason_REASON_RATE_LIMITED}
	}
	whose := "this source"
	if k.source == others {
		whose = "sources that are too many to be told apart"
	}
	ev.Decision.Sentence = fmt.Sprintf("%d more requests of %s were refused at the door. Of each source %d a second have a record of their own; the rest is counted.",
		one.more, whose, PerSecond)
	return ev
}
