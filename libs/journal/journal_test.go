package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func TestConcurrentAppendsMakeOneChainWithoutAGap(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 32 << 10}
	w := openAt(t, cfg)
	runUntilEnd(t, w)
	const writers, each = 8, 100
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", g, i)
				for _, phase := range []eventsv1.Phase{start, final} {
					if err := w.Append(call("", id, phase), Mode(g%2)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	events := stored(t, cfg.Dir)
	if len(events) != 2*writers*each || events[0].GetSequence() != 1 {
		t.Fatalf("%d records, the first is %d", len(events), events[0].GetSequence())
	}
	if s := w.Status(); s.Written != 2*writers*each || s.Writer != events[0].GetWriter() {
		t.Errorf("status %+v", s)
	}
	paths, _ := listSegments(cfg.Dir)
	if len(paths) < 10 {
		t.Errorf("%d segments, want many", len(paths))
	}
}

func TestAppendFillsWhatIsMissingAndNumbersTheEvent(t *testing.T) {
	w := openAt(t, Config{Dir: t.TempDir()})
	first := &eventsv1.Event{Action: "kill"}
	second := &eventsv1.Event{Action: "kill", Writer: "forged", Sequence: 99, PreviousHash: []byte("forged")}
	mustAppend(t, w, first, second)
	if first.GetId() == "" || first.GetTime() == nil || first.GetService() != "edge" || first.GetSequence() != 1 || first.GetPreviousHash() != nil {
		t.Errorf("first: %v", first)
	}
	if second.GetSequence() != 2 || second.GetWriter() != first.GetWriter() || len(second.GetPreviousHash()) != 32 {
		t.Errorf("second: %v", second)
	}
	if !strings.HasPrefix(first.GetWriter(), "edge-") {
		t.Errorf("writer %q", first.GetWriter())
	}
}

func TestReopeningContinuesSequenceAndChain(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 8 << 10}
	for round := range 5 {
		w, err := Open(cfg, "edge", quiet, clock.System)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 7 {
			id := fmt.Sprintf("%d-%d", round, i)
			mustAppend(t, w, call("", id, start), call("", id, final))
		}
		if w.Recovered() != (Recovery{}) {
			t.Errorf("recovered %+v after an orderly end", w.Recovered())
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if events := stored(t, cfg.Dir); len(events) != 5*14 {
		t.Errorf("%d records", len(events))
	}
}

func TestTornTailIsCut(t *testing.T) {
	template := t.TempDir()
	w, err := Open(Config{Dir: template}, "edge", quiet, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, w, call("a", "1", final), call("b", "2", final), call("c", "3", final))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := onlySegment(t, template)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last, end := lastFrame(t, data)
	damage := map[string]func() []byte{
		"bytes after the end": func() []byte { return append(data[:end:end], "garbage"...) },
		"a bit flipped":       func() []byte { d := append([]byte(nil), data...); d[end-5] ^= 1; return d },
		"zeros in the middle": func() []byte { d := append([]byte(nil), data...); clear(d[last+20 : end-20]); return d },
	}
	for _, n := range []int{1, 3, 4, 7, 8, 9, 10, (end - last) / 2, end - last - 1} {
		damage[fmt.Sprintf("only %d bytes of the last record", n)] = func() []byte { return data[: last+n : last+n] }
		damage[fmt.Sprintf("only %d bytes of the last record, then zeros", n)] = func() []byte {
			d := append([]byte(nil), data...)
			clear(d[last+n:])
			return d
		}
	}
	for name, damaged := range damage {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), damaged(), 0o600); err != nil {
				t.Fatal(err)
			}
			w := openAt(t, Config{Dir: dir})
			if w.Recovered().Cut == 0 {
				t.Error("nothing was cut")
			}
			mustAppend(t, w, call("d", "4", final))
			want := 3
			if name == "bytes after the end" {
				want = 4
			}
			if events := stored(t, dir); len(events) != want || events[want-1].GetId() != "d" {
				t.Errorf("records %v", events)
			}
		})
	}
}

func TestAFileThatWasOnlyBegunIsRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []string{"", "\x00\x00\x00\x00", "\x60\x00\x00\x00\x01", strings.Repeat("\x00", 4096)} {
		w, err := Open(Config{Dir: dir}, "edge", quiet, clock.System)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, w, call("", "1", final))
		next := w.Status().Written + 1
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(segmentPath(dir, next), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := openAt(t, Config{Dir: dir})
	mustAppend(t, w, call("", "1", final))
	if events := stored(t, dir); len(events) != 5 {
		t.Errorf("%d records", len(events))
	}
}

func TestEveryStartedCallGetsExactlyOneFinalAfterACrash(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 8 << 10}
	w, err := Open(cfg, "edge", quiet, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, w, call("s1", "ended", start), call("f1", "ended", final), call("s2", "open", start))
	for i := range 60 { // several segments later the call is still open
		mustAppend(t, w, call("", fmt.Sprint(i), start), call("", fmt.Sprint(i), final))
	}
	mustAppend(t, w, call("s3", "open too", start), call("d1", "refused", final))
	if err := w.Close(); err != nil { // whether it ends in order or not, a call that is open stays so
		t.Fatal(err)
	}
	for range 3 { // opening again adds nothing more
		w, err = Open(cfg, "edge", quiet, clock.System)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	events := stored(t, cfg.Dir)
	var crashed []*eventsv1.Event
	for _, ev := range events {
		if ev.GetDecision().GetReason() == faultv1.Reason_REASON_CRASH {
			crashed = append(crashed, ev)
		}
	}
	if len(crashed) != 2 || crashed[0].GetCallId() != "open" || crashed[1].GetCallId() != "open too" {
		t.Fatalf("%d finals: %v", len(crashed), crashed)
	}
	c := crashed[0]
	if c.GetOutcome() != eventsv1.Outcome_OUTCOME_UNKNOWN || c.GetPhase() != final || c.GetId() == "s2" || c.GetTarget().GetTool() != "close_ticket" ||
		c.GetPrincipal().GetPerson() != "ana" || c.GetDecision().GetEffect() != "allow" || c.GetDecision().GetSentence() == "" {
		t.Errorf("final of a crashed call: %v", c)
	}
}

func TestFullJournalRefusesCallsButSettlesThoseItLetThrough(t *testing.T) {
	w := openAt(t, Config{Dir: t.TempDir(), SegmentBytes: 16 << 10, MaxBytes: 64 << 10})
	var open []string
	var err error
	for i := 0; err == nil; i++ {
		id := fmt.Sprint(i)
		if err = w.Append(call("", id, start), Spool); err == nil {
			open = append(open, id)
		}
		if i > 3 && err == nil {
			mustAppend(t, w, call("", open[0], final))
			open = open[1:]
		}
	}
	if !fault.Is(err, faultv1.Reason_REASON_JOURNAL) || !strings.Contains(err.Error(), "maxBytes") {
		t.Fatalf("refused with: %v", err)
	}
	before := w.Status().Written
	for _, id := range open {
		mustAppend(t, w, call("", id, final))
	}
	if err := w.Append(call("", "another", final), Spool); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) && w.Status().Bytes >= 64<<10 {
		t.Errorf("a record of another call: %v", err)
	}
	if s := w.Status(); s.Bytes > 64<<10 || s.Written < before+uint64(len(open)) {
		t.Errorf("status %+v", s)
	}
}

func TestDirectoryBelongsToOneProcess(t *testing.T) {
	dir := t.TempDir()
	w := openAt(t, Config{Dir: dir})
	_, err := Open(Config{Dir: dir}, "edge", quiet, clock.System)
	if !fault.Is(err, faultv1.Reason_REASON_CONFLICT) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("second open: %v", err)
	}
	mustAppend(t, w, call("", "1", final))
}

func TestTextThatIsNotUTF8IsRecordedAllTheSame(t *testing.T) {
	dir := t.TempDir()
	w := openAt(t, Config{Dir: dir})
	ev := call("", "1", final)
	ev.Source.UserAgent = "evil\xff\xfe"
	ev.Principal.Roles = []string{"a\xc3"}
	mustAppend(t, w, ev)
	if got := stored(t, dir)[0]; got.GetSource().GetUserAgent() != "evil\uFFFD" || got.GetPrincipal().GetRoles()[0] != "a\uFFFD" {
		t.Errorf("recorded %v", got)
	}
}

func TestRecordsThatCannotBeTakenAreRefused(t *testing.T) {
	w := openAt(t, Config{Dir: t.TempDir()})
	big := call("", "1", final)
	big.Request.Id = strings.Repeat("x", MaxRecord)
	if err := w.Append(big, Spool); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("too large: %v", err)
	}
	mustAppend(t, w, call("", "1", final))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []Mode{Spool, Strict} {
		if err := w.Append(call("", "2", final), mode); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
			t.Errorf("closed: %v", err)
		}
	}
}

func TestAWriteThatFailsLeavesNoRecordAndNoGap(t *testing.T) {
	dir := t.TempDir()
	w := openAt(t, Config{Dir: dir})
	mustAppend(t, w, call("a", "1", final))
	active := w.segments[0]
	writable := active.file
	readOnly, err := os.Open(active.path)
	if err != nil {
		t.Fatal(err)
	}
	active.file, active.solid = readOnly, false // it is written, as on a file system that reserves nothing
	if err := w.Append(call("b", "2", final), Spool); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("append to a file that takes nothing: %v", err)
	}
	if err := w.Append(call("c", "3", final), Spool); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) || !strings.Contains(err.Error(), "restart") {
		t.Errorf("append after a failure that could not be undone: %v", err)
	}
	active.file = writable
	_ = readOnly.Close()
	if events := stored(t, dir); len(events) != 1 {
		t.Errorf("%d records", len(events))
	}
}

func TestDamagedJournalIsNotContinued(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), SegmentBytes: 4 << 10}
	w, err := Open(cfg, "edge", quiet, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		mustAppend(t, w, call("", fmt.Sprint(i), final))
	}
	if err := w.sync(); err != nil {
		t.Fatal(err)
	}
	if err := w.acknowledge(1); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	paths, _ := listSegments(cfg.Dir)
	for name, damage := range map[string]func(dir string) error{
		"a file is missing in the middle": func(dir string) error { return os.Remove(filepath.Join(dir, filepath.Base(paths[1]))) },
		"a header is overwritten": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, filepath.Base(paths[1])), []byte("nothing"), 0o600)
		},
		"shipped records are gone": func(dir string) error { return os.Truncate(filepath.Join(dir, filepath.Base(paths[0])), 200) },
		"a file of another journal": func(dir string) error {
			return os.WriteFile(segmentPath(dir, 1000), header{writer: "other", first: 1000}.frame(), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(cfg.Dir)); err != nil {
				t.Fatal(err)
			}
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			_, err := Open(Config{Dir: dir}, "edge", quiet, clock.System)
			if !fault.Is(err, faultv1.Reason_REASON_JOURNAL) || !strings.Contains(err.Error(), "damaged") {
				t.Errorf("opened: %v", err)
			}
		})
	}
}

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no directory":  {},
		"tiny segments": {Dir: "x", SegmentBytes: 10},
		"no room":       {Dir: "x", SegmentBytes: 1 << 20, MaxBytes: 1 << 20},
		"negative time": {Dir: "x", SyncEvery: -1},
	} {
		if _, err := Open(cfg, "edge", quiet, clock.System); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRecordsThatAreLargerThanWhatIsInMemoryAreKeptToo(t *testing.T) {
	dir := t.TempDir()
	w := openAt(t, Config{Dir: dir, SegmentBytes: 4 << 20})
	var want []int
	for i := range 40 {
		ev := call("", fmt.Sprint(i), final)
		ev.Source.UserAgent = strings.Repeat("x", []int{100, 400_000, 3000, 510_000}[i%4])
		want = append(want, len(ev.Source.UserAgent))
		mustAppend(t, w, ev)
	}
	for i, ev := range stored(t, dir) {
		if got := len(ev.GetSource().GetUserAgent()); got != want[i] {
			t.Errorf("record %d has %d bytes, not %d", i, got, want[i])
		}
	}
}
