//go:build external

package ledger_test

import (
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/libs/smalldisk"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/ledger"
)

// The disk fills up at each step of an append, a checkpoint and a start: page by page, there is room for a little more.
func TestExternalALedgerOnAFullDiskSaysSoAndGoesOnWhenThereIsRoom(t *testing.T) {
	disk := smalldisk.Mount(t, 8<<20)
	cfg := ledger.Config{Dir: filepath.Join(disk.Dir, "ledger"), SegmentBytes: 64 << 10}
	l := open(t, cfg)
	var all []index.Record
	failed, started := map[string]int{}, 0
	for pages := range int64(48) {
		w := &writer{name: "edge-" + string(rune('a'+pages))}
		batch := w.many(100)
		all = append(all, batch...)
		disk.FillBut(pages / 2)
		for range 2 {
			_, err := l.Append(t.Context(), batch)
			told(t, failed, err)
			if (err == nil) != (l.Ready() == nil) {
				t.Errorf("append says %v and readiness %v", err, l.Ready())
			}
			told(t, failed, l.Checkpoint())
		}
		if pages%2 == 1 {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			disk.Fill()
			again, err := tryOpen(cfg)
			told(t, failed, err)
			disk.Free()
			if err != nil {
				again = open(t, cfg)
			} else {
				started++
			}
			l = again
		} else {
			disk.Free()
		}
		add(t, l, batch...)
		if err := l.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	check(t, l, idsOf(all))
	if _, problems, err := l.Check(t.Context()); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	check(t, reopen(t, l, cfg), idsOf(all))
	t.Logf("%d starts on the full disk; failed were %v", started, failed)
}

// told wants an error to say that there is no room, and nothing of records that were changed.
func told(t *testing.T, failed map[string]int, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if text := err.Error(); !strings.Contains(text, "room") && !strings.Contains(text, "no space left") || strings.Contains(text, "investigation") {
		t.Errorf("it says %q", text)
	}
	text := err.Error()
	failed[text[strings.LastIndex(text, "/")+1:]]++
}
