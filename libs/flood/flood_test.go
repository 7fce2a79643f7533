package flood

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"headgate.dev/libs/clock"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// refused is a refusal of an address.
func refused(ip string) Refusal {
	return Refusal{Source: Address(ip), Common: func() *eventsv1.Event {
		return &eventsv1.Event{Action: "request", Tenant: "acme", Source: &eventsv1.Source{Ip: ip}}
	}}
}

// paper keeps what is written.
type paper struct{ counts []*eventsv1.Event }

func (p *paper) write(ev *eventsv1.Event) error {
	p.counts = append(p.counts, ev)
	return nil
}

func TestT22AFloodFromManyAddressesIsBoundedAsAWhole(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	c, written := New("request", "admit"), &paper{}
	const flood = 3 * most
	var requests int64
	for i := range flood {
		if !c.Counts(refused(fmt.Sprintf("2001:db8:%x::%x", i/2, i)), now) {
			requests++
		}
	}
	if requests != TogetherAtOnce {
		t.Errorf("%d records", requests)
	}
	if len(c.sources) > most+1 || len(c.counts) > most+1 {
		t.Errorf("%d sources and %d counts are remembered", len(c.sources), len(c.counts))
	}
	c.Tally(now, written.write)
	nobody := 0
	for _, ev := range written.counts {
		requests += ev.GetRepeats()
		if ev.GetRepeats() > 1000 {
			if nobody++; ev.GetSource() != nil || ev.GetPrincipal() != nil || ev.GetTenant() != "system" {
				t.Errorf("what many did is recorded as somebody's: %v", ev)
			}
		}
	}
	if nobody != 1 {
		t.Errorf("%d records of those who are not told apart", nobody)
	}
	if requests != flood {
		t.Errorf("records of %d requests", requests)
	}
}

func TestManyKindsOfRefusalsAreBoundedToo(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	c, written := New("request", "admit"), &paper{}
	for i := range 2 * most {
		r := refused("192.0.2.1")
		r.Kind = fmt.Sprint(i)
		c.Counts(r, now)
	}
	if len(c.counts) > most+1 {
		t.Errorf("%d counts are remembered", len(c.counts))
	}
	c.Tally(now, func(*eventsv1.Event) error { return errors.New("full") })
	c.Tally(now, written.write)
	var requests int64
	for _, ev := range written.counts {
		requests += ev.GetRepeats()
	}
	if requests != 2*most-AtOnce {
		t.Errorf("records of %d requests", requests)
	}
}

func TestTheEndWritesWhatIsLeftAndCountsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, written := New("request", "admit"), &paper{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Run(ctx, clock.System, written.write)
		}()
		for range AtOnce + 7 {
			c.Counts(refused("192.0.2.1"), time.Now())
		}
		cancel()
		<-done
		if len(written.counts) != 1 || written.counts[0].GetRepeats() != 7 {
			t.Errorf("the end writes %v", written.counts)
		}
		if c.Counts(refused("192.0.2.1"), time.Now()) {
			t.Error("counted after the end")
		}
	})
}
