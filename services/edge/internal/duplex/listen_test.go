package duplex_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/duplex"
	"headgate.dev/services/edge/internal/guard"
)

// hearer is one client that listens.
type hearer struct {
	mu   sync.Mutex
	news []string
	stop context.CancelFunc
	done chan error
}

func hear(t *testing.T, c *duplex.Conversation, lists bool, resources ...string) *hearer {
	ctx, stop := context.WithCancel(t.Context())
	h := &hearer{stop: stop, done: make(chan error, 1)}
	wish := guard.Listening{Server: &guard.Server{Name: "files"}, Lists: lists, Resources: resources, Notify: func(notice []byte) error {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.news = append(h.news, string(notice))
		return nil
	}}
	go func() { h.done <- c.Listen(ctx, wish, time.Second) }()
	return h
}

func (h *hearer) heard(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.news, func(one string) bool { return strings.Contains(one, text) })
}

const tellsAll = `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true}}`

func TestWhoSharesAServerHearsWhatWasSubscribedToAndNothingElse(t *testing.T) {
	s := serve(t, false, func(s *server, m *mcp.Message) {
		if m.Kind == mcp.Request {
			s.result(m, `{}`)
		}
	})
	s.says = tellsAll
	c := s.open(duplex.Config{})
	ana, bob := hear(t, c, false, "file:///a", "file:///both"), hear(t, c, true, "file:///both")
	eventually(t, "both are subscribed", func() bool { return len(s.heard(mcp.MethodSubscribe)) == 2 })
	s.notice(mcp.MethodResourceUpdated, `{"uri":"file:///a/part"}`)
	s.notice(mcp.MethodResourceUpdated, `{"uri":"file:///ab"}`)
	s.notice(mcp.MethodResourceUpdated, `{"uri":"file:///both"}`)
	s.notice(mcp.MethodPromptsListChanged, `{}`)
	s.notice(mcp.MethodLog, `{"data":"secret"}`)
	eventually(t, "ana hears", func() bool { return ana.heard("a/part") && ana.heard("both") })
	eventually(t, "bob hears", func() bool { return bob.heard("both") && bob.heard(mcp.MethodPromptsListChanged) })
	if ana.heard("list_changed") || bob.heard("a/part") || ana.heard("ab") || ana.heard("secret") || bob.heard("secret") {
		t.Errorf("ana %v, bob %v", ana.news, bob.news)
	}
	ana.stop()
	if err := <-ana.done; err != nil {
		t.Error(err)
	}
	eventually(t, "what only ana wanted is given up", func() bool { return len(s.heard(mcp.MethodUnsubscribe)) == 1 })
	if uri, _ := mcp.Text(s.heard(mcp.MethodUnsubscribe)[0].Params, "uri"); uri != "file:///a" {
		t.Errorf("gave up %s", uri)
	}
	bob.stop()
	<-bob.done
	eventually(t, "the rest is given up", func() bool { return len(s.heard(mcp.MethodUnsubscribe)) == 2 })
}

func TestAModernServerTellsEachListenerByItself(t *testing.T) {
	s := serve(t, true, nil)
	s.says = tellsAll
	c := s.open(duplex.Config{})
	ana := hear(t, c, false, "file:///a")
	eventually(t, "ana listens", func() bool { return len(s.heard(mcp.MethodListen)) == 1 })
	bob := hear(t, c, true)
	eventually(t, "bob listens", func() bool { return len(s.heard(mcp.MethodListen)) == 2 })
	asked := s.heard(mcp.MethodListen)
	if string(mcp.Get(asked[0].Params, "notifications")) != `{"resourceSubscriptions":["file:///a"]}` {
		t.Errorf("%s", asked[0].Params)
	}
	of := func(m *mcp.Message) string { return `"_meta":{"` + mcp.MetaSubscription + `":` + string(m.ID) + `}` }
	s.notice(mcp.MethodAcknowledged, `{`+of(asked[0])+`,"notifications":{}}`)
	s.notice(mcp.MethodResourceUpdated, `{"uri":"file:///a",`+of(asked[0])+`}`)
	s.notice(mcp.MethodResourceUpdated, `{"uri":"file:///a",`+of(asked[1])+`}`) // not asked for
	s.notice(mcp.MethodResourceUpdated, `{"uri":"file:///a"}`)                  // nobody's
	s.notice(mcp.MethodResourcesListChanged, `{`+of(asked[1])+`}`)
	eventually(t, "both hear", func() bool { return ana.heard("updated") && bob.heard("list_changed") })
	if len(ana.news) != 1 || len(bob.news) != 1 || ana.heard("subscriptionId") {
		t.Errorf("ana %v, bob %v", ana.news, bob.news)
	}
	ana.stop()
	if err := <-ana.done; err != nil {
		t.Error(err)
	}
	eventually(t, "the server knows", func() bool { return len(s.heard(mcp.MethodCancelled)) == 1 })
	if id := mcp.Get(s.heard(mcp.MethodCancelled)[0].Params, "requestId"); !mcp.SameID(id, asked[0].ID) {
		t.Errorf("cancelled %s", id)
	}
	s.result(asked[1], `{"resultType":"complete"}`)
	if err := <-bob.done; !fault.Is(err, faultv1.Reason_REASON_UPSTREAM) {
		t.Errorf("%v", err)
	}
}

func TestAServerThatTellsNothingEndsTheListeningAtOnce(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		h := hear(t, serve(t, modern, nil).open(duplex.Config{}), true, "file:///a")
		if err := <-h.done; !fault.Is(err, faultv1.Reason_REASON_METHOD) {
			t.Errorf("%v", err)
		}
		h.stop()
	})
	s := serve(t, true, func(s *server, m *mcp.Message) { s.say(string(mcp.ErrorReply(m.ID, -32601, "no", nil))) })
	s.says = tellsAll
	h := hear(t, s.open(duplex.Config{}), true)
	if err := <-h.done; !fault.Is(err, faultv1.Reason_REASON_METHOD) {
		t.Errorf("%v", err)
	}
	h.stop()
}

func TestTheOneClientOfAServerHearsAllThatItSays(t *testing.T) {
	s := serve(t, false, nil)
	s.says = tellsAll
	c := s.open(duplex.Config{Alone: true})
	h := hear(t, c, true)
	eventually(t, "a word without a call", func() bool {
		s.notice(mcp.MethodLog, `{"data":"idle"}`)
		return h.heard("idle")
	})
	ex := call(`{"name":"a"}`)
	heard := make(chan string, 5000)
	ex.Notify = func(notice []byte) error {
		heard <- string(notice)
		return nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.Call(t.Context(), ex)
		done <- err
	}()
	eventually(t, "the call", func() bool { return len(s.heard(mcp.MethodToolsCall)) == 1 })
	s.notice(mcp.MethodLog, `{"data":"busy"}`)
	for got := <-heard; !strings.Contains(got, "busy"); got = <-heard {
		if !strings.Contains(got, "idle") { // which was still on its way
			t.Errorf("%s", got)
		}
	}
	s.result(s.heard(mcp.MethodToolsCall)[0], `{}`)
	<-done
	h.stop()
	<-h.done
}
