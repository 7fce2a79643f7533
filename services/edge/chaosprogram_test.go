package edge_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
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

const chaosProgram = "chaos"

// chaos is a program of one revision that behaves as badly as the text of a call says, until it is told something more.
func chaos(revision string) {
	in := bufio.NewReader(os.Stdin)
	heard := make(chan struct{}, 64)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		select {
		case heard <- struct{}{}:
		default:
		}
		m, err := mcp.Read(line, mcp.DefaultLimits())
		if err != nil || m.Kind != mcp.Request {
			continue
		}
		switch {
		case m.Method == mcp.MethodDiscover && mcp.Modern(revision):
			fmt.Println(string(mcp.Result(m.ID, []byte(`{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"resultType":"complete"}`))))
		case m.Method == mcp.MethodInitialize && !mcp.Modern(revision):
			fmt.Println(string(mcp.Result(m.ID, []byte(`{"protocolVersion":"`+revision+`","capabilities":{"tools":{}},"serverInfo":{"name":"chaos","version":"1"}}`))))
		case m.Method == mcp.MethodToolsList:
			fmt.Println(string(mcp.Result(m.ID, []byte(`{"tools":[`+echoTool+`]}`))))
		case m.Method == mcp.MethodToolsCall:
			for len(heard) > 0 {
				<-heard
			}
			badness, _ := mcp.Text(m.Arguments, "text")
			go misbehave(badness, m, heard)
		default:
			fmt.Println(string(mcp.ErrorReply(m.ID, mcp.CodeMethodNotFound, "Method not found", nil)))
		}
	}
}

// misbehave answers one call; heard says that the program was told something since.
func misbehave(badness string, m *mcp.Message, heard <-chan struct{}) {
	answer := string(mcp.Result(m.ID, textResult("fine", "}")))
	forever := func(to io.Writer, text string) {
		for {
			select {
			case <-heard:
				return
			default:
				if _, err := io.WriteString(to, text); err != nil {
					return
				}
			}
		}
	}
	switch badness {
	case "never":
	case "byte by byte":
		tick := time.NewTicker(5 * time.Millisecond)
		for i := range len(answer) {
			fmt.Print(answer[i : i+1])
			for range 4 {
				<-tick.C
			}
		}
		fmt.Println()
	case "ends in the middle":
		fmt.Print(answer[:len(answer)/2])
		os.Exit(1)
	case "ends at once":
		os.Exit(0)
	case "closes its output":
		_ = os.Stdout.Close()
	case "a line without an end":
		forever(os.Stdout, strings.Repeat("x", 64<<10))
	case "100 MB":
		fmt.Print(answer[:len(answer)-3])
		for range 100 << 20 / (64 << 10) {
			fmt.Print(strings.Repeat(" ", 64<<10))
		}
		fmt.Println(answer[len(answer)-3:])
	case "notices without an end":
		forever(os.Stdout, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`+"\n")
	case "words without an end":
		forever(os.Stderr, strings.Repeat("x", 4<<10)+"\n")
	case "no text":
		fmt.Println(strings.Replace(answer, "fine", "\xff\xfe", 1))
	case "another id":
		fmt.Println(strings.Replace(answer, `"id":`, `"id":9`, 1))
	case "two in one line":
		fmt.Println(answer + answer)
	case "the same twice":
		fmt.Println(answer + "\n" + strings.Replace(answer, "fine", "second", 1))
	default:
		fmt.Println(answer)
	}
}

// TestT22AProgramThatBehavesBadlyCostsNobodyElse lets calls at once meet each kind of badness of a program, while another server is called all the time.
// There are no headers on standard output, so instead of huge ones there is no end of words on standard error.
func TestT22AProgramThatBehavesBadlyCostsNobodyElse(t *testing.T) {
	late, large, upstream := faultv1.Reason_REASON_UPSTREAM_TIMEOUT, faultv1.Reason_REASON_INSPECTION, faultv1.Reason_REASON_UPSTREAM
	for badness, reasons := range map[string][]faultv1.Reason{
		"never": {late}, "byte by byte": {late}, "ends in the middle": {upstream, late}, "ends at once": {upstream, late}, "closes its output": {upstream, late},
		"a line without an end": {upstream, large, late}, "100 MB": {upstream, large, late}, "notices without an end": {late}, "words without an end": {late},
		"no text": {upstream, late}, "another id": {late}, "two in one line": {upstream, late}, "the same twice": nil,
	} {
		for _, revision := range []string{mcp.V20260728, mcp.V20251125} {
			t.Run(badness+" at "+revision, func(t *testing.T) { behavesBadly(t, badness, revision, reasons) })
		}
	}
}

// behavesBadly has calls refused for one of the reasons; none means that they succeed.
func behavesBadly(t *testing.T, badness, revision string, reasons []faultv1.Reason) {
	good := newUpstream(t, echoTool)
	w := newWorld(t)
	w.server("acts", "", []string{echoTool}, func(s *trustv1.ServerState) {
		s.Server.Spec.Stdio, s.SeenHash, s.Server.Spec.Timeout = &trustv1.Stdio{Command: []string{os.Args[0], chaosProgram, revision}, Scope: "person"}, "sha256:x", "700ms"
	})
	w.server("echo", good.url(), []string{echoTool}, nil)
	for person, server := range map[string]string{"ana": "acts", "bob": "echo"} {
		w.person(person, nil)
		w.grant("person/"+person, server, "*", "call")
	}
	h := start(t, w, func(c *edge.Config) {
		c.MaxResult = 1 << 20
		c.Stdio.Allow = [][]string{{os.Args[0], chaosProgram, revision}}
	})
	h.costsNobodyElse(badness, func(r faultv1.Reason) bool {
		return slices.Contains(reasons, r) || reasons == nil && r == faultv1.Reason_REASON_UNSPECIFIED
	})
}

// costsNobodyElse has calls at once meet a badness, which are refused for a reason that it may have; where it may have none, they succeed. Meanwhile another
// server is called, and afterwards the same.
func (h *harness) costsNobodyElse(badness string, may func(faultv1.Reason) bool) {
	t := h.t
	const atOnce, room = 4, 64 << 20
	ana, bob := h.guest("ana", "/mcp/acts", mcp.V20260728, `{}`), h.guest("bob", "/mcp/echo", mcp.V20260728, `{}`)
	fine := func() bool { return ana.call("echo", `{"text":"fine"}`).text() == "fine" }
	eventually(t, 20*time.Second, "the program serves", fine)
	before, peak := heap(), uint64(0)
	replies, over := make([]reply, atOnce), make(chan struct{})
	var all sync.WaitGroup
	began := time.Now()
	for i := range replies {
		all.Go(func() { replies[i] = ana.call("echo", `{"text":"`+badness+`"}`) })
	}
	go func() {
		all.Wait()
		close(over)
	}()
	for going := true; going; {
		if r := bob.call("echo", `{"n":1}`); r.text() != `{"n":1}` {
			t.Errorf("meanwhile another server answered %s", r.body)
		}
		peak = max(peak, heap())
		select {
		case <-over:
			going = false
		default:
		}
	}
	t.Logf("it took %s, and %d KiB more; said %s", time.Since(began), (max(peak, before)-before)>>10, replies[0].text())
	if took := time.Since(began); took > 15*time.Second || peak > before+room {
		t.Errorf("it took %s, and %d MiB", took, (peak-before)>>20)
	}
	var calls []string
	for _, r := range replies {
		calls = append(calls, r.id)
		ev := h.final(r.id)
		if may(faultv1.Reason_REASON_UNSPECIFIED) {
			if r.text() != "fine" || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS {
				t.Errorf("%s, %v", r.body, ev)
			}
			continue
		}
		if h.clear(r, ev); !may(ev.GetDecision().GetReason()) {
			t.Errorf("recorded %v", ev.GetDecision())
		}
	}
	eventually(t, 30*time.Second, "the program serves again", fine)
	h.recordedOnce(calls)
}
