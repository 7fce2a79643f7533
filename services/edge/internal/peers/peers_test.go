package peers_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"

	edgev1 "headgate.dev/proto/gen/headgate/edge/v1"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/peers"
)

func TestEachKeyHasOnePlaceThatOnlyItsEdgeTakesAway(t *testing.T) {
	edges := []string{"https://a", "https://b", "https://c"}
	at := func(self string, known []string) *peers.Peers {
		return peers.New(self, func() []string { return known }, nil, slog.New(slog.DiscardHandler))
	}
	held := map[string]int{}
	for i := range 300 {
		key := fmt.Sprint("key ", i)
		place := at(edges[0], edges).Place(key)
		held[place]++
		for _, self := range edges[1:] {
			if other := at(self, edges).Place(key); other != place {
				t.Fatalf("%s is at %s for one, at %s for another", key, place, other)
			}
		}
		fewer := slices.DeleteFunc(slices.Clone(edges), func(edge string) bool { return edge == "https://c" })
		if now := at(edges[0], fewer).Place(key); place != "https://c" && now != place || !slices.Contains(fewer, now) {
			t.Fatalf("%s went from %s to %s without c", key, place, now)
		}
	}
	for _, edge := range edges {
		if held[edge] < 50 {
			t.Errorf("%s holds %d of 300", edge, held[edge])
		}
	}
	if got := at("https://b", edges).Others(); !slices.Equal(got, []string{"https://a", "https://c"}) {
		t.Errorf("b's others are %v", got)
	}
	for name, p := range map[string]*peers.Peers{"alone": at("", edges), "nobody is known": at("https://b", nil)} {
		if place := p.Place("x"); place != p.Self() || len(p.Others()) != 0 {
			t.Errorf("%s: %q, %v", name, place, p.Others())
		}
	}
}

// log is a stream that is taken up again: all that was kept of it comes at once.
type log struct{ events int }

func (l log) Attach(to guard.Sink) {
	for i := range l.events {
		if to.Send(strconv.Itoa(i), []byte(`{"jsonrpc":"2.0","method":"notifications/progress"}`)) != nil {
			return
		}
	}
	to.End()
}
func (log) Gone() {}

// Call answers with the stream.
func (l log) Call(context.Context, *guard.Inbound) guard.Answer { return guard.Answer{Stream: l} }

func TestAStreamThatIsTakenUpAgainAtAnotherEdgeComesWhole(t *testing.T) {
	const events = 20_000
	next := 0
	err := peers.Serve(t.Context(), log{events}, &edgev1.RelayRequest{}, func(part *edgev1.RelayResponse) error {
		if part.GetStream() {
			return nil
		}
		if part.GetEventId() != strconv.Itoa(next) {
			t.Fatalf("%s after %d", part.GetEventId(), next)
		}
		next++
		return nil
	})
	if err != nil || next != events {
		t.Errorf("%d of %d events came: %v", next, events, err)
	}
}

// chatter says things without an end once it is listened to.
type chatter struct{ refused chan error }

func (c chatter) Attach(to guard.Sink) {
	go func() {
		for {
			if err := to.Send("", make([]byte, 64<<10)); err != nil {
				c.refused <- err
				return
			}
		}
	}()
}
func (chatter) Gone() {}

// Call answers with the stream.
func (c chatter) Call(context.Context, *guard.Inbound) guard.Answer { return guard.Answer{Stream: c} }

func TestT22WhatWaitsForAnotherEdgeIsBounded(t *testing.T) {
	c := chatter{refused: make(chan error, 1)}
	var stuck sync.Once
	err := peers.Serve(t.Context(), c, &edgev1.RelayRequest{}, func(part *edgev1.RelayResponse) error {
		if !part.GetStream() {
			stuck.Do(func() {
				if err := <-c.refused; err == nil {
					t.Error("more is kept than may wait")
				}
			})
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
