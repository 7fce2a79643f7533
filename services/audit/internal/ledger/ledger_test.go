package ledger_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"headgate.dev/libs/fault"
	base "headgate.dev/libs/ledger"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/ledger"
)

func idsOf(records []index.Record) map[string]bool {
	out := map[string]bool{}
	for _, r := range records {
		out[r.Event.GetId()] = true
	}
	return out
}

func TestRecordsStandOnceInTheOrderInWhichTheyCame(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir(), SegmentBytes: 4096}
	l := open(t, cfg)
	w := &writer{name: "edge-1"}
	all := w.many(700)
	add(t, l, all[:300]...)
	add(t, l, all[200:400]...)
	add(t, l, all[399], all[400], all[400])
	add(t, l, all[401:]...)
	if l.Size() != 700 {
		t.Errorf("%d records", l.Size())
	}
	check(t, l, idsOf(all))
	l = reopen(t, l, cfg)
	add(t, l, all...)
	check(t, l, idsOf(all))
	if l.Size() != 700 {
		t.Errorf("after opening again %d records", l.Size())
	}
}

func TestWhatCannotStandInTheLedgerIsRefusedAndTheRestIsKept(t *testing.T) {
	l := open(t, ledger.Config{Dir: t.TempDir()})
	w, forger := &writer{name: "edge-1"}, &writer{name: "edge-1"}
	records := w.many(2)
	other := forger.next("acme", "mallory")
	nameless := (&writer{}).next("acme", "ana")
	refused, err := l.Append(t.Context(), []index.Record{records[0], other, nameless, records[1]})
	if err != nil || len(refused) != 2 || refused[0].At != 1 || refused[1].At != 2 {
		t.Fatal(refused, err)
	}
	for i, want := range []string{"gave the number 1 to another record", "names no writer"} {
		if !strings.Contains(refused[i].Why.Error(), want) {
			t.Errorf("refused with %v", refused[i].Why)
		}
	}
	check(t, l, idsOf(records))
}

func TestATornTailIsCutAndKeptApart(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	w := &writer{name: "edge-1"}
	all := w.many(10)
	add(t, l, all[:5]...)
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	add(t, l, all[5:]...)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	segments, _ := filepath.Glob(filepath.Join(cfg.Dir, "records", "*.seg"))
	info, err := os.Stat(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(segments[0], info.Size()-3); err != nil {
		t.Fatal(err)
	}
	l = open(t, cfg)
	check(t, l, idsOf(all[:9]))
	if l.Size() != 9 {
		t.Errorf("%d records", l.Size())
	}
	if cut, _ := filepath.Glob(filepath.Join(cfg.Dir, "records", "cut-*")); len(cut) != 1 {
		t.Errorf("kept apart: %v", cut)
	}
	add(t, l, all...)
	check(t, l, idsOf(all))
}

func TestALedgerThatLostOrChangedSignedRecordsDoesNotOpen(t *testing.T) {
	for name, damage := range map[string]func(dir, segment string, size int64) error{
		"the tail is gone": func(_, segment string, size int64) error { return os.Truncate(segment, size-3) },
		"the tail is gone, and the state too": func(dir, segment string, size int64) error {
			_ = os.Remove(filepath.Join(dir, "state.json"))
			return os.Truncate(segment, size-3)
		},
		"the hashes are changed": func(dir, _ string, _ int64) error {
			return flip(filepath.Join(dir, "hashes"), 32*tlog.StoredHashIndex(3, 0))
		},
		"a record is changed, and all is derived again": func(dir, segment string, _ int64) error {
			_ = os.Remove(filepath.Join(dir, "state.json"))
			return flip(segment, 20)
		},
		"the key is gone":           func(dir, _ string, _ int64) error { return os.Remove(filepath.Join(dir, "key")) },
		"the history is changed":    func(dir, _ string, _ int64) error { return flip(filepath.Join(dir, "checkpoints.jsonl"), 3) },
		"everything derived is cut": func(dir, _ string, _ int64) error { return os.Truncate(filepath.Join(dir, "spots"), 16) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := ledger.Config{Dir: t.TempDir()}
			l := open(t, cfg)
			add(t, l, (&writer{name: "edge-1"}).many(10)...)
			if err := l.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			segments, _ := filepath.Glob(filepath.Join(cfg.Dir, "records", "*.seg"))
			info, err := os.Stat(segments[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(cfg.Dir, segments[0], info.Size()); err != nil {
				t.Fatal(err)
			}
			if _, err := tryOpen(cfg); !fault.Is(err, faultv1.Reason_REASON_CONFLICT) {
				t.Errorf("opened with %v", err)
			}
		})
	}
}

func flip(path string, at int64) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	data[at] ^= 1
	return os.WriteFile(path, data, 0o600)
}

func TestCheckpointsAndTilesArePublishedAsTheTileFormHasThem(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir(), Publish: filepath.Join(t.TempDir(), "second"), Origin: "bank.example/audit"}
	l := open(t, cfg)
	w := &writer{name: "edge-1"}
	for _, n := range []int{200, 100, 300} { // 600 in all: two full tiles and a part
		add(t, l, w.many(n)...)
		if err := l.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	public, _ := l.PublicKey()
	keys, err := base.NewKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Join(cfg.Dir, "log"), cfg.Publish} {
		signed, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := keys.Checkpoint(string(signed))
		if err != nil || c.Size != 600 || c.Origin != cfg.Origin {
			t.Fatal(c, err)
		}
		leavesAreFound(t, l, c, dir)
		for _, name := range []string{"tile/entries/000", "tile/entries/001", "tile/entries/002.p/88", "tile/0/001", "tile/1/000.p/2"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "tile/0/000.p")); err == nil {
			t.Error("a part stays beside its whole")
		}
	}
}

// leavesAreFound looks for some of 600 leaves by the tiles that were published.
func leavesAreFound(t *testing.T, l *ledger.Ledger, c base.Checkpoint, dir string) {
	t.Helper()
	reader := tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: c.Root}, tiles{dir})
	for _, i := range []int64{0, 255, 256, 599} {
		hashes, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, i)})
		if err != nil {
			t.Fatal(err)
		}
		v, _ := l.View(c.Size)
		if head, _ := v.Head(i); head.LeafHash() != hashes[0] {
			t.Errorf("leaf %d is %v", i, hashes[0])
		}
	}
}

// tiles reads published tiles.
type tiles struct{ dir string }

func (r tiles) Height() int { return 8 }

func (r tiles) ReadTiles(all []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, t := range all {
		data, err := os.ReadFile(filepath.Join(r.dir, strings.Replace(t.Path(), "tile/8/", "tile/", 1)))
		if err != nil {
			return nil, err
		}
		out = append(out, data)
	}
	return out, nil
}

func (r tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func TestASecondPlaceThatKnowsAnotherLogIsNotWrittenOver(t *testing.T) {
	second := t.TempDir()
	first := open(t, ledger.Config{Dir: t.TempDir(), Origin: "bank.example/audit", Publish: second})
	add(t, first, (&writer{name: "edge-1"}).many(5)...)
	if err := first.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(filepath.Join(second, "checkpoint"))
	for name, c := range map[string]struct {
		origin string
		want   string
	}{"another log": {"other.example/audit", "another log"}, "the same name with other records": {"bank.example/audit", "not of this ledger's records"}} {
		l := open(t, ledger.Config{Dir: t.TempDir(), Origin: c.origin, Publish: second})
		add(t, l, (&writer{name: "edge-2"}).many(6)...)
		if err := l.Checkpoint(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if after, _ := os.ReadFile(filepath.Join(second, "checkpoint")); string(after) != string(before) {
		t.Errorf("it was written over: %s", after)
	}
}

func TestAKeyIsHandedOverAndWhoTrustsTheOldOneCanFollow(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	old, _ := l.PublicKey()
	info, err := os.Stat(filepath.Join(cfg.Dir, "key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	for range 2 {
		if err := l.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	add(t, l, (&writer{name: "edge-1"}).many(5)...)
	l = reopen(t, l, cfg)
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	at, _ := l.Signed()
	text := at.Note
	keys, err := base.NewKeyring(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Checkpoint(text); err == nil {
		t.Error("the old key signs on")
	}
	public, handovers := l.PublicKey()
	for _, h := range handovers {
		if err := keys.Follow(h); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := keys.Checkpoint(text); err != nil || c.Size != 5 || public == old {
		t.Errorf("after following: %v, %v", c, err)
	}
	if err := os.Chmod(filepath.Join(cfg.Dir, "key"), 0o644); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := tryOpen(cfg); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("a key that others can read: %v", err)
	}
}

func TestADirectoryBelongsToOneProcess(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	if _, err := tryOpen(cfg); !fault.Is(err, faultv1.Reason_REASON_CONFLICT) {
		t.Errorf("opened twice: %v", err)
	}
	reopen(t, l, cfg)
}

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	dir := t.TempDir()
	for name, cfg := range map[string]ledger.Config{
		"no directory": {}, "negative": {Dir: dir, CheckpointEvery: -1}, "an origin with spaces": {Dir: dir, Origin: "a b"}, "the same place twice": {Dir: dir, Publish: filepath.Join(dir, "log")},
	} {
		if _, err := tryOpen(cfg); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
