package back_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/back"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/stdio"
)

type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// run runs a back that may start the program of the tests, whatever it is told to be.
func run(t *testing.T, change func(*back.Config)) (*back.Back, *logged) {
	t.Helper()
	said := &logged{}
	cfg := back.Config{MaxResult: 1 << 18, Stdio: stdio.Config{Allow: [][]string{{os.Args[0], "child"}}}, Lookup: os.LookupEnv, Log: slog.New(slog.NewTextHandler(said, nil))}
	if change != nil {
		change(&cfg)
	}
	b := back.New(cfg, clock.System)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return b, said
}

// program is a server that is the tests' own program.
func program(args ...string) *guard.Server {
	return &guard.Server{Tenant: "acme", Name: "greeter", Timeout: 10 * time.Second, Stdio: &guard.Stdio{Command: append([]string{os.Args[0], "child"}, args...)}}
}

func own(s *guard.Server) *guard.Server {
	s.Stdio.Person = true
	return s
}

func person(name string) *guard.Caller {
	return &guard.Caller{Tenant: "acme", Person: name, ClientID: "test"}
}

func call(s *guard.Server, who *guard.Caller, tool, arguments string) guard.Exchange {
	return guard.Exchange{
		Caller: who, Server: s, Method: mcp.MethodToolsCall, Name: tool, Params: json.RawMessage(`{"name":"` + tool + `","arguments":` + arguments + `}`),
		Arguments: json.RawMessage(arguments), Modern: true, Lease: &guard.Lease{},
	}
}

// say is the text that a tool answers.
func say(t *testing.T, b *back.Back, ex guard.Exchange) string {
	t.Helper()
	reply, err := b.Forward(t.Context(), ex)
	if err != nil {
		t.Fatal(err)
	}
	var result struct{ Content []struct{ Text string } }
	if json.Unmarshal(reply.Result, &result) != nil || len(result.Content) == 0 {
		t.Fatalf("%s %s", reply.Result, reply.Error)
	}
	return result.Content[0].Text
}

func alive(pid string) bool {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	_, rest, _ := strings.Cut(string(status), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestServersOnStandardInputAndOutputAreListedAndCalled(t *testing.T) {
	for kind, tools := range map[string]int{"go-sdk": 3, "mcp-go": 2} {
		for _, scope := range []string{"shared", "person"} {
			t.Run(kind+", "+scope, func(t *testing.T) {
				b, _ := run(t, nil)
				s := program(kind)
				s.Stdio.Person = scope == "person"
				shown, err := b.Definitions(t.Context(), s, &guard.Lease{})
				if err != nil || len(shown) != tools {
					t.Fatalf("%v, %v", shown, err)
				}
				about, err := b.About(t.Context(), s, &guard.Lease{})
				if err != nil || !about.Modern && !about.Legacy || !strings.Contains(string(about.Info), "greeter") || len(about.Versions) == 0 {
					t.Errorf("%+v, %v", about, err)
				}
				for i := range 3 {
					if got := say(t, b, call(s, person("ana"), "greet", fmt.Sprintf(`{"name":"%d"}`, i))); got != fmt.Sprintf("hello %d", i) {
						t.Errorf("%q", got)
					}
				}
			})
		}
	}
}

func TestEachPersonHasAProcessOfTheirOwnWhereTheServerSaysSo(t *testing.T) {
	b, _ := run(t, nil)
	shared, apart := program("go-sdk"), own(program("mcp-go"))
	apart.Name = "apart"
	pid := func(s *guard.Server, who *guard.Caller, offer string) string {
		ex := call(s, who, "pid", `{}`)
		if offer != "" {
			ex.Offer = json.RawMessage(offer)
		}
		return say(t, b, ex)
	}
	ana, bob := person("ana"), person("bob")
	agent, other := person("ana"), person("ana")
	agent.Agent, other.ClientID = "triage", "other"
	if pid(shared, ana, "") != pid(shared, bob, `{"roots":{}}`) {
		t.Error("a shared server has two processes")
	}
	seen := map[string]string{}
	for name, who := range map[string]*guard.Caller{"ana": ana, "bob": bob, "ana's agent": agent, "ana's other client": other} {
		seen[pid(apart, who, "")] = name
	}
	seen[pid(apart, ana, `{"roots":{}}`)] = "ana's client with another offer"
	if len(seen) != 5 {
		t.Errorf("%v", seen)
	}
	if again := pid(apart, ana, ""); seen[again] != "ana" {
		t.Errorf("ana got the process of %s", seen[again])
	}
}

func TestAProcessThatNobodyUsesEnds(t *testing.T) {
	b, _ := run(t, func(c *back.Config) { c.Idle = 200 * time.Millisecond })
	s := own(program("mcp-go"))
	first := say(t, b, call(s, person("ana"), "pid", `{}`))
	eventually(t, "it ends", func() bool { return !alive(first) })
	if second := say(t, b, call(s, person("ana"), "pid", `{}`)); second == first {
		t.Error("it did not end")
	}
}

func TestAProcessThatNobodyUsesMakesRoom(t *testing.T) {
	b, _ := run(t, func(c *back.Config) { c.Stdio.MaxProcesses = 2 })
	s := own(program("go-sdk"))
	ana, bob := say(t, b, call(s, person("ana"), "pid", `{}`)), say(t, b, call(s, person("bob"), "pid", `{}`))
	if carl := say(t, b, call(s, person("carl"), "pid", `{}`)); alive(ana) || !alive(bob) || !alive(carl) {
		t.Error("not the oldest made room")
	}
	stopBob, stopCarl := waits(t, b, s, person("bob")), waits(t, b, s, person("carl"))
	if _, err := b.Forward(t.Context(), call(s, person("dora"), "pid", `{}`)); err == nil || !strings.Contains(err.Error(), "maxProcesses") {
		t.Errorf("%v", err)
	}
	stopBob()
	stopCarl()
}

// waits makes a call that goes on until it is stopped, and answers when it runs. What stop answers is how it ended.
func waits(t *testing.T, b *back.Back, s *guard.Server, who *guard.Caller) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	running, ended := make(chan struct{}), make(chan error, 1)
	ex := call(s, who, "wait", `{}`)
	ex.Params = json.RawMessage(`{"name":"wait","arguments":{},"_meta":{"progressToken":1}}`)
	ex.Notify = func([]byte) error {
		close(running)
		return nil
	}
	go func() {
		_, err := b.Forward(ctx, ex)
		ended <- err
	}()
	select {
	case <-running:
	case err := <-ended:
		t.Fatalf("the call ended: %v", err)
	}
	return func() error {
		cancel()
		return <-ended
	}
}

func TestAServerThatIsKilledFailsItsCallsAndIsStartedAgain(t *testing.T) {
	b, _ := run(t, nil)
	s := program("go-sdk")
	first := say(t, b, call(s, person("ana"), "pid", `{}`))
	stop := waits(t, b, s, person("ana"))
	number, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(number, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is gone, and there is another", func() bool {
		reply, err := b.Forward(t.Context(), call(s, person("ana"), "pid", `{}`))
		return err == nil && !strings.Contains(string(reply.Result), `"`+first+`"`)
	})
	if err := stop(); !fault.Is(err, faultv1.Reason_REASON_UPSTREAM) {
		t.Errorf("%v", err)
	}
}

func TestT22AServerThatEndsAtOnceIsStartedSeldom(t *testing.T) {
	b, said := run(t, nil)
	file := filepath.Join(t.TempDir(), "starts")
	s := program("dies", file)
	deadline := time.Now().Add(6 * time.Second)
	refused := 0
	for time.Now().Before(deadline) {
		if _, err := b.Forward(t.Context(), call(s, person("ana"), "pid", `{}`)); err == nil {
			t.Fatal("it answered")
		} else if strings.Contains(err.Error(), "tried again in") {
			refused++
			<-time.After(10 * time.Millisecond)
		}
	}
	starts, err := os.ReadFile(file)
	if n := strings.Count(string(starts), "\n"); err != nil || n < 2 || n > 8 || refused == 0 {
		t.Errorf("%d starts, %d refusals, %v", n, refused, err)
	}
	if !strings.Contains(said.String(), "cannot read its configuration") {
		t.Error("the log does not have its last words")
	}
}

func TestAServerThatEndsWhenItIsAskedForItsEraIsGreetedWithoutThat(t *testing.T) {
	b, _ := run(t, nil)
	file := filepath.Join(t.TempDir(), "starts")
	s := program("shy", file)
	if got := say(t, b, call(s, person("ana"), "pid", `{}`)); !alive(got) {
		t.Errorf("%q", got)
	}
	if starts, err := os.ReadFile(file); err != nil || strings.Count(string(starts), "\n") != 2 {
		t.Errorf("%q, %v", starts, err)
	}
}

func TestAServerThatNeverAnswersHoldsACallNoLongerThanItMay(t *testing.T) {
	b, _ := run(t, nil)
	s := program("silent")
	s.Timeout = 300 * time.Millisecond
	began := time.Now()
	_, err := b.Forward(t.Context(), call(s, person("ana"), "pid", `{}`))
	if !fault.Is(err, faultv1.Reason_REASON_UPSTREAM_TIMEOUT) || time.Since(began) > 3*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

func TestAnAnswerThatIsTooLargeFailsItsCallAlone(t *testing.T) {
	b, _ := run(t, nil)
	s := program("plain")
	pid := say(t, b, call(s, person("ana"), "pid", `{}`))
	if _, err := b.Forward(t.Context(), call(s, person("ana"), "huge", `{}`)); !fault.Is(err, faultv1.Reason_REASON_INSPECTION) {
		t.Errorf("%v", err)
	}
	if again := say(t, b, call(s, person("ana"), "pid", `{}`)); again != pid {
		t.Error("it was started again")
	}
}

func TestAServerAsksThePersonWhoseProcessItIs(t *testing.T) {
	b, _ := run(t, nil)
	ex := call(own(program("plain")), person("ana"), "ask", `{}`)
	ex.Offer = json.RawMessage(`{"elicitation":{}}`)
	ex.Ask = func(_ context.Context, m *mcp.Reply) (guard.Reply, error) {
		if m.Method != mcp.MethodElicit {
			t.Errorf("asked %s", m.Method)
		}
		return guard.Reply{Result: json.RawMessage(`{"action":"accept"}`)}, nil
	}
	if got := say(t, b, ex); !strings.Contains(got, `"id":"q1","result":{"action":"accept"}`) {
		t.Errorf("%s", got)
	}
	ex.Server = program("plain")
	if got := say(t, b, ex); !strings.Contains(got, "-32601") {
		t.Errorf("one that is shared was answered %s", got)
	}
}

func TestT14ProgressOnASharedProcessGoesToItsOwnCaller(t *testing.T) {
	b, _ := run(t, nil)
	s := program("go-sdk")
	var all sync.WaitGroup
	for i := range 8 {
		name := fmt.Sprintf("caller-%d", i)
		all.Go(func() {
			ex := call(s, person(name), "greet", `{"name":"`+name+`"}`)
			ex.Params = json.RawMessage(`{"name":"greet","arguments":{"name":"` + name + `"},"_meta":{"progressToken":"same for all"}}`)
			heard := 0
			ex.Notify = func(notice []byte) error {
				heard++
				if message, _ := mcp.Text(notice, "params", "message"); message != "for "+name {
					t.Errorf("%s heard %s", name, notice)
				}
				if token, _ := mcp.Text(notice, "params", "progressToken"); token != "same for all" {
					t.Errorf("%s", notice)
				}
				return nil
			}
			if reply, err := b.Forward(t.Context(), ex); err != nil || !strings.Contains(string(reply.Result), name) || heard != 1 {
				t.Errorf("%s: %s, %v, %d notices", name, reply.Result, err, heard)
			}
		})
	}
	all.Wait()
}

func TestWhatIsNotKeptEnds(t *testing.T) {
	b, _ := run(t, nil)
	s := program("go-sdk")
	pid := say(t, b, call(s, person("ana"), "pid", `{}`))
	b.Retain(func(tenant, name string) bool { return tenant == "acme" && name == "greeter" })
	if !alive(pid) {
		t.Error("a server that is kept was ended")
	}
	b.Retain(func(string, string) bool { return false })
	eventually(t, "it ends", func() bool { return !alive(pid) })
}

func TestT16TheBackStartsNothingThatTheOperatorDidNotAllow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "starts")
	b, _ := run(t, func(c *back.Config) { c.Stdio.Allow = nil })
	s := program("dies", file)
	for _, do := range []func() error{
		func() error { _, err := b.Forward(t.Context(), call(s, person("ana"), "pid", `{}`)); return err },
		func() error { _, err := b.Definitions(t.Context(), s, &guard.Lease{}); return err },
		func() error { _, err := b.About(t.Context(), s, &guard.Lease{}); return err },
		func() error { return b.Listen(t.Context(), guard.Listening{Server: s, Lease: &guard.Lease{}}) },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "ask the operator to allow it in service.stdio.allow") {
			t.Errorf("%v", err)
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("it was started")
	}
}

func TestACredentialInAHeaderIsNotLostSilently(t *testing.T) {
	b, _ := run(t, nil)
	ex := call(program("go-sdk"), person("ana"), "pid", `{}`)
	ex.Lease = &guard.Lease{Headers: []guard.LeasedHeader{{Name: "Authorization", Value: "Bearer k"}}}
	if _, err := b.Forward(t.Context(), ex); !fault.Is(err, faultv1.Reason_REASON_CREDENTIAL) {
		t.Errorf("%v", err)
	}
}

// TestT22ManySetsOfCapabilitiesAreNotManyProcesses: a client that offers something else each time does not have a process for each, nor takes those of others.
func TestT22ManySetsOfCapabilitiesAreNotManyProcesses(t *testing.T) {
	b, _ := run(t, func(c *back.Config) { c.Stdio.MaxProcesses = 12 })
	s := own(program("plain"))
	bob := say(t, b, call(s, person("bob"), "pid", `{}`))
	pids := map[string]bool{}
	for i := range 20 {
		ex := call(s, person("eve"), "pid", `{}`)
		ex.Offer = json.RawMessage(`{"elicitation":{"n":` + strconv.Itoa(i) + `}}`)
		pids[say(t, b, ex)] = true
	}
	if len(pids) != 20 {
		t.Fatalf("%d processes served what was offered in 20 ways", len(pids))
	}
	eventually(t, "few of eve's are left", func() bool {
		running := 0
		for pid := range pids {
			if alive(pid) {
				running++
			}
		}
		return running <= 8
	})
	if again := say(t, b, call(s, person("bob"), "pid", `{}`)); again != bob {
		t.Error("bob's process was ended for eve's")
	}
}
