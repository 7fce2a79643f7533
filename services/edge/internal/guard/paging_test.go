package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"headgate.dev/libs/mcp"
	"headgate.dev/libs/secret"
	"headgate.dev/services/edge/internal/keyed"
)

// shops is a guard over servers with lists of many pages.
type shops struct {
	shelf
	wire

	guard   *Guard
	records *watched
	who     *Caller
	servers []*Server
	// answers is what a server answers for a cursor, raw, empty at the beginning.
	answers map[string]func(ctx context.Context, cursor string) (string, error)

	mu    sync.Mutex
	asked []string
}

func newShops(t *testing.T) *shops {
	keys, err := keyed.New(secret.New(strings.Repeat("5a", 32)))
	if err != nil {
		t.Fatal(err)
	}
	s := &shops{who: &Caller{Tenant: "acme", Person: "ana"}, records: &watched{}, answers: map[string]func(context.Context, string) (string, error){}}
	s.guard = New(Stages{
		Admitter: shopDoor{of: s}, Replicas: fresh{}, Catalogue: s, Decider: judge{s.records}, Lender: purse{}, Journal: recorder{s.records}, Upstream: s, Inspector: glass{}, Sessions: noSessions{},
		Keys: keys, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	return s
}

// shopDoor lets in whom the shops say.
type shopDoor struct {
	door
	of *shops
}

func (d shopDoor) Admit(*Inbound) (*Caller, error) { return d.of.who, nil }

func (s *shops) Servers(context.Context, *Caller, string) ([]*Server, error) { return s.servers, nil }
func (s *shops) Still(context.Context, *Caller, *Tool) error                 { return nil }
func (s *shops) Method(_ context.Context, _ *Caller, server, method string) (*Tool, error) {
	at := slices.IndexFunc(s.servers, func(one *Server) bool { return one.Name == server })
	return &Tool{Server: s.servers[at], Name: method, Arguments: anything{}}, nil
}

func (*shops) Known(*Server) (About, bool) { return About{}, false }

func (s *shops) About(context.Context, *Server, *Lease) (About, error) {
	return About{Legacy: true, Capabilities: json.RawMessage(`{"prompts":{},"resources":{}}`)}, nil
}

func (s *shops) Forward(ctx context.Context, ex Exchange) (Reply, error) {
	cursor := string(mcp.Get(ex.Params, "cursor"))
	s.mu.Lock()
	s.asked = append(s.asked, ex.Server.Name+cursor)
	s.mu.Unlock()
	result, err := s.answers[ex.Server.Name](ctx, cursor)
	return Reply{Result: json.RawMessage(result)}, err
}

// opens adds a server, in the order of the servers' names.
func (s *shops) opens(name string, answers func(ctx context.Context, cursor string) (string, error)) {
	s.servers = append(s.servers, &Server{Tenant: "acme", Name: name, URL: "http://" + name + ".example/mcp", Delay: &Delay{}})
	s.answers[name] = answers
}

// pages lists one prompt on each of some pages, after some time.
func pages(n int, after time.Duration) func(context.Context, string) (string, error) {
	return func(_ context.Context, cursor string) (string, error) {
		time.Sleep(after)
		at := 0
		if cursor != "" {
			at, _ = strconv.Atoi(strings.Trim(cursor, `"`))
		}
		if at++; at < n {
			return fmt.Sprintf(`{"prompts":[{"name":"p%d"}],"nextCursor":"%d"}`, at, at), nil
		}
		return fmt.Sprintf(`{"prompts":[{"name":"p%d"}]}`, at), nil
	}
}

// turn asks for one page. An error is "code message".
func (s *shops) turn(t *testing.T, method, cursor string) (names []string, next, missing, failure string) {
	t.Helper()
	params := "{}"
	if cursor != "" {
		params = `{"cursor":` + cursor + `}`
	}
	in := &Inbound{Verb: http.MethodPost, Endpoint: "/mcp", Body: []byte(`{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`), Accept: "application/json", Headers: Headers{}}
	answer := s.guard.Call(t.Context(), in)
	message := answer.Message()
	result := mcp.Get(message, "result")
	if result == nil {
		text, _ := mcp.Text(message, "error", "message")
		return nil, "", "", string(mcp.Get(message, "error", "code")) + " " + text
	}
	for _, one := range mcp.Elements(mcp.Get(result, "prompts")) {
		name, _ := mcp.Text(one, "name")
		names = append(names, name)
	}
	return names, string(mcp.Get(result, "nextCursor")), string(mcp.Get(result, "_meta", mcp.MetaUnavailable)), ""
}

// walk reads a list to its end.
func (s *shops) walk(t *testing.T) (pages [][]string) {
	t.Helper()
	for cursor := ""; ; {
		names, next, missing, failure := s.turn(t, mcp.MethodPromptsList, cursor)
		if failure != "" || missing != "" {
			t.Fatalf("page %d: %s, missing %s", len(pages), failure, missing)
		}
		if pages = append(pages, names); next == "" {
			return pages
		}
		cursor = next
	}
}

// TestTheListOfAllHasThePagesOfItsServers: also those of one with hundreds, and of one that takes a second for each, in the same order each time, each asked
// for once and recorded as one list.
func TestTheListOfAllHasThePagesOfItsServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShops(t)
		defer s.guard.patience.close()
		for name, n := range map[string]int{"long": 300, "once": 1, "slow": 5} {
			s.opens(name, pages(n, map[string]time.Duration{"slow": time.Second}[name]))
		}
		slices.SortFunc(s.servers, func(a, b *Server) int { return strings.Compare(a.Name, b.Name) })
		for range 2 {
			s.asked, s.records.records = nil, nil
			all := s.walk(t)
			if len(all) != 300 || !slices.Equal(all[0], []string{"long.p1", "once.p1", "slow.p1"}) || !slices.Equal(all[4], []string{"long.p5", "slow.p5"}) || !slices.Equal(all[299], []string{"long.p300"}) {
				t.Errorf("%d pages: %v, %v", len(all), all[0], all[len(all)-1])
			}
			if len(s.asked) != 306 {
				t.Errorf("the servers were asked %d times", len(s.asked))
			}
			if len(s.records.records) != 600 { // of each page its beginning and its end
				t.Errorf("%d records", len(s.records.records))
			}
		}
	})
}

// TestACursorIsGoodForItsCallerAndItsListAlone, and no server is asked for one that is not.
func TestACursorIsGoodForItsCallerAndItsListAlone(t *testing.T) {
	s := newShops(t)
	s.opens("a", pages(3, 0))
	_, cursor, _, _ := s.turn(t, mcp.MethodPromptsList, "")
	ana := s.who
	middle := len(cursor) / 2
	other := byte('A')
	if cursor[middle] == other {
		other = 'B'
	}
	before := len(s.asked)
	for name, one := range map[string]struct {
		who            *Caller
		method, cursor string
	}{
		"another person": {&Caller{Tenant: "acme", Person: "bob"}, mcp.MethodPromptsList, cursor}, "another tenant": {&Caller{Tenant: "other", Person: "ana"}, mcp.MethodPromptsList, cursor},
		"another agent": {&Caller{Tenant: "acme", Person: "ana", Agent: "bot"}, mcp.MethodPromptsList, cursor}, "another list": {ana, mcp.MethodResourcesList, cursor},
		"changed": {ana, mcp.MethodPromptsList, cursor[:middle] + string(other) + cursor[middle+1:]}, "shorter": {ana, mcp.MethodPromptsList, cursor[:middle] + `"`},
		"a server's": {ana, mcp.MethodPromptsList, `"1"`},
		"huge":       {ana, mcp.MethodPromptsList, `"` + strings.Repeat("A", 3*maxCursors) + `"`},
	} {
		s.who = one.who
		if _, _, _, failure := s.turn(t, one.method, one.cursor); !strings.HasPrefix(failure, "-32602 ") || !strings.HasSuffix(failure, "Ask again without a cursor.") {
			t.Errorf("%s: %q", name, failure)
		}
	}
	if len(s.asked) != before {
		t.Errorf("asked %v", s.asked[before:])
	}
	s.who = ana
	for range 2 { // a page that was lost on the way can be asked for again
		if names, _, _, failure := s.turn(t, mcp.MethodPromptsList, cursor); !slices.Equal(names, []string{"a.p2"}) {
			t.Errorf("%v %s", names, failure)
		}
	}
}

// TestWhatAPageCannotHaveIsNamedAndTheRestGoesOn, whatever is wrong with one server, and from then on the others go on without it.
func TestWhatAPageCannotHaveIsNamedAndTheRestGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		answers func(context.Context, string) (string, error)
		shown   int // how many pages of it are shown
	}{
		"fails": {func(ctx context.Context, cursor string) (string, error) {
			if cursor == `"2"` {
				return "", errors.New("down")
			}
			return pages(5, 0)(ctx, cursor)
		}, 2},
		"circle": {func(_ context.Context, cursor string) (string, error) {
			next := map[string]string{"": "x", `"x"`: "y", `"y"`: "z", `"z"`: "x"}[cursor]
			return `{"prompts":[{"name":"p"}],"nextCursor":"` + next + `"}`, nil
		}, 7},
		"same": {func(context.Context, string) (string, error) {
			return `{"prompts":[{"name":"p"}],"nextCursor":""}`, nil
		}, 2},
		"long cursor": {func(context.Context, string) (string, error) {
			return `{"prompts":[{"name":"p"}],"nextCursor":"` + strings.Repeat("c", maxCursor) + `"}`, nil
		}, 1},
		"long page": {func(context.Context, string) (string, error) {
			return `{"prompts":[{"name":"p","description":"` + strings.Repeat("d", maxListed) + `"}],"nextCursor":"c"}`, nil
		}, 0},
		"many things": {func(context.Context, string) (string, error) {
			return `{"prompts":[{"name":"p"}` + strings.Repeat(`,{"name":"p"}`, maxItems) + `],"nextCursor":"c"}`, nil
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShops(t)
			s.opens("good", pages(10, 0))
			s.opens("odd", c.answers)
			named, shown, own := 0, 0, 0
			for cursor := ""; ; {
				names, next, missing, failure := s.turn(t, mcp.MethodPromptsList, cursor)
				if failure != "" || missing != "" && missing != `["odd"]` {
					t.Fatalf("%s, missing %s", failure, missing)
				}
				if missing != "" {
					named++
				}
				for _, one := range names {
					if strings.HasPrefix(one, "odd.") {
						shown++
					} else {
						own++
					}
				}
				if cursor = next; next == "" {
					break
				}
			}
			if named != 1 || shown != c.shown || own != 10 {
				t.Errorf("it was named %d times, %d of it shown, %d of the other", named, shown, own)
			}
		})
	}
}

// TestAServerThatIsGoneBetweenPagesIsLeftOut, and one that has its name by now is not sent its cursor.
func TestAServerThatIsGoneBetweenPagesIsLeftOut(t *testing.T) {
	s := newShops(t)
	for _, name := range []string{"a", "b", "c"} {
		s.opens(name, pages(3, 0))
	}
	_, cursor, _, _ := s.turn(t, mcp.MethodPromptsList, "")
	moved := *s.servers[2]
	moved.URL = "http://elsewhere.example/mcp"
	s.servers, s.asked = []*Server{s.servers[1], &moved}, nil
	names, next, missing, failure := s.turn(t, mcp.MethodPromptsList, cursor)
	if !slices.Equal(names, []string{"b.p2"}) || missing != `["c"]` || next == "" || !slices.Equal(s.asked, []string{`b"1"`}) {
		t.Errorf("%v, missing %s, %s, asked %v", names, missing, failure, s.asked)
	}
	s.servers = nil
	if names, next, missing, failure := s.turn(t, mcp.MethodPromptsList, cursor); len(names) != 0 || next != "" || missing != "" || failure != "" {
		t.Errorf("%v, next %s, missing %s, %s", names, next, missing, failure)
	}
}

// TestWhatHasNoRoomOnAPageComesWithTheNext: pages that are not too long each, and together are.
func TestWhatHasNoRoomOnAPageComesWithTheNext(t *testing.T) {
	s := newShops(t)
	page := `{"prompts":[{"name":"p","description":"` + strings.Repeat("d", maxListed-100) + `"}]}`
	const servers = 6
	for i := range servers {
		s.opens(fmt.Sprint("s", i), func(context.Context, string) (string, error) { return page, nil })
	}
	all := s.walk(t)
	flat := slices.Concat(all...)
	slices.Sort(flat)
	if len(all) != 2 || !slices.Equal(flat, []string{"s0.p", "s1.p", "s2.p", "s3.p", "s4.p", "s5.p"}) {
		t.Errorf("%v", all)
	}
}

// TestCursorsTogetherAreBounded: of more servers than a cursor can hold, those that it does not hold are named.
func TestCursorsTogetherAreBounded(t *testing.T) {
	s := newShops(t)
	const servers = 100
	for i := range servers {
		s.opens(fmt.Sprintf("s%03d", i), func(context.Context, string) (string, error) {
			return `{"prompts":[],"nextCursor":"` + strings.Repeat("c", maxCursor-2) + `"}`, nil
		})
	}
	_, next, missing, _ := s.turn(t, mcp.MethodPromptsList, "")
	left := len(mcp.Elements([]byte(missing)))
	if left == 0 || left == servers || len(next) > 2*maxCursors {
		t.Fatalf("%d are left out, %d bytes", left, len(next))
	}
	s.asked = nil
	if s.turn(t, mcp.MethodPromptsList, next); len(s.asked) != servers-left {
		t.Errorf("%d were asked, %d of %d had been left out", len(s.asked), left, servers)
	}
}
