package stdio_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"headgate.dev/services/edge/internal/stdio"
)

func TestWhomProgramsRunAsIsTwoNumbersAndNotRoot(t *testing.T) {
	for _, bad := range []string{"nobody", "10002", "10002:", ":10002", "0:10002", "10002:0", "-1:10002", "4294967295:1", "1:2:3", " 1:2"} {
		if err := (stdio.Config{User: bad}).Check(); err == nil || !strings.Contains(err.Error(), "stdio.user is two numbers") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestT16AnEdgeThatMayNotChangeTheUserDoesNotStart: programs would run as the edge's own user, against what was said.
func TestT16AnEdgeThatMayNotChangeTheUserDoesNotStart(t *testing.T) {
	cmd := exec.Command(forAll(t), "child", "check")
	if os.Geteuid() == 0 {
		cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "it lacks CAP_SETUID, CAP_SETGID, CAP_KILL, CAP_CHOWN, CAP_DAC_OVERRIDE.") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestT16AProgramRunsAsWhomItShall, where the test may change users; elsewhere the configuration is refused.
func TestT16AProgramRunsAsWhomItShall(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(secret, []byte("k7"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := stdio.Command{Command: []string{forAll(t), "child", "user", secret}}
	cfg := stdio.Config{Exactly: []stdio.Command{c}, User: "65534:65534"}
	if err := cfg.Check(); err != nil {
		if os.Geteuid() == 0 || !strings.Contains(err.Error(), "it lacks ") {
			t.Fatal(err)
		}
		return
	}
	l := stdio.NewLauncher(cfg, stdio.Options{Leave: 100 * time.Millisecond, Term: 100 * time.Millisecond}, slog.New(slog.DiscardHandler))
	program, err := l.Allowed("test", c)
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Start("acme", "test", program)
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		UID, GID     int
		Groups       []int
		Status, Home string
		Read, Wrote  bool
	}
	if err := json.Unmarshal([]byte(receive(t, p)), &said); err != nil {
		t.Fatal(err)
	}
	if said.UID != 65534 || said.GID != 65534 || len(said.Groups) > 1 || said.Read || !said.Wrote {
		t.Errorf("it is %d:%d in %v, could read the key: %v, could write into its folder: %v", said.UID, said.GID, said.Groups, said.Read, said.Wrote)
	}
	for line := range strings.Lines(said.Status) {
		if set, bits, _ := strings.Cut(line, ":"); (set == "CapEff" || set == "CapPrm" || set == "CapAmb") && strings.Trim(strings.TrimSpace(bits), "0") != "" {
			t.Errorf("it has capabilities: %s", line)
		}
	}
	p.Close()
	if _, err := os.Stat(said.Home); !os.IsNotExist(err) || !strings.Contains(said.Home, "headgate-server-") {
		t.Errorf("its folder %q is left: %v", said.Home, err)
	}
	if alive(p.PID()) {
		t.Error("it was not ended")
	}
}

func TestProgramsThatShareTheEdgesUserAreSaid(t *testing.T) {
	allow, root := [][]string{{"time"}}, stdio.Config{User: "65534:65534"}.Check() == nil
	for _, c := range []struct {
		cfg    stdio.Config
		shares bool
	}{
		{stdio.Config{}, false}, {stdio.Config{Allow: allow}, root}, {stdio.Config{Allow: allow, User: "65534:65534"}, false},
	} {
		if got := c.cfg.Shares(); got != c.shares {
			t.Errorf("%+v: %v", c.cfg, got)
		}
	}
}

// forAll copies the test's own program to where everybody can run it.
func forAll(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "headgate-owner-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	from, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	path := filepath.Join(dir, "program")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	for _, open := range []string{dir, path} {
		if err := os.Chmod(open, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return path
}
