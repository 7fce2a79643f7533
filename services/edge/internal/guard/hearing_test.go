package guard

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// house is a guard for streams alone: one server that is listened to as a test says, and callers that see what a test says.
type house struct {
	Catalogue
	Lender
	Upstream

	guard   *Guard
	listens func(ctx context.Context, l Listening, n int64) error // the nth
	lends   func(n int64) error
	sees    func(ctx context.Context, c *Caller) (string, error)
	stopped sync.Map // person → true
	version atomic.Int64

	listened, lent, forgot, looked, rechecked atomic.Int64
}

func newHouse() *house {
	h := &house{
		listens: func(ctx context.Context, _ Listening, _ int64) error { <-ctx.Done(); return nil },
		lends:   func(int64) error { return nil }, sees: func(context.Context, *Caller) (string, error) { return "all", nil },
	}
	h.guard = New(Stages{
		Admitter: door{}, Replicas: fresh{}, Catalogue: h, Decider: judge{&watched{}}, Lender: h, Upstream: h, Inspector: glass{}, Keys: ring{}, Now: time.Now,
		Log: slog.New(slog.DiscardHandler),
	})
	return h
}

func (h *house) Version() int64 { return h.version.Load() }
func (h *house) Servers(context.Context, *Caller, string) ([]*Server, error) {
	return []*Server{onlyServer}, nil
}

func (h *house) Method(context.Context, *Caller, string, string) (*Tool, error) {
	return &Tool{Server: onlyServer, Name: mcp.MethodResourceRead, Arguments: anything{}}, nil
}
func (h *house) Still(context.Context, *Caller, *Tool) error { return nil }
func (h *house) Recheck(context.Context, *Server)            { h.rechecked.Add(1) }
func (h *house) Visible(ctx context.Context, c *Caller, _ string) (string, error) {
	h.looked.Add(1)
	return h.sees(ctx, c)
}

func (h *house) Stopped(c *Caller) error {
	if _, is := h.stopped.Load(c.Person); is {
		return errors.New("stopped")
	}
	return nil
}

func (h *house) Lease(context.Context, LeaseRequest) (*Lease, error) {
	if err := h.lends(h.lent.Add(1)); err != nil {
		return nil, err
	}
	return &Lease{}, nil
}
func (h *house) Forget(LeaseRequest) { h.forgot.Add(1) }
func (h *house) Listen(ctx context.Context, l Listening) error {
	return h.listens(ctx, l, h.listened.Add(1))
}

// end counts the messages of a stream, and notes its end.
type end struct {
	sent atomic.Int64
	over atomic.Bool
}

func (e *end) Send(string, []byte) error { e.sent.Add(1); return nil }
func (e *end) End()                      { e.over.Store(true) }

// opens gives a person a stream. With a key it is the standing stream of a client.
func (h *house) opens(person, key string, lists ...string) *end {
	l := &listener{
		of: h.guard.audience, caller: &Caller{Tenant: "acme", Person: person}, number: h.guard.audience.opened.Add(1), in: Inbound{Endpoint: "/mcp/s", Server: "s"},
		lists: lists, key: key,
	}
	if key == "" {
		l.id = []byte("1")
	} else {
		l.offer = []byte(`{"roots":{}}`)
	}
	e := &end{}
	l.Attach(e)
	return e
}

// during runs the guard in a time of its own, and ends it.
func during(t *testing.T, f func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = h.guard.Run(ctx) })
		f(h)
		cancel()
		running.Wait()
	})
}

func TestT22AServerThatSaysChangesWithoutEndIsLookedAtOnceASecond(t *testing.T) {
	during(t, func(h *house) {
		h.listens = func(ctx context.Context, l Listening, _ int64) error {
			for clock.Sleep(ctx, time.Millisecond) {
				for _, method := range []string{mcp.MethodToolsListChanged, mcp.MethodPromptsListChanged} {
					if err := l.Notify(mcp.Notice(method, nil)); err != nil {
						return err
					}
				}
			}
			return nil
		}
		e := h.opens("ana", "", mcp.MethodToolsListChanged, mcp.MethodPromptsListChanged)
		time.Sleep(10 * time.Second)
		if n := h.rechecked.Load(); n < 5 || n > 12 {
			t.Errorf("looked at %d times in ten seconds", n)
		}
		if n := e.sent.Load(); n < 5 || n > 12 { // nobody sees other tools
			t.Errorf("told %d times in ten seconds", n)
		}
	})
}

func TestAServerThatCannotBeListenedToIsTriedAgain(t *testing.T) {
	for name, fail := range map[string]func(h *house){
		"no credential": func(h *house) {
			h.lends = func(n int64) error {
				if n < 4 {
					return fault.New(faultv1.Reason_REASON_CREDENTIAL, "None.")
				}
				return nil
			}
		},
		"no stream": func(h *house) {
			h.listens = func(ctx context.Context, _ Listening, n int64) error {
				if n < 4 {
					return fault.New(faultv1.Reason_REASON_CREDENTIAL, "Refused.")
				}
				<-ctx.Done()
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			during(t, func(h *house) {
				fail(h)
				h.opens("ana", "", mcp.MethodToolsListChanged)
				time.Sleep(time.Minute)
				if h.lent.Load() != 4 || h.forgot.Load() != 3 || h.listened.Load() == 0 {
					t.Errorf("%d leases, %d forgotten, listened to %d times", h.lent.Load(), h.forgot.Load(), h.listened.Load())
				}
			})
		})
	}
}

func TestAServerIsListenedToWithANewCredentialNowAndThen(t *testing.T) {
	during(t, func(h *house) {
		h.opens("ana", "", mcp.MethodToolsListChanged)
		time.Sleep(time.Hour + time.Second) // past the lease that begins with the hour
		if n := h.lent.Load(); n < 5 || n > 7 || h.listened.Load() != n {
			t.Errorf("%d leases in an hour, listened to %d times", n, h.listened.Load())
		}
	})
}

func TestT22AServerThatSaysNothingIsNotAskedAllTheTime(t *testing.T) {
	during(t, func(h *house) {
		h.listens = func(context.Context, Listening, int64) error {
			return fault.New(faultv1.Reason_REASON_METHOD, "Silent.")
		}
		h.opens("ana", "", mcp.MethodToolsListChanged)
		time.Sleep(time.Hour)
		if n := h.listened.Load(); n < 10 || n > 13 {
			t.Errorf("asked %d times in an hour", n)
		}
	})
}

// TestT22HeartbeatsCompareNothing: only news does, and rarely the time.
func TestT22HeartbeatsCompareNothing(t *testing.T) {
	during(t, func(h *house) {
		const people = 50
		for i := range people {
			h.opens("p"+string(rune('a'+i)), "", mcp.MethodToolsListChanged)
		}
		time.Sleep(3 * time.Second)
		before := h.looked.Load()
		for range 30 {
			h.guard.Sweep()
			time.Sleep(250 * time.Millisecond)
		}
		if n := h.looked.Load() - before; n > people {
			t.Errorf("looked up %d times", n)
		}
		before = h.looked.Load()
		h.version.Add(1)
		h.guard.Sweep()
		time.Sleep(time.Second)
		if n := h.looked.Load() - before; n < people {
			t.Errorf("after a change, looked up %d times", n)
		}
	})
}

// TestT26WhoCannotBeLookedUpDelaysNobodysEnd: a stream ends within a second though others cannot be compared.
func TestT26WhoCannotBeLookedUpDelaysNobodysEnd(t *testing.T) {
	during(t, func(h *house) {
		h.sees = func(ctx context.Context, _ *Caller) (string, error) { <-ctx.Done(); return "", ctx.Err() }
		for i := range 50 {
			h.opens("p"+string(rune('a'+i)), "", mcp.MethodToolsListChanged)
		}
		bob := h.opens("bob", "", mcp.MethodToolsListChanged)
		time.Sleep(5 * time.Second)
		h.stopped.Store("bob", true)
		h.version.Add(1)
		h.guard.Sweep()
		time.Sleep(time.Second)
		if !bob.over.Load() || bob.sent.Load() != 1 {
			t.Errorf("over: %v, told %d times", bob.over.Load(), bob.sent.Load())
		}
	})
}

func TestT22ServersAreFollowedForSoManyStreamsOfOneCallerAlone(t *testing.T) {
	during(t, func(h *house) {
		for i := range 2 * maxFollowsOf {
			h.opens("ana", "client "+string(rune('a'+i)))
		}
		time.Sleep(time.Second)
		if n := h.listened.Load(); n != maxFollowsOf {
			t.Errorf("%d are followed for ana", n)
		}
		h.opens("bob", "client of bob")
		time.Sleep(time.Second)
		if n := h.listened.Load(); n != maxFollowsOf+1 {
			t.Errorf("%d are followed for both", n)
		}
	})
}

func TestT22WishesAreBoundedAndExpire(t *testing.T) {
	c, now := newClients(), time.Now()
	long := strings.Repeat("x", 1000)
	wish := func(key string, n int) (err error) {
		for i := 0; i < n && err == nil; i++ {
			err = c.subscribe(key, "s", long+strconv.Itoa(i), now)
		}
		return err
	}
	if err := wish("much", 500); err == nil || c.all["much"].bytes > maxWished {
		t.Errorf("%v, %d bytes of one client", err, c.all["much"].bytes)
	}
	if c.unsubscribe("much", "s", long+"0"); c.room("much", "s", "x") != nil {
		t.Error("what was taken back leaves no room")
	}
	for i := range 1000 {
		if err := wish("client "+string(rune(i)), 100); err != nil {
			t.Fatal(err)
		}
	}
	if c.bytes > maxWishedAll || len(c.all) < 500 {
		t.Errorf("%d bytes of %d clients", c.bytes, len(c.all))
	}
	c.says("stays", "info", now)
	c.sweep(now.Add(wishedFor), func(key string) bool { return key == "stays" })
	if level, _ := c.of("stays"); len(c.all) != 1 || c.bytes != 0 || level != "info" {
		t.Errorf("%d clients and %d bytes are left, level %q", len(c.all), c.bytes, level)
	}
}

// TestT22OneCallersWishesLeaveThoseOfOthers: whoever wishes for more and more through ever more sessions pushes out wishes of their own.
func TestT22OneCallersWishesLeaveThoseOfOthers(t *testing.T) {
	c, now := newClients(), time.Now()
	key := func(person string, session int) string {
		return clientKey(&Inbound{Endpoint: "/mcp", Session: strconv.Itoa(session)}, &Caller{Tenant: "acme", Person: person})
	}
	c.says(key("ana", 0), "info", now)
	if err := c.subscribe(key("ana", 0), "s", "memo://a", now); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	long := strings.Repeat("x", maxWished/8)
	for session := range 2 * maxWishedAll / maxWished {
		for i := range 7 {
			if err := c.subscribe(key("eve", session), "s", strconv.Itoa(i)+long, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	for session := range 2 * maxClients / partOfAll {
		c.says(key("mallory", session), "info", now)
	}
	if level, uris := c.of(key("ana", 0)); level != "info" || len(uris["s"]) != 1 {
		t.Errorf("ana's wishes are gone: %q %v", level, uris)
	}
	for person, of := range map[string]*owned{"eve": c.owners[ownerIn(key("eve", 0))], "mallory": c.owners[ownerIn(key("mallory", 0))]} {
		if of == nil || of.bytes > maxWishedAll/partOfAll || len(of.all) > maxClients/partOfAll || len(of.all) == 0 {
			t.Errorf("%s has %+v", person, of)
		}
	}
	c.sweep(now.Add(2*wishedFor), func(string) bool { return false })
	if len(c.all) != 0 || len(c.owners) != 0 || c.bytes != 0 {
		t.Errorf("%d clients of %d callers and %d bytes are left", len(c.all), len(c.owners), c.bytes)
	}
}
