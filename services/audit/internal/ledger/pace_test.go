package ledger_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/services/audit/internal/index"
)

// hourly is a ledger of two writers that was signed each hour as its records came, of which one is missing.
func hourly(t *testing.T, missing int) evidence {
	t.Helper()
	writers, out := []*writer{{name: "edge-1"}, {name: "edge-2"}}, make([][]index.Record, 4)
	for i := range 400 {
		w := writers[i%2]
		w.late = time.Duration(i/100) * time.Hour
		if i/100 > 0 {
			w.late -= 4 * time.Minute
		}
		if r := w.next("acme", "ana"); i != missing {
			out[i/100] = append(out[i/100], r)
		}
	}
	return kept(t, nil, false, out...)
}

// dates gives the checkpoints of a ledger other times.
func (e evidence) dates(change func(line int, at time.Time) time.Time) {
	e.t.Helper()
	var all []time.Time
	e.lines(e.dir, "checkpoints.jsonl", func(lines [][]byte) [][]byte {
		for i, line := range lines[:len(lines)-1] {
			var l struct {
				At         time.Time `json:"at"`
				Checkpoint string    `json:"checkpoint"`
			}
			if err := json.Unmarshal(line, &l); err != nil {
				e.t.Fatal(err)
			}
			all = append(all, l.At)
			l.At = change(i, l.At)
			data, err := json.Marshal(l)
			if err != nil {
				e.t.Fatal(err)
			}
			lines[i] = append(data, '\n')
		}
		return lines
	})
}

// The times and lines of checkpoints.jsonl are signed by nobody: who changes them does not turn a missing record into one that may be on its way.
func TestAGapIsFoundWhateverTheHistorySaysOfTheTime(t *testing.T) {
	const history = "checkpoints.jsonl"
	const gap, unsigned = "record 76 of writer edge-1 is missing: it should stand before record 151 (event edge-1-77)",
		"; by the times in checkpoints.jsonl, which nobody signs, it may have been on its way, but records behind it happened more than 5m0s later"
	last := noon.Add(3 * time.Hour)
	for name, c := range map[string]struct {
		do         func(e evidence)
		want, note string
	}{
		"nothing": {func(evidence) {}, gap, ""},
		"all lines but the last dropped": {func(e evidence) {
			e.lines(e.dir, history, func(lines [][]byte) [][]byte { return lines[len(lines)-2:] })
		}, gap + unsigned, "checkpoints.jsonl: 1 checkpoints, the first in line 1, were signed more than 5m0s after what they are the first to sign happened"},
		"all times those of the last": {func(e evidence) {
			e.dates(func(int, time.Time) time.Time { return last })
		}, gap + unsigned, "checkpoints.jsonl: 3 checkpoints, the first in line 1, were signed more than 5m0s after what they are the first to sign happened"},
		"all times long ago": {func(e evidence) {
			e.dates(func(line int, _ time.Time) time.Time { return noon.Add(time.Duration(line) - time.Hour) })
		}, gap + unsigned, "checkpoints.jsonl: 4 checkpoints, the first in line 1, were signed more than 5m0s before what they sign happened"},
		"a line in the middle dropped": {func(e evidence) {
			e.lines(e.dir, history, func(lines [][]byte) [][]byte { return slices.Delete(lines, 1, 2) })
		}, gap, "checkpoints.jsonl: 1 checkpoints, the first in line 2, were signed more than 5m0s after what they are the first to sign happened"},
	} {
		e := hourly(t, 150)
		c.do(e)
		ofLedger, _, notes := e.problems()
		wantProblems(t, name, ofLedger, []string{c.want})
		if told := slices.ContainsFunc(notes, func(n string) bool { return strings.HasPrefix(n, c.note) }); !told {
			t.Errorf("%s: notes %q", name, notes)
		}
		if c.note == "" && bytes.Contains([]byte(strings.Join(notes, "\n")), []byte("checkpoints.jsonl")) {
			t.Errorf("%s: notes %q", name, notes)
		}
	}
}

// A record that may be on its way is none that is missing, also beside a clock that is wrong.
func TestARecordThatMayBeOnItsWayIsANote(t *testing.T) {
	w, slow, fast := &writer{name: "edge-1"}, &writer{name: "slow", late: -time.Hour}, &writer{name: "fast", late: time.Hour}
	mixed := func(n int) (out []index.Record) {
		for range n {
			out = append(out, w.next("acme", "ana"), slow.next("acme", "ana"), fast.next("acme", "ana"))
		}
		return out
	}
	all := slices.Concat(w.many(600), mixed(50))
	for _, missing := range []int{len(all) - 20, len(all) - 19, len(all) - 18} {
		e := kept(t, nil, false, slices.Delete(slices.Clone(all), missing, missing+1))
		ofLedger, _, notes := e.problems()
		wantProblems(t, "ledger", ofLedger, nil)
		if !slices.ContainsFunc(notes, func(n string) bool { return strings.HasSuffix(n, "start audit and verify once more") }) {
			t.Errorf("notes %q", notes)
		}
	}
}
