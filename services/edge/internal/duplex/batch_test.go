package duplex_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/duplex"
	"headgate.dev/services/edge/internal/guard"
)

// batched are messages as one line.
func batched(messages ...[]byte) string {
	parts := make([]string, len(messages))
	for i, one := range messages {
		parts[i] = string(one)
	}
	return "[" + strings.Join(parts, " , ") + "]"
}

func TestBatchesOf20250326AreTakenApart(t *testing.T) {
	s := serve(t, false, nil)
	s.older = mcp.V20250326
	s.answer = func(s *server, m *mcp.Message) {
		log := mcp.Notice(mcp.MethodLog, json.RawMessage(`{"level":"info","data":"[said]"}`))
		progress := mcp.Notice(mcp.MethodProgress, json.RawMessage(`{"progress":1,"progressToken":`+string(mcp.Get(m.Params, "_meta", mcp.MetaProgressToken))+`}`))
		ask := mcp.NewRequest(json.RawMessage(`"q"`), mcp.MethodRoots, nil)
		switch {
		case m.Kind == mcp.Response && string(m.ID) == `"q"`:
			s.say(batched(mcp.Notice(mcp.MethodLog, json.RawMessage(`{"level":"info","data":"last"}`)), mcp.Result(json.RawMessage("7"), json.RawMessage("{}"))))
			s.result(s.heard(mcp.MethodToolsCall)[0], `{"ok":true}`)
		case m.Name == "asks":
			s.say(batched(progress, log, ask))
		case m.Name == "answers":
			s.say(batched(log, mcp.Result(m.ID, json.RawMessage(`{"ok":1}`))))
		}
	}
	c := s.open(duplex.Config{Alone: true, Offer: json.RawMessage(`{"roots":{}}`)})
	ex := call(`{"name":"asks","_meta":{"progressToken":"p"}}`)
	var told []string
	ex.Notify = func(notice []byte) error {
		method, _ := mcp.Text(notice, "method")
		told = append(told, method)
		return nil
	}
	ex.Ask = func(context.Context, *mcp.Reply) (guard.Reply, error) {
		return guard.Reply{Result: json.RawMessage(`{"roots":[]}`)}, nil
	}
	if reply, err := c.Call(t.Context(), ex); err != nil || string(reply.Result) != `{"ok":true}` {
		t.Errorf("%s, %v", reply.Result, err)
	}
	if want := []string{mcp.MethodProgress, mcp.MethodLog, mcp.MethodLog}; !slices.Equal(told, want) {
		t.Errorf("told %q", told)
	}
	ex.Params = json.RawMessage(`{"name":"answers"}`)
	if reply, err := c.Call(t.Context(), ex); err != nil || string(reply.Result) != `{"ok":1}` || len(told) != 4 {
		t.Errorf("%s, %v, told %q", reply.Result, err, told)
	}
	if c.Strange() != 0 {
		t.Errorf("%d messages could not be read", c.Strange())
	}
}

func TestABrokenPartOfABatchEndsOnlyTheCallThatItAnswers(t *testing.T) {
	s := serve(t, false, nil)
	s.older = mcp.V20250326
	arrived := make(chan *mcp.Message, 2)
	s.answer = func(_ *server, m *mcp.Message) { arrived <- m }
	c := s.open(duplex.Config{})
	type result struct {
		reply guard.Reply
		err   error
	}
	begin := func() (*mcp.Message, chan result) {
		done := make(chan result, 1)
		go func() {
			reply, err := c.Call(t.Context(), call(`{"name":"a"}`))
			done <- result{reply, err}
		}()
		for m := range arrived {
			if m.Method == mcp.MethodToolsCall {
				return m, done
			}
		}
		return nil, done
	}
	broken := func(m *mcp.Message) []byte { return []byte(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":[]}`) }
	one, first := begin()
	two, second := begin()
	s.say(batched(broken(one), mcp.Result(two.ID, json.RawMessage(`{"ok":2}`))))
	if got := <-first; !fault.Is(got.err, faultv1.Reason_REASON_UPSTREAM) || !strings.Contains(got.err.Error(), "outside the protocol") {
		t.Errorf("%v", got.err)
	}
	if got := <-second; got.err != nil || string(got.reply.Result) != `{"ok":2}` {
		t.Errorf("%s, %v", got.reply.Result, got.err)
	}
	three, third := begin()
	s.say(batched(mcp.Result(three.ID, json.RawMessage(`{}`))) + "x") // is no JSON
	if got := <-third; !fault.Is(got.err, faultv1.Reason_REASON_UPSTREAM) || !strings.Contains(got.err.Error(), "outside the protocol") {
		t.Errorf("%v", got.err)
	}
}
