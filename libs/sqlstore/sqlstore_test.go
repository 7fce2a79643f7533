package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/sqlstore/sqltest"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func migrations() fstest.MapFS {
	const notes = "-- +goose Up\nCREATE TABLE notes (id BIGINT PRIMARY KEY, text TEXT NOT NULL);\n-- +goose Down\nDROP TABLE notes;\n"
	return fstest.MapFS{"00001_notes.sql": {Data: []byte(notes)}}
}

func TestStatementsAreWrittenOnceForBothDatabases(t *testing.T) {
	sqltest.Each(t, migrations(), func(t *testing.T, db *sqlstore.DB) {
		if _, err := db.Exec(t.Context(), "INSERT INTO notes (id, text) VALUES (?, 'is ? it' || ?)", 1, "!"); err != nil {
			t.Fatal(err)
		}
		var text string
		if err := db.QueryRow(t.Context(), "SELECT text FROM notes WHERE id = ?", 1).Scan(&text); err != nil || text != "is ? it!" {
			t.Errorf("%q, %v", text, err)
		}
		if err := db.QueryRow(t.Context(), "SELECT text FROM notes WHERE id = ?", 2).Scan(&text); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("no row: %v", err)
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestATransactionIsAllOrNothing(t *testing.T) {
	sqltest.Each(t, migrations(), func(t *testing.T, db *sqlstore.DB) {
		insert := func(id int, then error) error {
			return db.Tx(t.Context(), func(tx *sqlstore.Tx) error {
				if _, err := tx.Exec(t.Context(), "INSERT INTO notes (id, text) VALUES (?, ?)", id, "x"); err != nil {
					return err
				}
				return then
			})
		}
		stop := errors.New("stop")
		if err := insert(1, stop); !errors.Is(err, stop) {
			t.Errorf("got %v", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = db.Tx(t.Context(), func(tx *sqlstore.Tx) error {
				if _, err := tx.Exec(t.Context(), "INSERT INTO notes (id, text) VALUES (3, 'x')"); err != nil {
					t.Error(err)
				}
				panic("gone")
			})
		}()
		if err := insert(2, nil); err != nil {
			t.Error(err)
		}
		if n := count(t, db); n != 1 {
			t.Errorf("%d rows", n)
		}
	})
}

func count(t *testing.T, db *sqlstore.DB) (n int) {
	t.Helper()
	if err := db.QueryRow(t.Context(), "SELECT count(*) FROM notes").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWritersWaitForEachOther(t *testing.T) {
	sqltest.Each(t, migrations(), func(t *testing.T, db *sqlstore.DB) {
		if _, err := db.Exec(t.Context(), "INSERT INTO notes (id, text) VALUES (1, '')"); err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				for range 10 {
					if err := db.Tx(t.Context(), func(tx *sqlstore.Tx) error {
						_, err := tx.Exec(t.Context(), "UPDATE notes SET text = text || 'x' WHERE id = 1")
						return err
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Wait()
		var n int
		if err := db.QueryRow(t.Context(), "SELECT length(text) FROM notes").Scan(&n); err != nil || n != 80 {
			t.Errorf("%d, %v", n, err)
		}
	})
}

func TestAReadSeesOneState(t *testing.T) {
	sqltest.Each(t, migrations(), func(t *testing.T, db *sqlstore.DB) {
		err := db.ReadTx(t.Context(), func(tx *sqlstore.Tx) error {
			for range 3 {
				var n int
				if err := tx.QueryRow(t.Context(), "SELECT count(*) FROM notes").Scan(&n); err != nil || n != 0 {
					return fmt.Errorf("%d rows, %w", n, err)
				}
				if _, err := db.Exec(t.Context(), "INSERT INTO notes (id, text) SELECT count(*), 'x' FROM notes"); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if n := count(t, db); n != 3 {
			t.Errorf("%d rows", n)
		}
	})
}

func TestMigrationsOfSeveralPackagesAreAppliedOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a dir?#", "x y.db")
	own := fstest.MapFS{"00100_more.sql": {Data: []byte("-- +goose Up\nALTER TABLE notes ADD COLUMN more TEXT;\n")}}
	for range 2 {
		db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: path}, migrations(), own)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(t.Context(), "SELECT more FROM notes"); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	for name, mode := range map[string]os.FileMode{filepath.Dir(path): 0o700, path: 0o600} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%v, %v", info, err)
		}
	}
}

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	closed := "postgres://ana:hunter2@127.0.0.1:1/x?connect_timeout=1"
	tests := map[string]struct {
		cfg    sqlstore.Config
		reason faultv1.Reason
		want   string
	}{
		"nothing":        {sqlstore.Config{}, faultv1.Reason_REASON_INVALID, "database.path: is missing"},
		"unknown driver": {sqlstore.Config{Driver: "oracle"}, faultv1.Reason_REASON_INVALID, "database.driver: must be sqlite or postgres"},
		"no url":         {sqlstore.Config{Driver: "postgres"}, faultv1.Reason_REASON_INVALID, "database.url: is missing"},
		"bad url":        {sqlstore.Config{Driver: "postgres", URL: secret.New("postgres://ana:hunter2@:bad/")}, faultv1.Reason_REASON_UNAVAILABLE, ""},
		"nobody listens": {sqlstore.Config{Driver: "postgres", URL: secret.New(closed)}, faultv1.Reason_REASON_UNAVAILABLE, "does not answer"},
		"a directory":    {sqlstore.Config{Path: t.TempDir()}, faultv1.Reason_REASON_INVALID, "cannot be opened"},
		"below a file":   {sqlstore.Config{Path: "/dev/null/x/y.db"}, faultv1.Reason_REASON_INVALID, "cannot be made"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			db, err := sqlstore.Open(ctx, test.cfg, migrations())
			if err == nil {
				t.Fatal("opened", db.Close())
			}
			if !fault.Is(err, test.reason) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTimesSortAsText(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600))
	text := sqlstore.Time(at)
	back, err := sqlstore.ParseTime(text)
	if err != nil || !back.Equal(at) || sqlstore.Time(at.Add(time.Nanosecond)) <= text {
		t.Errorf("%s, %v, %v", text, back, err)
	}
}

func TestAStatementIsKeptForManyTransactions(t *testing.T) {
	sqltest.Each(t, migrations(), func(t *testing.T, db *sqlstore.DB) {
		insert, err := db.Prepare(t.Context(), "INSERT INTO notes (id, text) VALUES (?, 'is ? it') ON CONFLICT (id) DO NOTHING")
		if err != nil {
			t.Fatal(err)
		}
		for round := range 3 {
			err := db.Tx(t.Context(), func(tx *sqlstore.Tx) error {
				one := tx.Prepared(t.Context(), insert)
				for id := range 2 + round {
					done, err := one.Exec(t.Context(), id)
					if err != nil {
						return err
					}
					if n, err := done.RowsAffected(); err != nil || n == 1 != (round == 0 || id == 1+round) {
						t.Errorf("round %d, %d: %d rows, %v", round, id, n, err)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
		if n := count(t, db); n != 4 {
			t.Errorf("%d rows", n)
		}
		var none *sqlstore.Statement
		if err := errors.Join(insert.Close(), none.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestADatabaseWithoutRoomSaysSoAndGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: path}, migrations())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	insert := func(pages int) error {
		return db.Tx(t.Context(), func(tx *sqlstore.Tx) error {
			if _, err := tx.Exec(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), "INSERT INTO notes (id, text) VALUES (1, ?)", strings.Repeat("x", 1<<20))
			return err
		})
	}
	if err := insert(20); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "Make room") {
		t.Errorf("without room: %v", err)
	}
	if err := insert(2000); err != nil {
		t.Errorf("with room: %v", err)
	}
}

func TestAFileThatDoesNotOpenIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: path}, migrations())
	if !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "not a database") {
		t.Errorf("opened: %v", err)
	}
}
