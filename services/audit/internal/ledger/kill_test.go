package ledger_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.dev/services/audit/internal/ledger"
)

const victimDir = "HEADGATE_LEDGER_VICTIM"

// small makes many files and many checkpoints.
func small(dir string) ledger.Config {
	return ledger.Config{Dir: dir, SegmentBytes: 64 << 10, CheckpointRecords: 100, CheckpointEvery: 5 * time.Millisecond}
}

// victim appends until it is killed. As after an offset that was not committed, it begins some records before where it stood.
func victim(dir string) int {
	l, err := tryOpen(small(dir))
	if err != nil {
		fmt.Println("failed", err)
		return 1
	}
	fmt.Println("open")
	go func() { fmt.Println("failed", l.Run(context.Background())) }()
	w := &writer{name: "edge-1"}
	w.many(max(0, int(l.Size())-50))
	for n := 1; ; n = n%40 + 1 {
		records := w.many(n)
		if refused, err := l.Append(context.Background(), records); err != nil || len(refused) > 0 {
			fmt.Println("failed", refused, err)
			return 1
		}
		fmt.Println("appended", w.sequence)
	}
}

// A process that appends and signs is killed with SIGKILL again and again: what Append said is there is there, and once.
func TestKilledProcess(t *testing.T) {
	const rounds = 20
	dir := t.TempDir()
	var said uint64
	for range rounds {
		said = max(said, killOnce(t, dir, 2+rand.IntN(60)))
	}
	l := open(t, small(dir))
	if uint64(l.Size()) < said || said == 0 {
		t.Fatalf("%d records of %d are there", l.Size(), said)
	}
	want := map[string]bool{}
	for n := range said {
		want[fmt.Sprintf("edge-1-%d", n+1)] = true
	}
	check(t, l, want)
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d rounds, %d records", rounds, l.Size())
}

// killOnce runs a process until it has said so many lines, and returns up to which number it said that all is there.
func killOnce(t *testing.T, dir string, lines int) uint64 {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), victimDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var said uint64
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		if n == lines {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		words := strings.Fields(scanner.Text())
		switch words[0] {
		case "open":
		case "appended":
			if said, err = strconv.ParseUint(words[1], 10, 64); err != nil {
				t.Fatal(err)
			}
		default:
			t.Fatalf("the process says: %s", scanner.Text())
		}
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the process was not killed: %v", err)
	}
	return said
}
