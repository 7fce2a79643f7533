package guard

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/journal"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// knocks a second, and at once, are recorded each of one address or principal; strangers those of all of them.
	knocks, knocksAtOnce       = 5, 100
	strangers, strangersAtOnce = 200, 2000
	// maxCrowd is how many addresses and principals are told apart; the rest counts as one.
	maxCrowd = 10_000
	// others is the key of those who are not told apart.
	others = ""
	// tallyEvery is how long a count of refusals waits for its record.
	tallyEvery = 10 * time.Second
)

// crowd counts what is refused at the door more often than is worth a record each: who has no right to anything must not be able to fill the journal,
// which then refuses everybody. Each source has records of its own up to a rate, and beyond it one record in ten seconds with how many more there were.
type crowd struct {
	mu     sync.Mutex
	all    *rate
	of     map[string]*knocking
	forgot time.Time // when the quiet ones were forgotten last
}

// knocking is one source of refused requests.
type knocking struct {
	rate
	more int64 // without a record of their own
	last *eventsv1.Event
}

// rate is a bucket of records.
type rate struct {
	left float64
	at   time.Time
}

func newCrowd() *crowd { return &crowd{of: map[string]*knocking{}} }

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

// counts reports whether a request is counted instead of recorded: refused at the door, by a source that had its share of records.
func (c *crowd) counts(e *Entry, failure error, now time.Time) bool {
	if failure == nil || e.stage != stageAdmit {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.source(e, now)
	if one.take(knocks, knocksAtOnce, now) && c.all.take(strangers, strangersAtOnce, now) {
		return false
	}
	one.more++
	if one.last == nil {
		one.last = e.knock()
		if one == c.of[others] {
			one.last = &eventsv1.Event{Action: actionRequest, Tenant: unknown} // of whom nobody can tell
		}
	}
	return true
}

func (c *crowd) source(e *Entry, now time.Time) *knocking {
	if c.all == nil {
		c.all = &rate{left: strangersAtOnce, at: now}
	}
	key := e.sender()
	if one := c.of[key]; one != nil {
		return one
	}
	if len(c.of) >= maxCrowd && now.Sub(c.forgot) >= time.Second {
		c.forgot = now
		c.forget(now)
	}
	if len(c.of) >= maxCrowd {
		key = others
	}
	one := c.of[key]
	if one == nil {
		one = &knocking{rate: rate{left: knocksAtOnce, at: now}}
		c.of[key] = one
	}
	return one
}

// forget drops who has been quiet long enough to have all its records again.
func (c *crowd) forget(now time.Time) {
	for key, one := range c.of {
		if one.more == 0 && one.left+now.Sub(one.at).Seconds()*knocks >= knocksAtOnce {
			delete(c.of, key)
		}
	}
}

// sender is who a refusal is counted for: the principal, or the address, of which IPv6 gives everybody many.
func (e *Entry) sender() string {
	if c := e.caller; c != nil {
		return "principal " + c.Tenant + " " + c.Person + " " + c.Agent
	}
	addr, err := netip.ParseAddr(e.in.IP)
	if err == nil && addr.Unmap().Is6() {
		if net, err := addr.Prefix(64); err == nil {
			return net.String()
		}
	}
	return e.in.IP
}

// knock is what the records of a source's refusals have in common.
func (e *Entry) knock() *eventsv1.Event {
	ev := &eventsv1.Event{
		Action: actionRequest, Tenant: e.event.Tenant, Source: &eventsv1.Source{Ip: e.in.IP}, Request: &eventsv1.Request{Endpoint: e.event.GetRequest().GetEndpoint()},
	}
	if p := e.event.GetPrincipal(); p != nil {
		ev.Principal = &eventsv1.Principal{Person: p.GetPerson(), Agent: p.GetAgent(), ClientId: p.GetClientId(), TokenId: p.GetTokenId()}
	}
	return ev
}

// counted takes the counts that have no record yet, by their source.
func (c *crowd) counted(now time.Time) map[string]*eventsv1.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	events := map[string]*eventsv1.Event{}
	for key, one := range c.of {
		if one.more == 0 {
			continue
		}
		ev := one.last
		ev.Phase, ev.Outcome, ev.Time, ev.Repeats = eventsv1.Phase_PHASE_FINAL, eventsv1.Outcome_OUTCOME_FAILURE, timestamppb.New(now), one.more
		ev.Decision = &eventsv1.Decision{
			Effect: effectBlock, Stage: stageAdmit, Reason: faultv1.Reason_REASON_RATE_LIMITED,
			Sentence: fmt.Sprintf("%d more requests of %s were refused at the door. Of each source %d a second have a record of their own; "+
				"the rest is counted.", one.more, whose(key), knocks),
		}
		one.more, one.last = 0, nil
		events[key] = ev
	}
	return events
}

func whose(key string) string {
	if key == others {
		return "sources that are too many to be told apart"
	}
	return "this source"
}

// again counts what could not be written down.
func (c *crowd) again(key string, ev *eventsv1.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.of[key]; one != nil {
		one.more, one.last = one.more+ev.GetRepeats(), ev
		return
	}
	c.of[key] = &knocking{more: ev.GetRepeats(), last: ev, rate: rate{at: ev.GetTime().AsTime()}}
}

// run writes the counts down until ctx ends, and those that are left then.
func (c *crowd) run(ctx context.Context, g *Guard) {
	ticker := time.NewTicker(tallyEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		g.tally()
	}
}

// tally writes down what was counted.
func (g *Guard) tally() {
	for key, ev := range g.crowd.counted(g.Now()) {
		ev.CallId = g.ids.New()
		ev.Decision.Id = decisionID(ev.GetCallId())
		if err := g.Journal.Append(ev, journal.Spool); err != nil {
			g.Log.Error("count of refused requests not written yet", "source", ev.GetSource().GetIp(), "requests", ev.GetRepeats(), "error", err)
			g.crowd.again(key, ev)
		}
	}
}
