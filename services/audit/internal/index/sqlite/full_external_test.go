//go:build external

package sqlite_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/libs/smalldisk"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/indextest"
	"headgate.dev/services/audit/internal/index/sqlite"
)

// The disk fills up at each step of adding and of a start: page by page, there is room for a little more.
func TestExternalAnIndexOnAFullDiskSaysSoAndGoesOnWhenThereIsRoom(t *testing.T) {
	disk := smalldisk.Mount(t, 32<<20)
	cfg := sqlstore.Config{Path: filepath.Join(disk.Dir, "index.db")}
	x, err := sqlite.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	const rounds, each = 40, 20
	failed := map[string]int{}
	for round := range rounds {
		var batch []index.Record
		for i := range each {
			batch = append(batch, indextest.Event(fmt.Sprintf("%d-%d", round, i), "acme", "ana", round*each+i))
		}
		disk.FillBut(int64(round / 2))
		for range 2 {
			told(t, failed, x.Add(t.Context(), batch))
			if _, err := x.Search(t.Context(), indextest.All()); err != nil {
				t.Errorf("a search on the full disk: %v", err)
			}
		}
		if round%2 == 1 {
			if round%4 == 1 { // SQLite then puts everything into its one file, and needs room for the others at the start
				disk.Free()
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			disk.FillBut(int64(round / 4))
			again, err := sqlite.Open(t.Context(), cfg)
			told(t, failed, err)
			disk.Free()
			if err != nil {
				if again, err = sqlite.Open(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
			}
			x = again
		} else {
			disk.Free()
		}
		if err := x.Add(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"", "ana"} {
		q := indextest.All()
		q.Limit, q.Text = 2*rounds*each, text
		page, err := x.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]int{}
		for _, ev := range page.Events {
			found[ev.GetId()]++
		}
		if len(found) != rounds*each || len(page.Events) != rounds*each {
			t.Errorf("found %d records of %d, %d in all", len(found), rounds*each, len(page.Events))
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("failed were %v", failed)
}

// told wants an error to say that there is no room.
func told(t *testing.T, failed map[string]int, err error) {
	t.Helper()
	if err == nil {
		return
	}
	failed[err.Error()]++
	if !strings.Contains(err.Error(), "room") {
		t.Errorf("it says %q", err)
	}
}
