package guard

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// neighbours are other edges that take what they are told and do not answer.
type neighbours struct{ told, now, most atomic.Int64 }

func (*neighbours) Self() string        { return "here" }
func (*neighbours) Others() []string    { return []string{"there", "elsewhere"} }
func (*neighbours) Place(string) string { return "here" }

func (n *neighbours) Relay(ctx context.Context, _ string, in *Inbound) (Answer, error) {
	if in.Verb == verbTold {
		n.told.Add(1)
	}
	n.most.Store(max(n.most.Load(), n.now.Add(1)))
	defer n.now.Add(-1)
	<-ctx.Done()
	return Answer{}, ctx.Err()
}

// TestT22OneClientsNoticesAreNotAFloodForAllEdges: what other edges are told is bounded in number and in time.
func TestT22OneClientsNoticesAreNotAFloodForAllEdges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := &neighbours{}
		g := watch().guard
		g.Peers = peers
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() { g.tell(t.Context(), &Inbound{Verb: "POST", Endpoint: "/mcp"}, "") })
		}
		all.Wait()
		if told, most := peers.told.Load(), peers.most.Load(); told != 2*maxTelling || most > 2*maxTelling {
			t.Errorf("%d were told, %d at once", told, most)
		}
		g.tell(t.Context(), &Inbound{Verb: "POST", Endpoint: "/mcp"}, "")
		if told := peers.told.Load(); told != 2*maxTelling+2 {
			t.Errorf("later nobody is told: %d", told)
		}
		g.tell(t.Context(), &Inbound{Verb: "POST", Endpoint: "/mcp", Relayed: true}, "")
		if told := peers.told.Load(); told != 2*maxTelling+2 {
			t.Error("what another edge told is told again")
		}
	})
}

func TestT22WhatClientsWithoutSessionsOfferIsBounded(t *testing.T) {
	c, now := newClients(), time.Now()
	key := func(person string, endpoint int) string {
		return strayKey(&Inbound{Endpoint: "/mcp/" + strconv.Itoa(endpoint)}, &Caller{Tenant: "acme", Person: person})
	}
	offer := json.RawMessage(`{"elicitation":{"x":"` + strings.Repeat("x", maxOffer-30) + `"}}`)
	c.introduce(key("ana", 0), "s", offer, now)
	c.introduce(key("bob", 0), "s", append(offer, ' '), now)
	for i := range 10_000 {
		c.introduce(key("eve", i), "s", offer, now.Add(time.Second))
	}
	if mine := c.owners[ownerIn(key("eve", 0))]; mine.bytes > maxWishedAll/partOfAll || len(mine.all) > maxClients/partOfAll {
		t.Errorf("eve has %d bytes for %d endpoints", mine.bytes, len(mine.all))
	}
	if c.offered(key("ana", 0), now) == nil {
		t.Error("what ana offers is gone")
	}
	c.introduce(key("bob", 0), "s", json.RawMessage(`{"roots":{"n":"`+strings.Repeat("x", maxOffer)+`"}}`), now)
	if got := c.offered(key("bob", 0), now); got != nil {
		t.Errorf("too long an offer is kept: %d bytes", len(got))
	}
	c.returned(key("ana", 0), "another")
	if c.offered(key("ana", 0), now) == nil {
		t.Error("another session took it away")
	}
	if c.returned(key("ana", 0), "s"); c.offered(key("ana", 0), now) != nil {
		t.Error("it is still there, though its client sends its session's id")
	}
	if c.sweep(now.Add(2*wishedFor), func(string) bool { return false }); c.bytes != 0 || len(c.all) != 0 {
		t.Errorf("%d bytes of %d clients are left", c.bytes, len(c.all))
	}
}
