package edge_test

import (
	"bytes"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge"
)

// TestT22AServerThatBehavesBadlyCostsNobodyElse lets eight calls at once meet each kind of badness, while another server is called all the time.
func TestT22AServerThatBehavesBadlyCostsNobodyElse(t *testing.T) {
	const atOnce, limit, room = 8, 400 * time.Millisecond, 128 << 20 // each call keeps 8 MiB at most, in a buffer that doubles
	late, large, upstream := faultv1.Reason_REASON_UPSTREAM_TIMEOUT, faultv1.Reason_REASON_INSPECTION, faultv1.Reason_REASON_UPSTREAM
	cases := []struct {
		name   string
		reason faultv1.Reason
		answer func(c *turn)
	}{
		{"100 MB, announced", large, func(c *turn) {
			c.w.Header().Set("Content-Length", fmt.Sprint(100<<20))
			c.w.Header().Set("Content-Type", "application/json")
			c.forever(strings.Repeat("x", 64<<10))
		}},
		{"100 MB, unannounced", large, func(c *turn) {
			c.w.Header().Set("Content-Type", "application/json")
			c.forever(strings.Repeat(" ", 64<<10))
		}},
		{"an event without an end", large, func(c *turn) {
			c.w.Header().Set("Content-Type", "text/event-stream")
			c.forever("data: " + strings.Repeat("x", 64<<10) + "\n")
		}},
		{"events without an end", late, func(c *turn) {
			c.w.Header().Set("Content-Type", "text/event-stream")
			c.forever(`data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1}}` + "\n\n")
		}},
		{"comments without an end", late, func(c *turn) {
			c.w.Header().Set("Content-Type", "text/event-stream")
			c.forever(": still there\n\n")
		}},
		{"byte by byte", late, func(c *turn) {
			c.w.Header().Set("Content-Type", "application/json")
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for _, b := range mcp.Result(c.m.ID, textResult(strings.Repeat("x", 1000), "}")) {
				_, _ = c.w.Write([]byte{b})
				c.w.(http.Flusher).Flush()
				select {
				case <-tick.C:
				case <-c.r.Context().Done():
					return
				}
			}
		}},
		{"huge headers", upstream, func(c *turn) {
			for i := range 64 {
				c.w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 16<<10))
			}
			c.result(`{"content":[]}`)
		}},
		{"compressed", upstream, func(c *turn) {
			c.w.Header().Set("Content-Encoding", "gzip")
			_, _ = c.w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0})
		}},
		{"never", late, func(c *turn) { <-c.r.Context().Done() }},
		{"closed in the middle", upstream, func(c *turn) {
			c.w.Header().Set("Content-Length", "1000")
			c.w.Header().Set("Content-Type", "application/json")
			_, _ = c.w.Write([]byte(`{"jsonrpc":"2.0",`))
			panic(http.ErrAbortHandler)
		}},
		{"longer than it says", upstream, func(c *turn) { c.bare("Content-Length: 10", mcp.Result(c.m.ID, textResult("x", "}"))) }},
		{"shorter than it says", upstream, func(c *turn) { c.bare("Content-Length: 5000", mcp.Result(c.m.ID, textResult("x", "}"))) }},
		{"no text", upstream, func(c *turn) {
			c.whole(bytes.Replace(mcp.Result(c.m.ID, textResult("good", "}")), []byte("good"), []byte("\xff\xfe"), 1))
		}},
		{"another id", upstream, func(c *turn) { c.whole(mcp.Result([]byte("4711"), textResult("x", "}"))) }},
		{"two answers", upstream, func(c *turn) {
			one := mcp.Result(c.m.ID, textResult("x", "}"))
			c.whole(append(one, one...))
		}},
	}
	for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
		s := newScript(t, revision)
		good := newUpstream(t, echoTool)
		w := scripted(t, s)
		w.server("acts", s.URL+"/mcp", s.tools, func(s *trustv1.ServerState) { s.Server.Spec.Timeout = limit.String() })
		w.server("echo", good.url(), []string{echoTool}, nil)
		w.grant("person/bob", "echo", "*", "call")
		h := start(t, w, func(c *edge.Config) { c.MaxResult = 1 << 20 })
		var calls []string
		for _, c := range cases {
			t.Run(c.name+" at "+revision, func(t *testing.T) {
				s.does("tools/call", c.answer)
				before, peak := heap(), uint64(0)
				var all sync.WaitGroup
				replies := make([]reply, atOnce)
				began := time.Now()
				for i := range replies {
					all.Go(func() { replies[i] = h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`).call("act", `{}`) })
				}
				over := make(chan struct{})
				go func() {
					all.Wait()
					close(over)
				}()
				bob := h.guest("bob", "/mcp/echo", mcp.V20260728, `{}`)
				for going := true; going; {
					from := time.Now()
					if r := bob.call("echo", `{"n":1}`); r.text() != `{"n":1}` || time.Since(from) > 2*time.Second {
						t.Errorf("meanwhile another server took %s: %s", time.Since(from), r.body)
					}
					peak = max(peak, heap())
					select {
					case <-over:
						going = false
					default:
					}
				}
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("it took %s", took)
				}
				if peak > before+room {
					t.Errorf("%d MiB", (peak-before)>>20)
				}
				t.Logf("peak %d KiB, took %s, said %s", (max(peak, before)-before)>>10, time.Since(began), replies[0].text())
				for _, r := range replies {
					calls = append(calls, r.id)
					ev := h.final(r.id)
					h.clear(r, ev)
					// On a slow machine, time can be over before there is too much.
					if why := ev.GetDecision().GetReason(); why != c.reason && (c.reason != large || why != late) {
						t.Errorf("recorded %v", ev.GetDecision())
					}
				}
			})
		}
		h.recordedOnce(calls)
	}
}

// clear holds a refusal to a sentence that says which server it was, what is wrong with it and what to do, the same for the caller as in the record.
func (h *harness) clear(r reply, final *eventsv1.Event) {
	h.t.Helper()
	full := false
	for _, one := range map[faultv1.Reason][][2]string{
		faultv1.Reason_REASON_UPSTREAM_TIMEOUT: {
			{"The server acts did not answer in time.", "look before you call again."}, {"The server acts is still starting.", "try again in a moment."},
			{"The server acts did not open a stream of events in time.", "Nothing was sent to it."},
		},
		faultv1.Reason_REASON_INSPECTION: {{"The server acts answered with more than 1048576 bytes", "Ask for less."}},
		faultv1.Reason_REASON_UPSTREAM: {
			{"The server acts answered outside the protocol: ", "Tell its owner."},
			{"The connection to the server acts ", "Look whether the call took effect before you call again."},
			// Calls at once with one that broke a connection or ended a program meet the next one as it begins.
			{"The connection to the server acts failed.", "try again."}, {"The server acts ended by itself", "tell its owner."},
			{"The server acts is not used any more as it was.", "Try again."},
		},
	}[final.GetDecision().GetReason()] {
		full = full || strings.HasPrefix(r.text(), one[0]) && strings.Contains(r.text(), one[1])
	}
	if !r.refused() || !full || final.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || final.GetDecision().GetSentence() != r.text() {
		h.t.Errorf("%d %s, recorded %v", r.status, r.body, final)
	}
}

// recordedOnce ends the edge, so that nothing more is written, and holds each call to one started and one final record.
func (h *harness) recordedOnce(calls []string) {
	h.t.Helper()
	h.end()
	eventually(h.t, 20*time.Second, "all that is written is here", func() bool {
		at := h.journal.Status()
		return at.Shipped == at.Written
	})
	for _, id := range calls {
		started, final, least := 0, 0, 0
		for _, ev := range h.all() {
			switch {
			case ev.GetRequest().GetId() != id:
			case ev.GetPhase() == eventsv1.Phase_PHASE_STARTED:
				started++
			case ev.GetPhase() == eventsv1.Phase_PHASE_FINAL:
				if final++; ev.GetDecision().GetStage() == "forward" || ev.GetDecision().GetStage() == "inspect" {
					least = 1 // what was refused before, because the server could not be looked at in time, has no start
				}
			}
		}
		if started < least || started > 1 || final != 1 {
			h.t.Errorf("call %s has %d records of its start and %d of its end", id, started, final)
		}
	}
}

// heap is what lives there.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// forever writes the same text until the client is gone.
func (c *turn) forever(text string) {
	for c.r.Context().Err() == nil {
		if _, err := c.w.Write([]byte(text)); err != nil {
			return
		}
		c.w.(http.Flusher).Flush()
	}
}

// bare answers on the bare connection, with one header more than the type, and closes it.
func (c *turn) bare(header string, body []byte) {
	conn, _, err := c.w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%s\r\n\r\n%s", header, body)
}
