package duplex_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/duplex"
)

// scripted is a server that the test plays itself, also in the handshake.
type scripted struct {
	*server
	script func(s *server, m *mcp.Message)
}

func (s scripted) Send(ctx ctx, m duplex.Message) error {
	read, err := mcp.Read(m.Body, mcp.DefaultLimits())
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.got = append(s.got, read)
	s.mu.Unlock()
	s.script(s.server, read)
	return nil
}

const (
	discovered  = `{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"resultType":"complete"}`
	initialized = `{"protocolVersion":"2024-11-05","capabilities":{"tools":{}},"serverInfo":{"name":"s","version":"1"}}`
)

func TestTheEraIsFoundWhateverAnOlderServerAnswers(t *testing.T) {
	answers := func(discover string, initialize string) func(*server, *mcp.Message) {
		return func(s *server, m *mcp.Message) {
			said := map[string]string{mcp.MethodDiscover: discover, mcp.MethodInitialize: initialize}[m.Method]
			if said != "" {
				s.say(strings.ReplaceAll(said, "ID", string(m.ID)))
			}
		}
	}
	result := func(raw string) string { return `{"jsonrpc":"2.0","id":ID,"result":` + raw + `}` }
	failure := func(raw string) string { return `{"jsonrpc":"2.0","id":ID,"error":` + raw + `}` }
	for name, one := range map[string]struct {
		script func(*server, *mcp.Message)
		era    duplex.Era
		says   string // of the error, when there is none that it speaks
	}{
		"a modern server":                 {answers(result(discovered), ""), duplex.Modern, ""},
		"method not found":                {answers(failure(`{"code":-32601,"message":"no"}`), result(initialized)), duplex.Legacy, ""},
		"invalid params":                  {answers(failure(`{"code":-32602,"message":"no"}`), result(initialized)), duplex.Legacy, ""},
		"an error of its own":             {answers(failure(`{"code":0,"message":"not initialized"}`), result(initialized)), duplex.Legacy, ""},
		"an answer that is no discovery":  {answers(result(`{}`), result(initialized)), duplex.Legacy, ""},
		"an answer that cannot be read":   {answers(`{"jsonrpc":"2.0","id":ID,"result":[]}`, result(initialized)), duplex.Legacy, ""},
		"noise":                           {answers("Listening...", result(initialized)), duplex.Legacy, ""},
		"silence":                         {answers("", result(initialized)), duplex.Legacy, ""},
		"a discovery of older revisions":  {answers(result(`{"supportedVersions":["2025-06-18"]}`), result(initialized)), duplex.Legacy, ""},
		"a refusal that names older ones": {answers(failure(`{"code":-32022,"message":"no","data":{"supported":["2025-11-25"]}}`), result(initialized)), duplex.Legacy, ""},
		"a refusal that names only newer": {answers(failure(`{"code":-32022,"message":"no","data":{"supported":["2031-01-01"]}}`), result(initialized)), 0, "none of the revisions"},
		"a discovery of newer ones":       {answers(result(`{"supportedVersions":["2031-01-01"]}`), ""), 0, "none of the revisions"},
		"no to everything":                {answers(failure(`{"code":-32601,"message":"no"}`), failure(`{"code":-32601,"message":"no"}`)), 0, "refused to initialize"},
		"a revision that nobody knows":    {answers("", result(`{"protocolVersion":"1999-01-01"}`)), 0, "not spoken here"},
		"silence about everything":        {answers("", ""), 0, "did not answer in time"},
		"an end":                          {func(s *server, _ *mcp.Message) { s.Close() }, 0, "ended before its answer came"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scripted{serve(t, false, nil), one.script}
				ctx, cancel := timeout(t, 20*time.Second)
				defer cancel()
				c, err := duplex.Open(ctx, s, duplex.Config{Server: "files"}, nil)
				if err != nil {
					if one.says == "" || !strings.Contains(err.Error(), one.says) {
						t.Errorf("%v", err)
					}
					if name == "an end" && !errors.Is(err, duplex.ErrHungUp) {
						t.Errorf("%v is not the end", err)
					}
					return
				}
				defer c.Close()
				if c.Era() != one.era || one.says != "" {
					t.Errorf("era %v", c.Era())
				}
				if ended := len(s.heard(mcp.MethodInitialized)); (ended == 1) != (one.era == duplex.Legacy) {
					t.Errorf("initialized was said %d times", ended)
				}
			})
		})
	}
}

func TestASlowServerIsAskedBothWaysAndTheFirstYesCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := scripted{serve(t, true, nil), nil}
		s.script = func(s *server, m *mcp.Message) {
			switch m.Method {
			case mcp.MethodDiscover:
				time.AfterFunc(30*time.Second, func() { s.result(m, discovered) })
			case mcp.MethodInitialize:
				time.AfterFunc(20*time.Second, func() { s.say(string(mcp.ErrorReply(m.ID, -32601, "no", nil))) })
			}
		}
		ctx, cancel := timeout(t, time.Minute)
		defer cancel()
		c, err := duplex.Open(ctx, s, duplex.Config{Server: "files"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if c.Era() != duplex.Modern || len(s.heard(mcp.MethodInitialize)) != 1 {
			t.Errorf("era %v", c.Era())
		}
	})
}

func TestAServerThatIsKnownToBeOlderIsNotAskedForItsEra(t *testing.T) {
	s := serve(t, false, nil)
	c := s.open(duplex.Config{Era: duplex.Legacy, Alone: true, Offer: json.RawMessage(`{"roots":{}}`)})
	if c.Era() != duplex.Legacy || len(s.heard(mcp.MethodDiscover)) != 0 {
		t.Errorf("era %v", c.Era())
	}
	if offer := mcp.Get(s.heard(mcp.MethodInitialize)[0].Params, "capabilities"); string(offer) != `{"roots":{}}` {
		t.Errorf("offered %s", offer)
	}
}

func TestWhatAServerSaysOfItself(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		about, err := serve(t, modern, nil).open(duplex.Config{}).About(t.Context(), nil, time.Second)
		if err != nil || about.Modern != modern || !about.Legacy || string(about.Capabilities) != `{"tools":{}}` || len(about.Versions) == 0 {
			t.Errorf("%+v, %v", about, err)
		}
		if modern && (about.Instructions != "be kind" || about.Versions[0] != mcp.V20260728) || !modern && string(about.Info) != `{"name":"s","version":"1"}` {
			t.Errorf("%+v", about)
		}
	})
}
