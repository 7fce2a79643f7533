package ledger_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	base "headgate.dev/libs/ledger"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/export"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/ledger"
)

// dated is a writer's only record, of a time.
func dated(t *testing.T, name string, at time.Time) index.Record {
	t.Helper()
	r := (&writer{name: name}).next("acme", "ana")
	r.Event.Time = timestamppb.New(at)
	var err error
	if r.Bytes, err = proto.Marshal(r.Event); err != nil {
		t.Fatal(err)
	}
	return r
}

func year(n int) time.Time { return time.Date(n, 7, 1, 0, 0, 0, 0, time.UTC) }

func TestATimeThatNoClockShowsIsRefused(t *testing.T) {
	cfg := ledger.Config{Dir: t.TempDir()}
	l := open(t, cfg)
	for name, c := range map[string]struct {
		at    time.Time
		taken bool
	}{
		"year-1": {time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), false}, "year-1600": {year(1600), false}, "before-clocks": {time.Unix(-1, 999_999_999), false},
		"first": {time.Unix(0, 0), true}, "last": {time.Date(2199, 12, 31, 23, 59, 59, 0, time.UTC), true},
		"after-clocks": {time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC), false}, "year-3000": {year(3000), false}, "year-9999": {year(9999), false},
	} {
		refused, err := l.Append(t.Context(), []index.Record{dated(t, name, c.at)})
		if err != nil || (len(refused) == 0) != c.taken {
			t.Errorf("%s: refused %v, %v", name, refused, err)
		}
		if len(refused) > 0 && !strings.Contains(refused[0].Why.Error(), "set the clock of writer "+name) {
			t.Errorf("%s: %v", name, refused[0].Why)
		}
	}
}

// before is a ledger of a version that took every time, and kept the times of blocks as numbers that went round.
func before(t *testing.T, records []index.Record, times bool) ledger.Config {
	t.Helper()
	cfg := ledger.Config{Dir: t.TempDir()}
	var data, blocks []byte
	for _, r := range records {
		data = binary.BigEndian.AppendUint32(data, uint32(len(r.Bytes)))
		data = append(binary.BigEndian.AppendUint32(data, crc32.Checksum(r.Bytes, crc32.MakeTable(crc32.Castagnoli))), r.Bytes...)
	}
	if err := os.Mkdir(filepath.Join(cfg.Dir, "records"), 0o700); err != nil {
		t.Fatal(err)
	}
	put := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(cfg.Dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("records/00000000000000000000.seg", data)
	l := open(t, cfg)
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if !times {
		return cfg
	}
	for block := range slices.Chunk(records, ledger.BlockSize) {
		all := make([]int64, len(block))
		for i, r := range block {
			all[i] = r.Event.GetTime().AsTime().UnixNano()
		}
		blocks = binary.BigEndian.AppendUint64(blocks, uint64(slices.Min(all)))
		blocks = binary.BigEndian.AppendUint64(blocks, uint64(slices.Max(all)))
	}
	put("times", blocks)
	state, err := os.ReadFile(filepath.Join(cfg.Dir, "state.json"))
	if err != nil || !bytes.Contains(state, []byte(`"version":1,`)) {
		t.Fatalf("%s, %v", state, err)
	}
	put("state.json", bytes.Replace(state, []byte(`"version":1,`), nil, 1))
	return cfg
}

// What an earlier version took is exported, and verifies, whatever its time is.
func TestTimesThatNoClockShowsAreFoundInLedgersOfBefore(t *testing.T) {
	ancient, beyond, wrapped, last := dated(t, "a", year(1)), dated(t, "b", year(3000)), dated(t, "c", year(2611)), dated(t, "d", year(9999))
	w := &writer{name: "edge-1"}
	records := slices.Concat(w.many(ledger.BlockSize-1), []index.Record{ancient}, w.many(ledger.BlockSize-2), []index.Record{beyond, wrapped})
	for range ledger.BlockSize { // a block of such times alone
		records = append(records, dated(t, "far-"+string(rune('A'+len(records)/26))+string(rune('a'+len(records)%26)), year(9999)))
	}
	records = append(records, last)
	records = append(records, w.many(ledger.BlockSize)...)
	for _, times := range []bool{false, true} {
		cfg := before(t, records, times)
		l := open(t, cfg)
		if _, problems, err := l.Check(t.Context()); err != nil || len(problems) > 0 {
			t.Errorf("%v: %q, %v", times, problems, err)
		}
		for name, c := range map[string]struct {
			filter base.Filter
			want   int
		}{
			"since 3000":         {base.Filter{Since: year(3000)}, 1 + ledger.BlockSize + 1},
			"until 1600":         {base.Filter{Until: year(1600)}, 1},
			"2600 to 2700":       {base.Filter{Since: year(2600), Until: year(2700)}, 1},
			"today":              {base.Filter{Since: noon, Until: noon.AddDate(0, 0, 1)}, 3*ledger.BlockSize - 3},
			"all":                {base.Filter{}, len(records)},
			"until 3500":         {base.Filter{Since: year(2700), Until: year(3500)}, 1},
			"until 9998, narrow": {base.Filter{Since: noon, Until: year(9998), Person: "ana"}, 3*ledger.BlockSize - 1},
		} {
			if got := exported(t, l, c.filter); got != c.want {
				t.Errorf("%v: %s: %d records, want %d", times, name, got, c.want)
			}
		}
		l = reopen(t, l, cfg)
		if _, problems, err := l.Check(t.Context()); err != nil || len(problems) > 0 {
			t.Errorf("opened again: %q, %v", problems, err)
		}
		add(t, l, records...) // they come again, and are known
	}
}

// exported is how many records an export with proofs has, which must hold.
func exported(t *testing.T, l *ledger.Ledger, f base.Filter) int {
	t.Helper()
	at, _ := l.Signed()
	view, err := l.View(at.Size)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = export.Proved{
		View: view, Checkpoint: at.Note, Signer: l.Signer(), Filter: f,
		Statement: base.Statement{Origin: at.Origin, Size: at.Size, Settled: at.Size, Made: noon, By: "vera"},
	}.Write(t.Context(), func(lines []byte) error {
		out.Write(lines)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	public, _ := l.PublicKey()
	keys, err := base.NewKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	report, err := base.Verify(&out, keys)
	if err != nil || !report.Holds() {
		t.Errorf("%+v: %v, %q", f, err, report.Problems)
	}
	plain := 0
	err = export.Plain(t.Context(), view, f, 0, at.Size, func(int64, *eventsv1.Event) error {
		plain++
		return nil
	})
	if err != nil || plain != int(report.Records) {
		t.Errorf("%+v: %d records without proofs, %d with: %v", f, plain, report.Records, err)
	}
	return int(report.Records)
}
