package ledger_test

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Checkpoints are read one by one, however many there are and however long somebody made a line.
func TestVerifyReadsALongHistoryAtConstantMemory(t *testing.T) {
	e := kept(t, nil, false, shares("ana")...)
	lines := bytes.SplitAfter(e.get(e.dir, "checkpoints.jsonl"), []byte("\n"))
	e.problems() // takes what it takes whatever there is
	many := bytes.Repeat(lines[2], 20_000)
	e.put(e.dir, "checkpoints.jsonl", slices.Concat(lines[0], lines[1], many))
	before := peak(t)
	ofLedger, _, _ := e.problems()
	wantProblems(t, "ledger", ofLedger, nil)
	if grown := peak(t) - before; grown > 8<<10 {
		t.Errorf("it took %d KiB for %d bytes of checkpoints", grown, len(many))
	}
	e.put(e.dir, "checkpoints.jsonl", slices.Concat(lines[0], bytes.Repeat([]byte{'x'}, 100_000), []byte{'\n'}, lines[1], lines[2]))
	ofLedger, _, _ = e.problems()
	wantProblems(t, "ledger", ofLedger, []string{"checkpoints.jsonl: line 2 has more than 65536 bytes: it was changed"})
}

// peak is the most memory that this process had so far, in KiB.
func peak(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
