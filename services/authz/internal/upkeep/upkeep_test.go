package upkeep

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"headgate.dev/libs/sqlstore"
)

func TestEachTenantIsCheckedOnceANightByOneProcess(t *testing.T) {
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "authz.db")}, Migrations())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var inspected []string
	var fails error
	process := func() *Nightly {
		return &Nightly{
			DB: db, Tenants: func() []string { return []string{"acme", "globex"} }, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler),
			Inspect: func(_ context.Context, tenant string) error {
				inspected = append(inspected, tenant)
				return fails
			},
		}
	}
	first, second := process(), process()
	step := func(about string, want ...string) {
		t.Helper()
		inspected = nil
		first.look(t.Context())
		second.look(t.Context())
		if !slices.Equal(inspected, want) {
			t.Errorf("%s: %q, want %q", about, inspected, want)
		}
	}
	step("the first start", "acme", "globex")
	step("the same day")
	now = now.Add(14*time.Hour + 59*time.Minute)
	step("a minute before three")
	now = now.Add(time.Minute)
	fails = errors.New("OpenFGA is down")
	step("at three, in vain: the second process tries again", "acme", "globex", "acme", "globex")
	fails = nil
	step("as soon as it is up", "acme", "globex")
	step("that night again")
	now = now.Add(72 * time.Hour)
	step("after three days without a process", "acme", "globex")
}

func TestACheckThatTheEndOfTheProcessCutShortIsTriedAgain(t *testing.T) {
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "authz.db")}, Migrations())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	ctx, stop := context.WithCancel(t.Context())
	inspected := 0
	night := &Nightly{
		DB: db, Tenants: func() []string { return []string{"acme"} }, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Inspect: func(ctx context.Context, _ string) error {
			inspected++
			if inspected == 1 {
				stop()
			}
			return ctx.Err()
		},
	}
	night.look(ctx)
	night.look(t.Context())
	if inspected != 2 {
		t.Errorf("inspected %d times, want once in vain and once more by the next process", inspected)
	}
}

// TestACheckOfAKilledProcessIsDoneByAnother kills a process, which notes nothing, in the middle of its check.
func TestACheckOfAKilledProcessIsDoneByAnother(t *testing.T) {
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "authz.db")}, Migrations())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	now, inspected := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC), 0
	night := &Nightly{
		DB: db, Tenants: func() []string { return []string{"acme"} }, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler),
		Inspect: func(context.Context, string) error { inspected++; return nil },
	}
	if mine, err := night.claim(t.Context(), "acme"); err != nil || !mine {
		t.Fatal(mine, err)
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 0}, {claimFor - time.Second, 0}, {time.Second, 1}, {time.Hour, 1}} {
		now = now.Add(step.after)
		if night.look(t.Context()); inspected != step.want {
			t.Errorf("at %s inspected %d times, want %d", now, inspected, step.want)
		}
	}
}

func TestATimeOfDayThatIsNoneIsRefused(t *testing.T) {
	for text, good := range map[string]bool{"": true, "03:00": true, "23:59": true, "24:00": false, "3am": false, "03:00:00": false} {
		if err := (Config{CheckAt: text}).Check(); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
