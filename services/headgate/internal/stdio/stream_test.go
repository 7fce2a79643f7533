package stdio_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headgate.dev/services/headgate/internal/stdio"
)

func TestAStreamOfASessionIsTakenUpBehindItsLastEvent(t *testing.T) {
	var gets atomic.Int32
	var firstAt, againAt atomic.Int64
	g := open(t, legacy("s-1", func(w http.ResponseWriter, r request) {
		switch {
		case r.Method == "long":
			say := stream(w)
			say("id: long-1\nretry: 60\ndata:\n\n")
			say("id: long-2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":1}}\n\n")
			say("id: long-3\nda") // cut off: it was not received
			firstAt.Store(time.Now().UnixNano())
		case r.Verb == http.MethodGet && r.Header.Get("Last-Event-ID") == "long-2":
			switch gets.Add(1) {
			case 1:
				againAt.Store(time.Now().UnixNano())
				w.WriteHeader(http.StatusBadGateway)
			case 2:
				stream(w)("id: long-4\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progress\":2}}\n\n")
			default:
				t.Error("the stream was taken up at a place that was read already")
			}
		case r.Verb == http.MethodGet && r.Header.Get("Last-Event-ID") == "long-4":
			stream(w)("id: long-5\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n")
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}))
	w := dial(t, stdio.Config{Endpoint: g.URL, Reconnect: time.Millisecond})
	w.greet()
	w.send(`{"jsonrpc":"2.0","id":1,"method":"long"}`)
	w.want(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}`)
	w.want(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":2}}`)
	w.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	if waited := time.Duration(againAt.Load() - firstAt.Load()); waited < 50*time.Millisecond {
		t.Errorf("came back after %s, the server asked for 60 ms", waited)
	}
	for _, r := range g.all(http.MethodGet) {
		if r.Header.Get("Mcp-Session-Id") != "s-1" || r.Header.Get("Mcp-Protocol-Version") != "2025-11-25" || r.Header.Get("Accept") != "text/event-stream" {
			t.Errorf("taken up with %v", r.Header)
		}
	}
	if n := len(g.all("long")); n != 1 {
		t.Errorf("the call was sent %d times", n)
	}
}

func TestAStreamThatCannotBeTakenUpIsAnError(t *testing.T) {
	for name, first := range map[string]string{"no event has an id": "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n", "the server refuses": "id: 1\ndata:\n\n"} {
		t.Run(name, func(t *testing.T) {
			g := open(t, legacy("s-1", func(w http.ResponseWriter, r request) {
				if r.Method == "x" {
					stream(w)(first)
					return
				}
				w.WriteHeader(http.StatusMethodNotAllowed)
			}))
			w := dial(t, stdio.Config{Endpoint: g.URL, Reconnect: time.Millisecond})
			w.greet()
			w.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
			if strings.Contains(first, "notifications") {
				w.want(`{"jsonrpc":"2.0","method":"notifications/x"}`)
			}
			w.refused("1", -32603, "Look whether the call took effect")
		})
	}
}

func TestAStreamThatCannotBeReachedAgainIsGivenUp(t *testing.T) {
	g := open(t, legacy("s-1", func(w http.ResponseWriter, r request) {
		switch {
		case r.Method == "x":
			stream(w)("id: x-1\ndata:\n\n")
		case r.Header.Get("Last-Event-ID") == "x-1":
			w.WriteHeader(http.StatusBadGateway)
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}))
	w := dial(t, stdio.Config{Endpoint: g.URL, Reconnect: time.Microsecond})
	w.greet()
	w.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	w.refused("1", -32603, "HTTP 502", "took effect")
}

func TestAnErrorThatNamesNoRequestIsOfTheStreamThatItCameOn(t *testing.T) {
	const nameless = `{"jsonrpc":"2.0","error":{"code":-32000,"message":"No."}}`
	g := open(t, legacy("s-1", func(w http.ResponseWriter, r request) {
		switch {
		case r.Verb == http.MethodGet:
			stream(w)("data: " + nameless + "\n\n")
			<-r.Gone.Done()
		case r.Method == "tools/call":
			result(w, r, `{}`)
		default:
			stream(w)("data: " + nameless + "\n\n")
		}
	}))
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.greet()
	w.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	w.want(`{"jsonrpc":"2.0","error":{"code":-32000,"message":"No."},"id":1}`)
	w.send(modern("2", "tools/call", `"name":"a"`)) // the list of tools that is asked for first is refused in this way
	w.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
	eventually(t, "the one on the server's own stream is dropped", func() bool { return strings.Contains(w.log.String(), "names no request") })
	w.silent()
}

func TestAModernStreamIsNotTakenUp(t *testing.T) {
	g := open(t, func(w http.ResponseWriter, _ request) { stream(w)("id: 1\ndata:\n\n") })
	w := dial(t, stdio.Config{Endpoint: g.URL, Reconnect: time.Millisecond})
	w.send(modern("1", "x", ""))
	w.refused("1", -32603, "Look whether the call took effect")
	if n := len(g.all(http.MethodGet)); n != 0 {
		t.Errorf("%d times GET", n)
	}
}

func TestTheServersOwnStreamIsOpenedAgainBehindItsLastEvent(t *testing.T) {
	var n atomic.Int32
	g := open(t, legacy("s-1", func(w http.ResponseWriter, r request) {
		if r.Verb != http.MethodGet {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		switch i := n.Add(1); i {
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 5:
			say := stream(w)
			say("data: not a message\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\",\"params\":{\"n\":5}}\n\n")
			<-r.Gone.Done()
		default:
			stream(w)("id: e-%d\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\",\"params\":{\"n\":%d}}\n\n", i, i)
		}
	}))
	w := dial(t, stdio.Config{Endpoint: g.URL, Reconnect: time.Millisecond})
	w.greet()
	for _, i := range []int{1, 3, 4, 5} {
		w.want(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/x","params":{"n":%d}}`, i))
	}
	var from []string
	for _, r := range g.all(http.MethodGet) {
		from = append(from, r.Header.Get("Last-Event-ID"))
	}
	if !slices.Equal(from, []string{"", "e-1", "e-1", "e-3", "e-4"}) {
		t.Errorf("opened behind %q", from)
	}
}

func TestAnAnswerOnTheServersOwnStreamIsTakenOnce(t *testing.T) {
	release := make(chan struct{})
	asked := make(chan request, 1)
	g := open(t, legacy("s-1", func(w http.ResponseWriter, r request) {
		switch {
		case r.Verb == http.MethodGet:
			say := stream(w)
			say("data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"from\":\"GET\"}}\n\n", (<-asked).ID)
			<-r.Gone.Done()
		case r.Method == "x":
			asked <- r
			<-release
			result(w, r, `{"from":"POST"}`)
		}
	}))
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.greet()
	w.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
	w.want(`{"jsonrpc":"2.0","id":1,"result":{"from":"GET"}}`)
	close(release)
	w.silent()
}

func TestAStreamThatStaysOpenBehindItsAnswerIsLetGo(t *testing.T) {
	var gone atomic.Int32
	g := open(t, func(w http.ResponseWriter, r request) {
		stream(w)("data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{}}\n\n", r.ID)
		<-r.Gone.Done()
		gone.Add(1)
	})
	w := dial(t, stdio.Config{Endpoint: g.URL, Parallel: 1})
	for i := range 3 { // one at a time: each needs that the one before let go
		w.send(modern(fmt.Sprint(i), "x", ""))
		w.want(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, i))
	}
	eventually(t, "all streams are closed", func() bool { return gone.Load() == 3 })
}

func TestCancellingAModernRequestClosesItsStream(t *testing.T) {
	begun, gone := make(chan string, 2), make(chan string, 2)
	g := open(t, func(w http.ResponseWriter, r request) {
		if r.Method == "subscriptions/listen" {
			stream(w)("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\"}\n\n")
		}
		begun <- r.Method
		<-r.Gone.Done()
		gone <- r.Method
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	for id, method := range map[string]string{`"a\u0031"`: "tools/list", `2`: "subscriptions/listen"} {
		w.send(modern(id, method, ""))
		if method == "subscriptions/listen" {
			w.want(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged"}`)
		}
		<-begun
		w.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":` + strings.ReplaceAll(id, `\u0031`, `1`) + `,"reason":"enough"}}`)
		if got := <-gone; got != method {
			t.Errorf("%s was cancelled, not %s", got, method)
		}
	}
	w.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}`, `{"jsonrpc":"2.0","method":"notifications/cancelled"}`) // too late, and of nothing
	w.silent()
	if sent := g.all("notifications/cancelled"); len(sent) != 0 {
		t.Errorf("on HTTP the closed stream says it; sent was %v", sent)
	}
}

func TestCancellingInASessionIsANotificationBehindTheRequest(t *testing.T) {
	const rounds = 50
	var cancelled [rounds]chan struct{} // closed when a request is cancelled
	for i := range cancelled {
		cancelled[i] = make(chan struct{})
	}
	g := open(t, legacy("s-1", func(w http.ResponseWriter, r request) {
		var of struct{ RequestID int }
		switch r.Method {
		case "slow":
			if err := json.Unmarshal(r.ID, &of.RequestID); err != nil {
				t.Error(err)
			}
			select {
			case <-cancelled[of.RequestID]:
				reply(w, http.StatusOK, `{"jsonrpc":"2.0","id":`+string(r.ID)+`,"error":{"code":-32000,"message":"Cancelled."}}`)
			case <-r.Gone.Done():
			}
		case "notifications/cancelled":
			if err := json.Unmarshal(r.Params, &of); err != nil {
				t.Error(err)
			}
			close(cancelled[of.RequestID])
			w.WriteHeader(http.StatusAccepted)
		default:
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	}))
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.greet()
	for i := range rounds {
		w.send(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"slow"}`, i),
			fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d,"reason":"enough"}}`, i))
	}
	w.send(`{"jsonrpc":"2.0","id":"last","method":"ping"}`)
	answered := 0
	for line := w.next(); line != `{"jsonrpc":"2.0","id":"last","result":{}}`; line = w.next() {
		answered++
	}
	told := g.all("notifications/cancelled") // a request that was not sent yet needs none
	for ; answered < len(told); answered++ {
		if line := w.next(); !strings.Contains(line, `"Cancelled."`) {
			t.Errorf("answered %s", line)
		}
	}
	w.silent()
	if n := len(g.all("slow")); n != len(told) {
		t.Errorf("%d cancellations for %d requests", len(told), n)
	}
}

func TestACancelledRequestThatTheServerNeverAnswersIsLetGo(t *testing.T) {
	begun, gone := make(chan struct{}), make(chan struct{})
	g := open(t, legacy("s-1", func(w http.ResponseWriter, r request) {
		if r.Method != "slow" {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		stream(w)(": nothing yet\n\n")
		close(begun)
		<-r.Gone.Done()
		close(gone)
	}))
	w := dial(t, stdio.Config{Endpoint: g.URL, Grace: 20 * time.Millisecond})
	w.greet()
	w.send(`{"jsonrpc":"2.0","id":1,"method":"slow"}`)
	<-begun
	w.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	<-gone
	w.silent()
}

func TestASubscriptionThatTheServerTearsDownIsNotAnswered(t *testing.T) {
	g := open(t, func(w http.ResponseWriter, _ request) {
		stream(w)("data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":1}}\n\n")
	})
	w := dial(t, stdio.Config{Endpoint: g.URL})
	w.send(modern("1", "subscriptions/listen", ""))
	w.want(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	w.silent()
}
