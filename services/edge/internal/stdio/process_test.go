//go:build unix

package stdio_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/stdio"
)

// TestMain is also the program that the tests start: its own file, with the word child first.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2])
		return
	}
	goleak.VerifyTestMain(m)
}

// child does one thing that servers do.
func child(mode string) {
	in := bufio.NewReader(os.Stdin)
	switch mode {
	case "echo": // answers each line with itself
		_, _ = io.Copy(os.Stdout, in)
	case "about": // says what it was given
		dir, err := os.Getwd()
		if err != nil {
			dir = err.Error()
		}
		said, err := json.Marshal(map[string]any{"env": os.Environ(), "args": os.Args[3:], "dir": dir})
		if err == nil {
			fmt.Println(string(said))
		}
		_, _ = io.Copy(io.Discard, in)
	case "deaf": // never reads, and stays when its input ends or it is told to end
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("{}")
		select {}
	case "family": // has a child that has a child, all of which stay
		if os.Args[3] != "0" {
			generation, _ := strconv.Atoi(os.Args[3])
			cmd := exec.Command(os.Args[0], "child", "family", strconv.Itoa(generation-1))
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if cmd.Start() != nil {
				return
			}
		}
		signal.Ignore(syscall.SIGTERM)
		fmt.Println(os.Getpid())
		select {}
	case "parts": // has a child that leaves its session, with its pipes or without
		cmd := exec.Command(os.Args[0], "child", "deaf")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if os.Args[3] == "pipes" {
			cmd.Stderr, cmd.Dir = os.Stderr, "/"
		}
		if cmd.Start() == nil {
			fmt.Println(cmd.Process.Pid)
		}
		_, _ = io.Copy(io.Discard, in)
		if os.Args[4] == "crashes" {
			os.Exit(3)
		}
	case "user": // says who it is, and whether it can read a file
		status, _ := os.ReadFile("/proc/self/status")
		_, unread := os.ReadFile(os.Args[3])
		groups, _ := os.Getgroups()
		unwritten := os.WriteFile("mine", nil, 0o600)
		said, err := json.Marshal(map[string]any{
			"uid": os.Getuid(), "gid": os.Getgid(), "groups": groups, "status": string(status), "read": unread == nil, "home": os.Getenv("HOME"), "wrote": unwritten == nil,
		})
		if err == nil {
			fmt.Println(string(said))
		}
		_, _ = io.Copy(io.Discard, in)
	case "check": // says what is wrong with running programs as somebody else
		fmt.Println(stdio.Config{User: "65534:65534"}.Check())
	case "loud":
		for i := range 20_000 {
			fmt.Fprintf(os.Stderr, "line %d of secret-value-1234 %s\n", i, strings.Repeat("x", 4000))
		}
		fmt.Println("{}")
		_, _ = io.Copy(io.Discard, in)
	case "dies":
		fmt.Println("{}")
		fmt.Fprintln(os.Stderr, "out of paper")
		os.Exit(3)
	}
}

func command(mode string, args ...string) stdio.Command {
	return stdio.Command{Command: append([]string{os.Args[0], "child", mode}, args...)}
}

type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// run starts a command that is allowed as it is.
func run(t *testing.T, c stdio.Command, env map[string]string) (*stdio.Process, *log) {
	t.Helper()
	said := &log{}
	l := stdio.NewLauncher(stdio.Config{Exactly: []stdio.Command{c}}, stdio.Options{
		MaxLine: 1 << 16, Leave: 100 * time.Millisecond, Term: 100 * time.Millisecond,
		Lookup: func(name string) (string, bool) { value, found := env[name]; return value, found },
	}, slog.New(slog.NewTextHandler(said, nil)))
	program, err := l.Allowed("test", c)
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Start("acme", "test", program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		if l.Running() != 0 {
			t.Errorf("%d processes are counted after the end", l.Running())
		}
	})
	return p, said
}

func receive(t *testing.T, p *stdio.Process) string {
	t.Helper()
	line, err := p.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

func alive(pid int) bool {
	// A process that has ended and waits to be counted is not alive.
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !errors.Is(err, os.ErrNotExist)
	}
	_, rest, _ := strings.Cut(string(status), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestMessagesGoBothWaysAsLines(t *testing.T) {
	p, _ := run(t, command("echo"), nil)
	if err := p.Send(t.Context(), []byte("{\n \"a\": 1.0}")); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, p); got != `{"a":1.0}` {
		t.Errorf("%q", got)
	}
	big := `"` + strings.Repeat("x", 1<<17) + `"`
	if err := p.Send(t.Context(), []byte(`{"id":4,"x":`+big+`}`)); err != nil {
		t.Fatal(err)
	}
	var long *mcp.LongLineError
	if _, err := p.Receive(); !errors.As(err, &long) || string(long.ID) != "4" {
		t.Errorf("%v", err)
	}
	p.Close()
	if _, err := p.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
	if err := p.Send(t.Context(), []byte("{}")); !errors.Is(err, stdio.ErrEnded) {
		t.Errorf("%v", err)
	}
}

func TestT16AProcessGetsOnlyTheVariablesThatItIsGiven(t *testing.T) {
	c := command("about")
	c.Env, c.Inherit = map[string]string{"MODE": "strict"}, []string{"API_KEY", "MISSING"}
	p, _ := run(t, c, map[string]string{"PATH": "/bin", "HOME": "/home/x", "LANG": "C", "API_KEY": "k", "HEADGATE_TOKEN": "secret", "LD_PRELOAD": "x"})
	var got struct {
		Env []string
		Dir string
	}
	if err := json.Unmarshal([]byte(receive(t, p)), &got); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got.Env)
	if want := []string{"API_KEY=k", "HOME=/home/x", "LANG=C", "MODE=strict", "PATH=/bin"}; !slices.Equal(got.Env, want) {
		t.Errorf("%v", got.Env)
	}
	if info, err := os.Stat(got.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("it runs in %s: %v, %v", got.Dir, info, err)
	}
	p.Close()
	if _, err := os.Stat(got.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder is still there: %v", err)
	}
}

func TestT16NoShellReadsTheArguments(t *testing.T) {
	args := []string{"; touch pwned", "$(touch pwned)", "`touch pwned`", "a b", "*", "", "| cat"}
	c := command("about", args...)
	c.Directory = t.TempDir()
	p, _ := run(t, c, nil)
	var got struct {
		Args []string
		Dir  string
	}
	if err := json.Unmarshal([]byte(receive(t, p)), &got); err != nil || !slices.Equal(got.Args, args) || got.Dir != c.Directory {
		t.Errorf("%v, %v", got, err)
	}
	if left, err := os.ReadDir(c.Directory); err != nil || len(left) != 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func TestAProcessThatStaysIsEndedWithAllOfItsChildren(t *testing.T) {
	p, _ := run(t, command("family", "2"), nil)
	var pids []int
	for range 3 {
		pid, err := strconv.Atoi(receive(t, p))
		if err != nil || !alive(pid) {
			t.Fatalf("%d: %v", pid, err)
		}
		pids = append(pids, pid)
	}
	p.Close()
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("%d has ended", pid), func() bool { return !alive(pid) })
	}
}

func TestWhoLeavesTheGroupEndsWithItsProgram(t *testing.T) {
	for _, with := range []string{"pipes", "folder"} {
		for _, end := range []string{"ends", "crashes", "is killed"} {
			t.Run(with+" "+end, func(t *testing.T) {
				p, _ := run(t, command("parts", with, end), nil)
				pid, err := strconv.Atoi(receive(t, p))
				if err != nil || !alive(pid) {
					t.Fatalf("%d: %v", pid, err)
				}
				if end == "is killed" {
					if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
				} else {
					p.Close()
				}
				eventually(t, "it has ended", func() bool { return !alive(pid) })
			})
		}
	}
}

func TestWhenAProcessIsKilledItsChildrenEndToo(t *testing.T) {
	p, said := run(t, command("family", "1"), nil)
	var pids []int
	for range 2 {
		pid, err := strconv.Atoi(receive(t, p))
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
	for _, pid := range pids {
		eventually(t, fmt.Sprintf("%d has ended", pid), func() bool { return !alive(pid) })
	}
	eventually(t, "the log says how it ended", func() bool { return strings.Contains(said.String(), "signal: killed") })
}

func TestADeafProcessIsEndedAndHoldsNobodyUp(t *testing.T) {
	p, _ := run(t, command("deaf"), nil)
	receive(t, p)
	message := []byte(`{"x":"` + strings.Repeat("x", 1<<20) + `"}`)
	for range 16 { // as many as wait, without anyone reading
		if err := p.Send(t.Context(), message); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	p.Close()
	if took := time.Since(began); took > 5*time.Second || alive(p.PID()) {
		t.Errorf("ended after %s, alive %v", took, alive(p.PID()))
	}
}

func TestWhatAProcessPrintsIsKeptInBoundsAndWithoutSecrets(t *testing.T) {
	c := command("loud")
	c.Inherit = []string{"KEY"}
	p, said := run(t, c, map[string]string{"KEY": "secret-value-1234"})
	receive(t, p) // it was not held up
	p.Close()
	text := said.String()
	if kept := strings.Count(text, "a server says\""); kept < 10 || kept > 1000 || len(text) > 4<<20 {
		t.Errorf("%d lines were kept, %d bytes", kept, len(text))
	}
	if strings.Contains(text, "secret-value-1234") || !strings.Contains(text, "[redacted:credential]") || !strings.Contains(text, "dropped=") {
		t.Errorf("%.500s", text)
	}
}

func TestAProcessThatEndsByItselfIsHeardToTheEnd(t *testing.T) {
	p, said := run(t, command("dies"), nil)
	receive(t, p)
	if _, err := p.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
	p.Close()
	if text := said.String(); !strings.Contains(text, "out of paper") || !strings.Contains(text, "exit status 3") || !strings.Contains(text, "server=test") {
		t.Errorf("%s", text)
	}
}
