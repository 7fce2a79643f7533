package ledger_test

import (
	"bytes"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"testing"
)

// Checkpoints are read one by one, however many there are and however long somebody made a line.
func TestVerifyReadsALongHistoryAtConstantMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // so that what is held is counted often
	e := kept(t, nil, false, shares("ana")...)
	lines := bytes.SplitAfter(e.get(e.dir, "checkpoints.jsonl"), []byte("\n"))
	many := slices.Concat(lines[0], lines[1], bytes.Repeat(lines[2], 20_000))
	e.put(e.dir, "checkpoints.jsonl", many)
	runtime.GC()
	before := live()
	ofLedger, _, _ := e.problems()
	after := live() // as it was counted last, near the end
	wantProblems(t, "ledger", ofLedger, nil)
	if grown := after - before; grown > 3<<20 {
		t.Errorf("it held %d bytes for %d bytes of checkpoints", grown, len(many))
	}
	e.put(e.dir, "checkpoints.jsonl", slices.Concat(lines[0], bytes.Repeat([]byte{'x'}, 100_000), []byte{'\n'}, lines[1], lines[2]))
	ofLedger, _, _ = e.problems()
	wantProblems(t, "ledger", ofLedger, []string{"checkpoints.jsonl: line 2 has more than 65536 bytes: it was changed"})
}

// live is how many bytes were in use when they were counted last.
func live() int64 {
	one := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(one)
	return int64(one[0].Value.Uint64())
}
