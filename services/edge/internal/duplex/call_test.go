package duplex_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/duplex"
	"headgate.dev/services/edge/internal/guard"
)

func TestT14AnswersGoToTheirOwnCallsInWhateverOrderTheyCome(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		var mu sync.Mutex
		var held []*mcp.Message
		const calls = 20
		s := serve(t, modern, func(s *server, m *mcp.Message) {
			mu.Lock()
			defer mu.Unlock()
			if held = append(held, m); len(held) < calls {
				return
			}
			for i := len(held) - 1; i >= 0; i-- {
				s.result(held[i], `{"content":`+string(mcp.Get(held[i].Params, "arguments", "n"))+`}`)
				s.result(held[i], `{"content":"again"}`) // a second answer is nobody's
			}
		})
		c := s.open(duplex.Config{})
		var all sync.WaitGroup
		for i := range calls {
			all.Go(func() {
				reply, err := c.Call(t.Context(), call(fmt.Sprintf(`{"name":"read","arguments":{"n":%d}}`, i)))
				if err != nil || string(reply.Result) != fmt.Sprintf(`{"content":%d}`, i) || reply.Modern != modern {
					t.Errorf("%d: %s, %v", i, reply.Result, err)
				}
			})
		}
		all.Wait()
	})
}

func TestACallIsWrittenInTheServersEraAndNothingElseChanges(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		s := serve(t, modern, func(s *server, m *mcp.Message) { s.result(m, `{"resultType":"input_required","requestState":"x"}`) })
		c := s.open(duplex.Config{Alone: true})
		ex := call(`{"name":"read","arguments":{"n":12345678901234567890.10, "t":"\u00e9"},"x":[1e400]}`)
		ex.Offer = json.RawMessage(`{"elicitation":{}}`)
		reply, err := c.Call(t.Context(), ex)
		if err != nil || string(reply.Result) != `{"resultType":"input_required","requestState":"x"}` {
			t.Fatalf("%s, %v", reply.Result, err)
		}
		m := s.heard(mcp.MethodToolsCall)[0]
		if !strings.HasPrefix(string(m.Params), `{"name":"read","arguments":{"n":12345678901234567890.10, "t":"\u00e9"},"x":[1e400]`) {
			t.Errorf("%s", m.Params)
		}
		offered := mcp.Get(m.Params, "_meta", mcp.MetaCapabilities)
		if modern && string(offered) != `{"elicitation":{}}` || !modern && mcp.Get(m.Params, "_meta") != nil {
			t.Errorf("%s", m.Params)
		}
	})
}

func TestT14OneSharedServerNeverTellsOneCallerOfAnother(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		begun := make(chan *mcp.Message, 2)
		s := serve(t, modern, func(_ *server, m *mcp.Message) {
			if m.Method == mcp.MethodToolsCall {
				begun <- m
			}
		})
		c := s.open(duplex.Config{})
		var mu sync.Mutex
		seen := map[string][]string{}
		var all sync.WaitGroup
		for _, person := range []string{"ana", "bob"} {
			ex := call(`{"name":"` + person + `","_meta":{"progressToken":"p","io.modelcontextprotocol/clientCapabilities":{"elicitation":{}}}}`)
			ex.Offer = json.RawMessage(`{"elicitation":{},"sampling":{},"roots":{}}`)
			ex.Notify = func(notice []byte) error {
				mu.Lock()
				defer mu.Unlock()
				seen[person] = append(seen[person], string(notice))
				return nil
			}
			ex.Ask = func(context.Context, *mcp.Reply) (guard.Reply, error) {
				t.Errorf("%s was asked", person)
				return guard.Reply{}, nil
			}
			all.Go(func() {
				if _, err := c.Call(t.Context(), ex); err != nil {
					t.Error(err)
				}
			})
		}
		first, second := <-begun, <-begun
		for _, m := range []*mcp.Message{first, second} {
			token := mcp.Get(m.Params, "_meta", mcp.MetaProgressToken)
			if string(token) == `"p"` {
				t.Error("the client's token went to the server")
			}
			if offer := mcp.Get(m.Params, "_meta", mcp.MetaCapabilities); modern && string(offer) != "{}" {
				t.Errorf("offered %s", offer)
			}
			s.notice(mcp.MethodProgress, `{"progressToken":`+string(token)+`,"progress":1,"message":"for `+m.Name+`"}`)
		}
		for _, token := range []string{`"p"`, "99", "null", `"1"`} {
			s.notice(mcp.MethodProgress, `{"progressToken":`+token+`,"progress":2}`)
		}
		s.notice(mcp.MethodLog, `{"level":"info","data":"ana read her file"}`)
		s.notice("notifications/elicitation/complete", `{"elicitationId":"1"}`)
		s.notice("notifications/other", `{}`)
		s.ask(7, mcp.MethodElicit, `{"message":"your password?"}`)
		s.result(first, `{}`)
		s.result(second, `{}`)
		all.Wait()
		for _, person := range []string{"ana", "bob"} {
			if len(seen[person]) != 1 || !strings.Contains(seen[person][0], `"progressToken":"p"`) || !strings.Contains(seen[person][0], "for "+person) {
				t.Errorf("%s saw %v", person, seen[person])
			}
		}
		if !modern {
			eventually(t, "the server is answered", func() bool { return len(s.heard("")) > 0 })
		}
		if answered := s.heard(""); !modern && (len(answered) != 1 || string(mcp.Get(answered[0].Error, "code")) != "-32601") || modern && len(answered) != 0 {
			t.Errorf("the server was answered %d times", len(answered))
		}
	})
}

func TestWhatWouldChangeASharedServerForAllIsRefused(t *testing.T) {
	s := serve(t, false, func(s *server, m *mcp.Message) { s.result(m, `{}`) })
	shared := s.open(duplex.Config{})
	for _, method := range []string{mcp.MethodSetLevel, mcp.MethodSubscribe, mcp.MethodUnsubscribe} {
		reply, err := shared.Call(t.Context(), guard.Exchange{Server: &guard.Server{Timeout: time.Second}, Method: method, Params: []byte(`{"level":"debug","uri":"a:b"}`)})
		if err != nil || string(mcp.Get(reply.Error, "code")) != "-32601" || len(s.heard(method)) != 0 {
			t.Errorf("%s: %s, %v", method, reply.Error, err)
		}
	}
	own := serve(t, false, func(s *server, m *mcp.Message) { s.result(m, `{}`) }).open(duplex.Config{Alone: true})
	reply, err := own.Call(t.Context(), guard.Exchange{Server: &guard.Server{Timeout: time.Second}, Method: mcp.MethodSetLevel, Params: []byte(`{"level":"debug"}`)})
	if err != nil || string(reply.Result) != "{}" {
		t.Errorf("%s, %v", reply.Error, err)
	}
}

func TestWhoStopsWaitingTellsTheServerAndALateAnswerIsDropped(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		synctest.Test(t, func(t *testing.T) {
			begun := make(chan *mcp.Message, 3)
			s := serve(t, modern, func(_ *server, m *mcp.Message) {
				if m.Method == mcp.MethodToolsCall {
					begun <- m
				}
			})
			c := s.open(duplex.Config{})
			going, leave := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() {
				_, err := c.Call(going, call(`{"name":"a"}`))
				failed <- err
			}()
			first := <-begun
			leave()
			if err := <-failed; !fault.Is(err, faultv1.Reason_REASON_CANCELLED) {
				t.Errorf("%v", err)
			}
			_, err := c.Call(t.Context(), call(`{"name":"b"}`)) // nobody answers in its 5 s
			second := <-begun
			if !fault.Is(err, faultv1.Reason_REASON_UPSTREAM_TIMEOUT) {
				t.Errorf("%v", err)
			}
			synctest.Wait()
			notices := s.heard(mcp.MethodCancelled)
			for i, m := range []*mcp.Message{first, second} {
				if len(notices) != 2 || !mcp.SameID(mcp.Get(notices[i].Params, "requestId"), m.ID) {
					t.Fatalf("%d notices", len(notices))
				}
				s.result(m, `{"late":true}`)
			}
			go func() {
				m := <-begun
				s.result(m, `{"ok":true}`)
			}()
			if reply, err := c.Call(t.Context(), call(`{"name":"c"}`)); err != nil || string(reply.Result) != `{"ok":true}` {
				t.Errorf("%s, %v", reply.Result, err)
			}
			c.Close()
		})
	})
}

func TestWhatIsNoMessageIsDroppedAndEndsOnlyTheCallThatItAnswers(t *testing.T) {
	s := serve(t, true, func(s *server, m *mcp.Message) {
		switch m.Name {
		case "garbage":
			for range 50 {
				s.say("Server listening on stdio")
			}
			s.say(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{"a":1,"a":2}}`)
		case "wrong":
			s.say(`[{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{}}]`)
			s.say(`{"jsonrpc":"2.0","id":"` + string(m.ID) + `","result":{}}`)
			s.say(`{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}`)
			s.result(m, `{"right":true}`)
		}
	})
	c := s.open(duplex.Config{})
	if _, err := c.Call(t.Context(), call(`{"name":"garbage"}`)); !fault.Is(err, faultv1.Reason_REASON_UPSTREAM) || !strings.Contains(err.Error(), "outside the protocol") {
		t.Errorf("%v", err)
	}
	if reply, err := c.Call(t.Context(), call(`{"name":"wrong"}`)); err != nil || string(reply.Result) != `{"right":true}` {
		t.Errorf("%s, %v", reply.Result, err)
	}
	if c.Strange() < 51 {
		t.Errorf("%d were counted", c.Strange())
	}
}

func TestTheEndIsToldToEveryoneWhoWaits(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		s := serve(t, modern, nil)
		s.says = `{"tools":{},"resources":{"listChanged":true}}`
		c := s.open(duplex.Config{})
		failed := make(chan error, 2)
		go func() {
			_, err := c.Call(t.Context(), call(`{"name":"a"}`))
			failed <- err
		}()
		go func() {
			failed <- c.Listen(t.Context(), guard.Listening{Server: &guard.Server{}, Lists: true, Notify: func([]byte) error { return nil }}, time.Second)
		}()
		eventually(t, "both wait", func() bool {
			return len(s.heard(mcp.MethodToolsCall)) == 1 && (!modern || len(s.heard(mcp.MethodListen)) == 1)
		})
		s.Close()
		for range 2 {
			if err := <-failed; !errors.Is(err, duplex.ErrHungUp) || !fault.Is(err, faultv1.Reason_REASON_UPSTREAM) {
				t.Errorf("%v", err)
			}
		}
		<-c.Done()
		if _, err := c.Call(t.Context(), call(`{"name":"a"}`)); !errors.Is(err, duplex.ErrHungUp) || !c.Over() {
			t.Errorf("%v", err)
		}
	})
}

func TestDefinitionsAreReadPageByPage(t *testing.T) {
	pages := map[string]string{
		"":      `{"tools":[{"name":"a","inputSchema":{"type":"object"}}],"nextCursor":""}`,
		`""`:    `{"tools":[{"name":"b","inputSchema":{"type":"object"}}],"nextCursor":"\"x"}`,
		`"\"x"`: `{"tools":[]}`,
	}
	s := serve(t, true, func(s *server, m *mcp.Message) { s.result(m, pages[string(mcp.Get(m.Params, "cursor"))]) })
	tools, err := s.open(duplex.Config{}).Definitions(t.Context(), nil, time.Second)
	if err != nil || len(tools) != 2 || tools[0].Name != "a" || tools[1].Name != "b" {
		t.Errorf("%v, %v", tools, err)
	}
	for name, page := range map[string]string{
		"twice": `{"tools":[{"name":"a"}],"nextCursor":"x"}`, "asks": `{"resultType":"input_required"}`, "nonsense": `{"tools":3}`,
	} {
		s := serve(t, true, func(s *server, m *mcp.Message) { s.result(m, page) })
		if _, err := s.open(duplex.Config{}).Definitions(t.Context(), nil, time.Second); !fault.Is(err, faultv1.Reason_REASON_UPSTREAM) {
			t.Errorf("%s: %v", name, err)
		}
	}
	silent := serve(t, true, nil)
	silent.says = `{"prompts":{}}`
	if tools, err := silent.open(duplex.Config{}).Definitions(t.Context(), nil, time.Second); err != nil || len(tools) != 0 || len(silent.heard(mcp.MethodToolsList)) != 0 {
		t.Errorf("%v, %v", tools, err)
	}
}
