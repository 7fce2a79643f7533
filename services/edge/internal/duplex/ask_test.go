package duplex_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/duplex"
	"headgate.dev/services/edge/internal/guard"
)

const offer = `{"elicitation":{"form":{}},"roots":{}}`

// asking is a server that asks its client before it answers a call, and answers with what it was told.
func asking(t *testing.T, method string) *server {
	return serve(t, false, func(s *server, m *mcp.Message) {
		switch {
		case m.Method == mcp.MethodToolsCall:
			s.ask(41, method, `{"message":"which?"}`)
		case m.Kind == mcp.Response && m.Error != nil:
			s.result(s.heard(mcp.MethodToolsCall)[0], `{"told":`+string(m.Error)+`}`)
		case m.Kind == mcp.Response:
			s.result(s.heard(mcp.MethodToolsCall)[0], `{"told":`+string(m.Result)+`}`)
		}
	})
}

func TestAServerOfOneClientMayAskItWhatItOffered(t *testing.T) {
	for name, one := range map[string]struct {
		method string
		answer guard.Reply
		err    error
		told   string
	}{
		"a result":            {mcp.MethodElicit, guard.Reply{Result: json.RawMessage(`{"action":"accept"}`)}, nil, `{"action":"accept"}`},
		"an error":            {mcp.MethodRoots, guard.Reply{Error: json.RawMessage(`{"code":-1,"message":"rejected"}`)}, nil, `{"code":-1,"message":"rejected"}`},
		"a refusal":           {mcp.MethodElicit, guard.Reply{}, fault.New(faultv1.Reason_REASON_RULE, "Nobody may be asked for passwords."), "Nobody may be asked"},
		"what is not offered": {mcp.MethodSample, guard.Reply{}, nil, "-32601"},
		"what nobody knows":   {"tools/x", guard.Reply{}, nil, "-32601"},
	} {
		t.Run(name, func(t *testing.T) {
			s := asking(t, one.method)
			c := s.open(duplex.Config{Alone: true, Offer: json.RawMessage(offer)})
			ex := call(`{"name":"a"}`)
			ex.Ask = func(_ context.Context, m *mcp.Reply) (guard.Reply, error) {
				if m.Method != one.method || string(m.Params) != `{"message":"which?"}` {
					t.Errorf("asked %s", m.Raw)
				}
				return one.answer, one.err
			}
			reply, err := c.Call(t.Context(), ex)
			if err != nil || !strings.Contains(string(mcp.Get(reply.Result, "told")), one.told) {
				t.Errorf("%s, %v", reply.Result, err)
			}
		})
	}
}

func TestAQuestionGoesToTheNewestCallAndEndsWithIt(t *testing.T) {
	s := serve(t, false, nil)
	c := s.open(duplex.Config{Alone: true, Offer: json.RawMessage(offer)})
	asked, ended := make(chan string, 2), make(chan struct{})
	start := func(name string) (ctx context.CancelFunc, done chan error) {
		going, cancel := context.WithCancel(t.Context())
		done = make(chan error, 1)
		ex := call(`{"name":"` + name + `"}`)
		ex.Ask = func(ctx context.Context, _ *mcp.Reply) (guard.Reply, error) {
			asked <- name
			<-ctx.Done()
			close(ended)
			return guard.Reply{}, ctx.Err()
		}
		go func() {
			_, err := c.Call(going, ex)
			done <- err
		}()
		return cancel, done
	}
	stopOld, oldDone := start("old")
	eventually(t, "the old call", func() bool { return len(s.heard(mcp.MethodToolsCall)) == 1 })
	stopNew, newDone := start("new")
	eventually(t, "the new call", func() bool { return len(s.heard(mcp.MethodToolsCall)) == 2 })
	s.ask(1, mcp.MethodElicit, `{}`)
	if who := <-asked; who != "new" {
		t.Errorf("%s was asked", who)
	}
	stopNew()
	<-ended
	<-newDone
	if len(s.heard("")) != 0 {
		t.Error("the server was answered for a client that went away")
	}
	stopOld()
	<-oldDone
}

func TestAServerCanTakeItsQuestionBack(t *testing.T) {
	s := serve(t, false, nil)
	c := s.open(duplex.Config{Alone: true, Offer: json.RawMessage(offer)})
	asked, ended := make(chan struct{}), make(chan struct{})
	ex := call(`{"name":"a"}`)
	ex.Ask = func(ctx context.Context, _ *mcp.Reply) (guard.Reply, error) {
		close(asked)
		<-ctx.Done()
		close(ended)
		return guard.Reply{}, ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.Call(t.Context(), ex)
		done <- err
	}()
	eventually(t, "the call", func() bool { return len(s.heard(mcp.MethodToolsCall)) == 1 })
	s.ask(5, mcp.MethodElicit, `{}`)
	<-asked
	s.notice(mcp.MethodCancelled, `{"requestId":5}`)
	<-ended
	s.result(s.heard(mcp.MethodToolsCall)[0], `{}`)
	if err := <-done; err != nil || len(s.heard("")) != 0 {
		t.Errorf("%v, %d answers", err, len(s.heard("")))
	}
}

func TestTheTimeInWhichAClientIsAskedIsNotTheServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := asking(t, mcp.MethodElicit)
		c := s.open(duplex.Config{Alone: true, Offer: json.RawMessage(offer)})
		ex := call(`{"name":"a"}`)
		ex.Ask = func(context.Context, *mcp.Reply) (guard.Reply, error) {
			time.Sleep(10 * time.Minute) // of the bubble's clock
			return guard.Reply{Result: json.RawMessage(`{"action":"accept"}`)}, nil
		}
		if _, err := c.Call(t.Context(), ex); err != nil {
			t.Error(err)
		}
		c.Close()
	})
}

func TestAServerIsAnsweredWhenItPings(t *testing.T) {
	s := serve(t, false, nil)
	s.open(duplex.Config{})
	s.ask(3, mcp.MethodPing, `{}`)
	eventually(t, "the answer", func() bool { return len(s.heard("")) == 1 })
	if m := s.heard("")[0]; string(m.ID) != "3" || string(m.Result) != "{}" {
		t.Errorf("%s", m.Raw)
	}
}

func TestT22AServerThatAsksWithoutEndIsNotAnsweredWithoutEnd(t *testing.T) {
	s := serve(t, false, func(s *server, m *mcp.Message) {
		if m.Method == mcp.MethodToolsCall {
			s.result(m, `{}`)
		}
	})
	c := s.open(duplex.Config{Alone: true, Offer: json.RawMessage(offer)})
	asked := make(chan struct{}, 1000)
	listening, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.Listen(listening, guard.Listening{Server: &guard.Server{}, Notify: func([]byte) error { return nil },
			Ask: func(ctx context.Context, _ *mcp.Reply) (guard.Reply, error) {
				asked <- struct{}{}
				<-ctx.Done()
				return guard.Reply{}, ctx.Err()
			}}, time.Second)
	}()
	eventually(t, "somebody is asked", func() bool {
		s.ask(1, mcp.MethodElicit, `{}`)
		return len(asked) > 0
	})
	for i := range 500 {
		s.ask(i+10, mcp.MethodElicit, `{}`)
	}
	if _, err := c.Call(t.Context(), call(`{"name":"a"}`)); err != nil { // it goes on all the same
		t.Error(err)
	}
	if len(asked) > 20 {
		t.Errorf("%d at once", len(asked))
	}
	eventually(t, "what has no room is refused", func() bool {
		for _, m := range s.heard("") {
			if string(mcp.Get(m.Error, "code")) == "-32603" && strings.Contains(string(m.Error), "Too many questions") {
				return true
			}
		}
		return false
	})
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestT14TheIdsOfCallsCannotBeGuessed: what is planted in a server's answers does not know them.
func TestT14TheIdsOfCallsCannotBeGuessed(t *testing.T) {
	seen := map[string]bool{}
	for range 3 {
		s := serve(t, true, func(s *server, m *mcp.Message) { s.result(m, `{}`) })
		if _, err := s.open(duplex.Config{}).Call(t.Context(), call(`{"name":"a"}`)); err != nil {
			t.Fatal(err)
		}
		id := string(s.heard(mcp.MethodToolsCall)[0].ID)
		if len(id) < 6 || seen[id] {
			t.Errorf("the id %s", id)
		}
		seen[id] = true
	}
}
