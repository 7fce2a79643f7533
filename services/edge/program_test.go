package edge_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/mcp"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge"
)

// program is a server on standard input and output: it echoes, says its number and its variables, and tells of its progress, n times. It notes that it was
// started in the file that its second argument names.
func program() {
	if len(os.Args) > 2 {
		if err := os.WriteFile(os.Args[2], []byte(fmt.Sprint(os.Getpid())), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		m, err := mcp.Read(line, mcp.DefaultLimits())
		if err != nil || m.Kind != mcp.Request {
			continue
		}
		say := func(result string) { fmt.Println(string(mcp.Result(m.ID, json.RawMessage(result)))) }
		switch m.Method {
		case mcp.MethodDiscover:
			say(`{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"resultType":"complete","instructions":"Be brief."}`)
		case mcp.MethodToolsList:
			say(`{"tools":[` + echoTool + `],"resultType":"complete"}`)
		case mcp.MethodToolsCall:
			times, err := strconv.Atoi(string(mcp.Get(m.Arguments, "n")))
			if err != nil {
				times = 1
			}
			for i := range times {
				if token := mcp.Get(m.Params, "_meta", "progressToken"); token != nil {
					fmt.Printf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d,"message":%s}}`+"\n",
						token, i+1, mcp.Get(m.Arguments, "text"))
				}
			}
			text := fmt.Sprint(os.Getpid(), " ", os.Getenv("GREETING"), " ", os.Getenv("UPSTREAM_KEY"), " ", string(m.Arguments))
			say(string(textResult(text, `,"resultType":"complete"}`)))
		default:
			fmt.Println(string(mcp.ErrorReply(m.ID, -32601, "Method not found", nil)))
		}
	}
}

// local is a world with the server echo as a program that ana and bob may call.
func local(t *testing.T, change func(*trustv1.Stdio)) *world {
	w := newWorld(t)
	spec := &trustv1.Stdio{Command: []string{os.Args[0], "program"}}
	if change != nil {
		change(spec)
	}
	for _, person := range []string{"ana", "bob"} {
		w.person(person, nil)
		w.grant("person/"+person, "echo", "*", "call")
	}
	w.server("echo", "", []string{echoTool}, func(s *trustv1.ServerState) {
		s.Server.Spec.Stdio, s.SeenHash, s.Server.Spec.Timeout = spec, "sha256:x", "10s"
	})
	return w
}

// allowing is an operator who allows the tests' program.
func allowing(c *edge.Config) { c.Stdio.Allow = [][]string{{os.Args[0], "program"}} }

func TestAProgramIsListedAndCalledThroughTheDoor(t *testing.T) {
	eras(t, func(t *testing.T, modern bool) {
		h := start(t, local(t, nil), allowing)
		ana := h.client("ana", "/mcp/echo", modern)
		if names := ana.names(); len(names) != 1 || names[0] != "echo" {
			t.Fatalf("%v", names)
		}
		r := ana.call("echo", `{"text":"a"}`)
		if !strings.HasSuffix(r.text(), `{"text":"a"}`) {
			t.Fatalf("%s", r.body)
		}
		ev := h.final(r.id)
		if ev.GetTarget().GetAddress() != "stdio:"+filepath.Base(os.Args[0]) || ev.GetOutcome() != eventsv1.Outcome_OUTCOME_SUCCESS {
			t.Errorf("%v", ev)
		}
	})
}

func TestT16AnEdgeStartsNothingThatItsOperatorDidNotAllow(t *testing.T) {
	for name, one := range map[string]struct {
		operator func(*edge.Config)
		declared func(*trustv1.Stdio)
		says     string
	}{
		"nothing is allowed":    {nil, nil, "service.stdio.allow"},
		"another is allowed":    {func(c *edge.Config) { c.Stdio.Allow = [][]string{{os.Args[0], "another"}} }, nil, "service.stdio.allow"},
		"a variable of its own": {allowing, func(s *trustv1.Stdio) { s.Env = map[string]string{"LD_PRELOAD": "/tmp/x.so"} }, "service.stdio.env"},
		"a secret of the edge":  {allowing, func(s *trustv1.Stdio) { s.Inherit = []string{"HEADGATE_KEY"} }, "service.stdio.inherit"},
		"a folder":              {allowing, func(s *trustv1.Stdio) { s.Directory = "/tmp" }, "service.stdio.directories"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "started")
			h := start(t, local(t, func(s *trustv1.Stdio) {
				s.Command = append(s.Command, file)
				if one.declared != nil {
					one.declared(s)
				}
			}), one.operator)
			ana := h.client("ana", "/mcp/echo", true)
			if r := ana.call("echo", `{}`); !r.refused() || r.reason() != "upstream" || !strings.Contains(r.text(), "ask the operator to allow it in "+one.says) {
				t.Errorf("%s", r.body)
			}
			eventually(t, 10*time.Second, "the log says why it is not looked at", func() bool { return strings.Contains(h.logged.String(), one.says) })
			if _, err := os.Stat(file); err == nil {
				t.Error("it was started")
			}
		})
	}
}

func TestAProgramThatTrustDoesNotKnowIsReportedAtOnce(t *testing.T) {
	w := newWorld(t)
	h := start(t, w, allowing)
	w.server("echo", "", nil, func(s *trustv1.ServerState) {
		s.Standing = trustv1.Standing_STANDING_PENDING
		s.Server.Spec.Stdio = &trustv1.Stdio{Command: []string{os.Args[0], "program"}}
	})
	eventually(t, 10*time.Second, "a report", func() bool { return len(w.reported()) > 0 })
	r := w.reported()[0]
	if r.GetServer() != "echo" || len(r.GetTools()) != 1 || string(r.GetTools()[0]) != echoTool || r.GetAbout().GetInstructions() != "Be brief." ||
		r.GetAbout().GetProtocolVersions()[0] != mcp.V20260728 || r.GetAbout().GetCapabilities() != `{"tools":{}}` {
		t.Errorf("%v", r)
	}
	_ = h
}

func TestAProgramEndsWhenItsServerIsStoppedOrDeleted(t *testing.T) {
	for name, stop := range map[string]func(*world){
		"killed":  func(w *world) { w.kill("server", "echo") },
		"deleted": func(w *world) { w.unserver("echo") },
		"quarantined": func(w *world) {
			w.server("echo", "", []string{echoTool}, func(s *trustv1.ServerState) {
				s.Standing, s.SeenHash, s.Server.Spec.Stdio = trustv1.Standing_STANDING_QUARANTINED, "sha256:x", &trustv1.Stdio{Command: []string{os.Args[0], "program"}}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := local(t, nil)
			h := start(t, w, allowing)
			pid, _, _ := strings.Cut(h.client("ana", "/mcp/echo", true).call("echo", `{}`).text(), " ")
			if !lives(pid) {
				t.Fatalf("%q", pid)
			}
			stop(w)
			eventually(t, 10*time.Second, "the process ends", func() bool { return !lives(pid) })
		})
	}
}

// lives reports whether there is a process of that number that has not ended.
func lives(pid string) bool {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	_, rest, _ := strings.Cut(string(status), ") ")
	return err == nil && pid != "" && !strings.HasPrefix(rest, "Z")
}

func TestT14PeopleWhoShareAProgramSeeNothingOfEachOther(t *testing.T) {
	for scope, shared := range map[string]bool{"shared": true, "person": false} {
		t.Run(scope, func(t *testing.T) {
			h := start(t, local(t, func(s *trustv1.Stdio) { s.Scope = scope }), allowing)
			pids := map[string]bool{}
			var mu sync.Mutex
			var all sync.WaitGroup
			for _, person := range []string{"ana", "bob", "ana", "bob"} {
				c := h.client(person, "/mcp/echo", true)
				all.Go(func() {
					for i := range 5 {
						word := fmt.Sprintf("%s-%d", person, i)
						notices, last := c.stream("echo", word)
						for _, notice := range notices {
							if message, _ := mcp.Text(notice, "params", "message"); message != word || string(mcp.Get(notice, "params", "progressToken")) != `"the same"` {
								t.Errorf("%s saw %s", word, notice)
							}
						}
						pid, _, _ := strings.Cut(last.text(), " ")
						mu.Lock()
						pids[pid] = true
						mu.Unlock()
						if len(notices) != 1 || !strings.Contains(last.text(), word) {
							t.Errorf("%s: %d notices, %s", word, len(notices), last.body)
						}
					}
				})
			}
			all.Wait()
			if want := map[bool]int{true: 1, false: 2}[shared]; len(pids) != want {
				t.Errorf("%d processes", len(pids))
			}
		})
	}
}

// TestNothingThatAProgramTellsIsLost: whoever reads gets every notice of a call in its order, with every revision in front.
func TestNothingThatAProgramTellsIsLost(t *testing.T) {
	const times = 2000
	h := start(t, local(t, nil), allowing)
	for _, version := range mcp.Supported() {
		c := h.guest("ana", "/mcp/echo", version, `{}`)
		meta := `{"progressToken":"p"}`
		if c.modern {
			meta = strings.TrimSuffix(strings.TrimPrefix(modernMeta, `"_meta":`), "}") + "," + meta[1:]
		}
		k := c.exchange(http.MethodPost, fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x","n":%d},"_meta":%s}}`,
			times, meta), "7", c.header("tools/call", "echo"))
		for i := range times {
			if got := string(mcp.Get(k.next(), "params", "progress")); got != strconv.Itoa(i+1) {
				t.Fatalf("%s: notice %d has progress %q", version, i+1, got)
			}
		}
		if answer := k.next(); mcp.Get(answer, "result") == nil {
			t.Errorf("%s: %s", version, answer)
		}
		k.cancel()
	}
}

func TestT18WhatAProgramInheritsDoesNotComeBack(t *testing.T) {
	t.Setenv("UPSTREAM_KEY", "s3cret-of-the-operator")
	h := start(t, local(t, func(s *trustv1.Stdio) {
		s.Inherit, s.Env = []string{"UPSTREAM_KEY"}, map[string]string{"GREETING": "good-morning"}
	}), func(c *edge.Config) {
		allowing(c)
		c.Stdio.Inherit, c.Stdio.Env = []string{"UPSTREAM_KEY"}, []string{"GREETING"}
	})
	r := h.client("ana", "/mcp/echo", true).call("echo", `{}`)
	if strings.Contains(string(r.body), "s3cret-of-the-operator") || !strings.Contains(r.text(), "good-morning [redacted:credential]") {
		t.Errorf("%s", r.body)
	}
	if ev := h.final(r.id); ev.GetFindings().GetSecrets() != 1 {
		t.Errorf("%v", ev)
	}
}

func TestAProgramWithAConnectionIsRefusedBeforeItIsStarted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "started")
	w := local(t, func(s *trustv1.Stdio) { s.Command = append(s.Command, file) })
	w.lend("echo", "Authorization", "Bearer s3cret", "s3cret", "stdio:"+filepath.Base(os.Args[0]))
	h := start(t, w, allowing)
	r := h.client("ana", "/mcp/echo", true).call("echo", `{}`)
	if r.reason() != "credential" || !strings.Contains(r.text(), "spec.stdio.inherit") {
		t.Errorf("%s", r.body)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it was started without its credential")
	}
}
