package guard

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
)

// twin is a guard that asks another one what it is asked.
type twin struct {
	*Guard

	other *twin
	gone  bool
}

func (t *twin) Self() string        { return "one" }
func (t *twin) Others() []string    { return []string{"other"} }
func (t *twin) Place(string) string { return "one" }
func (t *twin) Relay(_ context.Context, _ string, in *Inbound) (Answer, error) {
	if t.other.gone {
		return Answer{}, errors.New("gone")
	}
	in.Relayed = true
	e := newEntry(in, "told", t.Now())
	e.admitted(nobody())
	return t.other.learn(in, e)
}

func nobody() *Caller { return &Caller{Tenant: "acme", Person: "ana", ClientID: "cli"} }

// twins are two edges at one time.
func twins() (a, b *twin, now *time.Time) {
	now = new(time.Unix(1_800_000_000, 0))
	a, b = &twin{}, &twin{}
	a.other, b.other = b, a
	for _, one := range []*twin{a, b} {
		one.Guard = &Guard{
			Stages:  Stages{Peers: one, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return *now }},
			running: newRunning(), clients: newClients(), telling: make(chan struct{}, maxTelling),
		}
	}
	return a, b, now
}

// calls begins a call of a client without a session.
func (t *twin) calls(id string) (ctx context.Context, done func()) {
	in := &Inbound{Endpoint: "/mcp/acts"}
	e := newEntry(in, "call-"+id+strconv.Itoa(len(t.running.calls)), t.Now())
	e.admitted(nobody())
	e.msg = &mcp.Message{ID: json.RawMessage(id)}
	ctx, done = t.running.begin(context.Background(), in, e, t.Now)
	t.running.uses(e, &Tool{Server: &Server{Name: "acts"}, Name: "act"})
	return ctx, done
}

func (t *twin) cancels(id string) {
	body := []byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + id + `}}`)
	msg, err := mcp.Read(body, mcp.DefaultLimits())
	if err != nil {
		panic(err)
	}
	in := &Inbound{Endpoint: "/mcp/acts", Body: body}
	e := newEntry(in, "notice", t.Now())
	e.admitted(nobody())
	e.msg = msg
	t.cancelStray(context.Background(), in, e)
}

// TestT26ACancellationWithoutASessionEndsTheCallThatItNames, wherever it runs, and no call that only has the same id.
func TestT26ACancellationWithoutASessionEndsTheCallThatItNames(t *testing.T) {
	for name, c := range map[string]struct {
		before func(a, b *twin, now *time.Time) (running context.Context)
		ends   bool
	}{
		"one here":       {func(a, _ *twin, _ *time.Time) context.Context { ctx, _ := a.calls("5"); return ctx }, true},
		"one elsewhere":  {func(_, b *twin, _ *time.Time) context.Context { ctx, _ := b.calls("5"); return ctx }, true},
		"one of two ids": {func(a, b *twin, _ *time.Time) context.Context { a.calls("6"); ctx, _ := b.calls("5"); return ctx }, true},
		"two here":       {func(a, _ *twin, _ *time.Time) context.Context { a.calls("5"); ctx, _ := a.calls("5"); return ctx }, false},
		"one each":       {func(a, b *twin, _ *time.Time) context.Context { b.calls("5"); ctx, _ := a.calls("5"); return ctx }, false},
		"it comes late, and another's runs elsewhere": {func(a, b *twin, _ *time.Time) context.Context {
			_, done := a.calls("5")
			done()
			ctx, _ := b.calls("5")
			return ctx
		}, false},
		"it comes late, and another's runs here": {func(a, b *twin, _ *time.Time) context.Context {
			_, done := b.calls("5")
			done()
			ctx, _ := a.calls("5")
			return ctx
		}, false},
		"another's ended long ago": {func(a, b *twin, now *time.Time) context.Context {
			_, done := a.calls("5")
			done()
			*now = now.Add(lateFor)
			ctx, _ := b.calls("5")
			return ctx
		}, true},
		"an edge cannot be asked": {func(a, b *twin, _ *time.Time) context.Context { b.gone = true; ctx, _ := a.calls("5"); return ctx }, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, b, now := twins()
			ctx := c.before(a, b, now)
			if a.cancels("5"); (ctx.Err() != nil) != c.ends {
				t.Errorf("cancelled: %v", ctx.Err() != nil)
			}
		})
	}
}

func TestT22WhatIsRememberedOfCallsThatEndedIsBounded(t *testing.T) {
	p, now, one := newPast(), time.Now(), json.RawMessage("1")
	p.add("mine", one, now)
	for n := range 10_000 {
		p.add("theirs", json.RawMessage(strconv.Itoa(n)), now)
	}
	if n := len(p.calls("theirs")); n != maxPastOf || p.count("mine", one, now) != 1 || p.count("theirs", json.RawMessage("9999"), now) != 1 ||
		p.count("theirs", json.RawMessage(strconv.Itoa(9999-maxPastOf)), now) != 0 {
		t.Errorf("%d of one client", n)
	}
	for n := range 2 * maxPast {
		p.add(strconv.Itoa(n), one, now.Add(time.Duration(n)))
		if n%1000 == 0 {
			p.add("mine", one, now.Add(time.Duration(n)))
		}
	}
	if len(p.of) != maxPast || p.order.Len() != maxPast {
		t.Errorf("%d clients in the order, %d of them found", p.order.Len(), len(p.of))
	}
	at := now.Add(2 * maxPast)
	first := strconv.Itoa(maxPast + 1) // those before, and one for the client that came back, had their last call longest ago
	if p.count("mine", one, at) != 10 || p.count("theirs", json.RawMessage("9999"), at) != 0 || p.count(strconv.Itoa(maxPast), one, at) != 0 || p.count(first, one, at) != 1 {
		t.Error("another client was forgotten than the one whose last call ended longest ago")
	}
	if p.sweep(now.Add(lateFor + maxPast + maxPast/2)); len(p.of) != maxPast/2 {
		t.Errorf("%d clients are left of those whose last call ended late enough", len(p.of))
	}
	if p.sweep(now.Add(2 * lateFor)); len(p.of) != 0 || p.order.Len() != 0 {
		t.Errorf("%d clients are left", len(p.of))
	}
}
