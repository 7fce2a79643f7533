package watch_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/egress"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/trust/internal/lease"
	"headgate.dev/services/trust/internal/pin"
	"headgate.dev/services/trust/internal/probe"
	"headgate.dev/services/trust/internal/store"
	"headgate.dev/services/trust/internal/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is a registry of servers that were all declared at one address.
type book struct {
	mu     sync.Mutex
	url    string
	looked bool
	seen   int
	note   string
}

func (b *book) Declared(store.Key) (*trustv1.Server, error) {
	return &trustv1.Server{Spec: &trustv1.ServerSpec{Url: b.url}}, nil
}

func (b *book) Seen(context.Context, store.Key, string, pin.Listing, store.About) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seen, b.looked, b.note = b.seen+1, true, ""
	return nil
}

func (b *book) Failed(_ store.Key, note string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note = note
}

func (b *book) Looked(store.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.looked
}

// purse counts what is asked of it, and has nothing to lend: each look ends there.
type purse struct {
	mu sync.Mutex
	at []time.Time
}

func (p *purse) Lease(context.Context, lease.Use) (lease.Credential, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = append(p.at, time.Now())
	return lease.Credential{}, errors.New("down")
}

func (p *purse) Forget(lease.Use) {}

func (p *purse) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.at)
}

func TestAServerThatNeverAnsweredIsTriedOftenAndThenLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := &book{url: "http://echo.example/mcp"}, &purse{}
		w := watch.New(watch.NewLooker(b, p, egress.Identities{}, probe.DefaultLimits(), clock.System), 30*time.Second, slog.New(slog.DiscardHandler))
		w.Watch(store.Key{Tenant: "acme", Name: "echo"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w.Run(ctx)
		if got := p.count(); got < 20 || got > 35 {
			t.Errorf("%d looks in a minute", got)
		}
		if first := p.at[3].Sub(p.at[0]); first > time.Second {
			t.Errorf("the fourth look came after %s", first)
		}
		for i := 1; i < len(p.at); i++ {
			if pause := p.at[i].Sub(p.at[i-1]); pause > 4*time.Second {
				t.Errorf("a pause of %s", pause)
			}
		}
	})
}

func TestAServerThatAnsweredOnceIsLookedAtAtASteadyPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := &book{url: "http://echo.example/mcp", looked: true}, &purse{}
		w := watch.New(watch.NewLooker(b, p, egress.Identities{}, probe.DefaultLimits(), clock.System), 30*time.Second, slog.New(slog.DiscardHandler))
		w.Watch(store.Key{Tenant: "acme", Name: "echo"})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		w.Run(ctx)
		if got := p.count(); got < 9 || got > 12 {
			t.Errorf("%d looks in five minutes", got)
		}
	})
}

func TestWatchingAgainLooksAtOnceAndForgettingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := &book{url: "http://echo.example/mcp", looked: true}, &purse{}
		w := watch.New(watch.NewLooker(b, p, egress.Identities{}, probe.DefaultLimits(), clock.System), time.Hour, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.Run(ctx)
		}()
		key := store.Key{Tenant: "acme", Name: "echo"}
		for want := range 4 {
			w.Watch(key)
			synctest.Wait()
			if got := p.count(); got != want+1 {
				t.Errorf("%d looks after it was asked %d times", got, want+1)
			}
		}
		w.Forget(key)
		synctest.Wait()
		<-time.After(3 * time.Hour)
		if p.count() != 4 {
			t.Errorf("%d looks after it was forgotten", p.count())
		}
		w.Watch(key)
		synctest.Wait()
		if p.count() != 5 {
			t.Error("it cannot be watched again")
		}
		cancel()
		<-done
		w.Watch(store.Key{Tenant: "acme", Name: "late"})
		synctest.Wait()
		if p.count() != 5 {
			t.Error("a loop began after the end")
		}
	})
}

func TestLooksAtOneServerDoNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, slow := &book{url: "http://echo.example/mcp"}, &slowPurse{}
		looker := watch.NewLooker(b, slow, egress.Identities{}, probe.DefaultLimits(), clock.System)
		var wait sync.WaitGroup
		for range 5 {
			wait.Go(func() {
				if err := looker.Look(t.Context(), store.Key{Tenant: "acme", Name: "echo"}); err == nil {
					t.Error("there was no credential")
				}
			})
		}
		wait.Wait()
		if slow.most != 1 || b.note == "" {
			t.Errorf("%d at once, note %q", slow.most, b.note)
		}
	})
}

func TestWhoeverGoesAwayLeavesNoNote(t *testing.T) {
	b := &book{url: "http://echo.example/mcp"}
	looker := watch.NewLooker(b, &purse{}, egress.Identities{}, probe.DefaultLimits(), clock.System)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := looker.Look(ctx, store.Key{Name: "echo"}); !errors.Is(err, context.Canceled) || b.note != "" {
		t.Errorf("%v, %q", err, b.note)
	}
}

// slowPurse takes a second, and sees how many ask at once.
type slowPurse struct {
	mu           sync.Mutex
	inside, most int
}

func (p *slowPurse) Lease(context.Context, lease.Use) (lease.Credential, error) {
	p.enter(1)
	defer p.enter(-1)
	<-time.After(time.Second)
	return lease.Credential{}, errors.New("down")
}

func (p *slowPurse) enter(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inside += n
	p.most = max(p.most, p.inside)
}

func (p *slowPurse) Forget(lease.Use) {}
