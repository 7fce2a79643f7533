package store_test

import (
	"fmt"
	"io/fs"
	"reflect"
	"testing"
	"time"

	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/sqlstore/sqltest"
	"headgate.dev/services/trust/internal/pin"
	"headgate.dev/services/trust/internal/store"
)

func moment(n int64) time.Time { return time.Unix(n, 123_000_000).UTC() }

// full is a state with every field set, and with bytes that text columns do not take.
func full() store.State {
	shown := func(name, hash string) *pin.Shown {
		return &pin.Shown{Name: name, Hash: hash, Raw: []byte("{\x00\xff" + name), Problem: "a problem"}
	}
	approved := func(hash string) *pin.Approval {
		return &pin.Approval{Hash: hash, Raw: []byte(`{"a": 1}`), By: "sam", At: moment(5)}
	}
	return store.State{
		Pins: pin.Server{
			URL: "http://b.example", ApprovedURL: "http://a.example", Ever: true, Quarantine: &pin.Quarantine{Reason: "odd", By: "sam"}, Looked: true,
			Definitions: []pin.Definition{
				{Name: "z", Approved: approved("1"), Seen: shown("z", "2")}, {Name: "a\x00", Seen: shown("a\x00", "3")}, {Name: "gone", Approved: approved("4")},
				{Name: "same", Approved: approved("5"), Seen: &pin.Shown{Name: "same", Hash: "5", Raw: approved("5").Raw}},
			},
			Instructions: "be kind\x00", SeenInstructions: "be \xff", InstructionsProblem: "odd",
		},
		About: store.About{Versions: []string{"2026-07-28", "2025-11-25"}, ServerInfo: `{"name":"x"}`, Capabilities: `{}`, SeenAt: moment(9)},
	}
}

func TestAStateIsGivenBackAsItWas(t *testing.T) {
	each(t, func(t *testing.T, db *sqlstore.DB) {
		plain := store.State{Pins: pin.Server{URL: "http://c.example"}}
		keys := map[store.Key]store.State{{Tenant: "acme", Name: "echo"}: full(), {Tenant: "rival", Name: "echo"}: plain}
		for range 2 { // the second time replaces
			for key, state := range keys {
				write(t, db, func(tx *sqlstore.Tx) error { return store.Save(t.Context(), tx, key, state) })
			}
		}
		got, err := store.Load(t.Context(), db)
		if err != nil || len(got) != 2 {
			t.Fatal(got, err)
		}
		for key, want := range keys {
			if want.About.Versions == nil {
				want.About.Versions = []string{}
			}
			if !reflect.DeepEqual(got[key], want) {
				t.Errorf("%v came back as\n%+v\nwas\n%+v", key, got[key], want)
			}
		}
		write(t, db, func(tx *sqlstore.Tx) error {
			return store.Remove(t.Context(), tx, store.Key{Tenant: "acme", Name: "echo"})
		})
		if got, err := store.Load(t.Context(), db); err != nil || len(got) != 1 || got[store.Key{Tenant: "rival", Name: "echo"}].Pins.URL == "" {
			t.Errorf("after the other tenant's was removed: %v, %v", got, err)
		}
	})
}

func TestAKillStaysAsItWasFirstMade(t *testing.T) {
	each(t, func(t *testing.T, db *sqlstore.DB) {
		first := store.Kill{Target: store.Target{Tenant: "acme", Kind: "person", Name: "ana"}, Reason: "incident", By: "sam", At: moment(3)}
		other := first
		other.Target.Tenant = "rival"
		write(t, db, func(tx *sqlstore.Tx) error { return store.PutKill(t.Context(), tx, first) })
		write(t, db, func(tx *sqlstore.Tx) error { return store.PutKill(t.Context(), tx, other) })
		again := first
		again.By, again.Reason = "eve", "nothing"
		write(t, db, func(tx *sqlstore.Tx) error { return store.PutKill(t.Context(), tx, again) })
		kills, err := store.Kills(t.Context(), db)
		if err != nil || !reflect.DeepEqual(kills, []store.Kill{first, other}) {
			t.Errorf("%v, %v", kills, err)
		}
		for range 2 {
			write(t, db, func(tx *sqlstore.Tx) error { return store.RemoveKill(t.Context(), tx, first.Target) })
		}
		if kills, err := store.Kills(t.Context(), db); err != nil || !reflect.DeepEqual(kills, []store.Kill{other}) {
			t.Errorf("%v, %v", kills, err)
		}
	})
}

func each(t *testing.T, rule func(t *testing.T, db *sqlstore.DB)) {
	t.Helper()
	sqltest.EachOf(t, []fs.FS{store.Migrations()}, rule)
}

func write(tb testing.TB, db *sqlstore.DB, do func(*sqlstore.Tx) error) {
	tb.Helper()
	if err := db.Tx(tb.Context(), do); err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkSaveLargest writes a server with as many tools as a look takes.
func BenchmarkSaveLargest(b *testing.B) {
	db, err := sqlstore.Open(b.Context(), sqlstore.Config{Path: b.TempDir() + "/trust.db"}, store.Migrations())
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	}()
	state := store.State{Pins: pin.Server{URL: "http://a.example", Looked: true}}
	for i := range 10_000 {
		raw := fmt.Appendf(nil, `{"name":"tool-%d","description":"%0800d"}`, i, i)
		state.Pins.Definitions = append(state.Pins.Definitions, pin.Definition{
			Name: fmt.Sprint("tool-", i), Approved: &pin.Approval{Hash: "sha256:1", Raw: raw, By: "sam", At: moment(1)},
			Seen: &pin.Shown{Name: "x", Hash: "sha256:1", Raw: raw},
		})
	}
	for b.Loop() {
		write(b, db, func(tx *sqlstore.Tx) error {
			return store.Save(b.Context(), tx, store.Key{Tenant: "acme", Name: "echo"}, state)
		})
	}
}
