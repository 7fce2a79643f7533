package serve

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// nobody is a user without rights: root reads whatever it wants.
const nobody = 65534

// program is a process that holds a secret in its environment, and the child that looks for it.
func program(args []string) bool {
	switch {
	case len(args) == 2 && args[0] == "holder":
		if err := holder(args[1] == "private"); err != nil {
			fmt.Println("holder:", err)
		}
	case len(args) == 2 && args[0] == "prying":
		pry(args[1])
	default:
		return false
	}
	return true
}

func holder(private bool) error {
	if private {
		if err := Private(); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	child := exec.Command(self, "prying", strconv.Itoa(os.Getpid()))
	child.Env, child.Stdout, child.Stderr = []string{}, os.Stdout, os.Stderr
	if err := child.Run(); err != nil {
		return err
	}
	return diagnosed()
}

// diagnosed holds that a process can still look at itself: what metrics count, and what a profile needs.
func diagnosed() error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{ReportErrors: true}))
	families, err := registry.Gather()
	if err != nil {
		return err
	}
	for _, family := range families {
		if name := family.GetName(); name == "process_open_fds" || name == "process_resident_memory_bytes" {
			fmt.Println("metric:", name)
		}
	}
	if maps, err := os.ReadFile("/proc/self/maps"); err != nil || len(maps) == 0 {
		return fmt.Errorf("no maps: %w", err)
	}
	var heap bytes.Buffer
	if err := pprof.Lookup("heap").WriteTo(&heap, 0); err != nil {
		return err
	}
	fmt.Println("profile:", heap.Len() > 0)
	return nil
}

// pry reads what the system shows of another process of the same user.
func pry(pid string) {
	text, err := os.ReadFile("/proc/" + pid + "/environ")
	fmt.Println("environ:", bytes.Contains(text, []byte("SECRET=k7")), err)
	memory, err := os.Open("/proc/" + pid + "/mem")
	if err == nil {
		_ = memory.Close()
	}
	fmt.Println("mem:", err == nil, err)
	_, err = os.Readlink("/proc/" + pid + "/exe")
	fmt.Println("exe:", err == nil, err)
}

// TestT18AProcessIsClosedToOtherProcessesOfItsUser has a child look into its parent, as a program that an edge starts could, with and without.
func TestT18AProcessIsClosedToOtherProcessesOfItsUser(t *testing.T) {
	for how, want := range map[string]bool{"private": false, "as it was": true} {
		t.Run(how, func(t *testing.T) {
			out := held(t, how)
			t.Log(out)
			for _, what := range []string{"environ", "exe"} {
				if !strings.Contains(out, fmt.Sprint(what, ": ", want)) {
					t.Errorf("%s is not %v:\n%s", what, want, out)
				}
			}
			// Whether an open process shows its memory is also the system's own setting (Yama), so only a closed one is held to it.
			if how == "private" && !strings.Contains(out, "mem: false") {
				t.Errorf("its memory can be read:\n%s", out)
			}
			if !strings.Contains(out, "metric: process_open_fds\nmetric: process_resident_memory_bytes\nprofile: true") {
				t.Errorf("its diagnostics do not work:\n%s", out)
			}
		})
	}
}

// held runs a holder as somebody who is not root.
func held(t *testing.T, how string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "holder", how)
	if os.Geteuid() == 0 {
		cmd.Path, cmd.Dir = forAll(t, self), "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	cmd.Env = []string{"SECRET=k7"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// forAll copies the test's own program to where everybody can run it.
func forAll(t *testing.T, self string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "headgate-private-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	path := filepath.Join(dir, "program")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
