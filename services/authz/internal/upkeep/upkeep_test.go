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

func TestAMisfitIsToldOnceByOneProcess(t *testing.T) {
	db, err := sqlstore.Open(t.Context(), sqlstore.Config{Path: filepath.Join(t.TempDir(), "authz.db")}, Migrations())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	now := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	told := &Misfits{DB: db, Now: func() time.Time { return now }}
	first, other := Misfit{"acme", "p", "h1"}, Misfit{"acme", "p", "h2"}
	claim := func(about string, of Misfit, want bool) {
		t.Helper()
		if mine, err := told.Claim(t.Context(), of); err != nil || mine != want {
			t.Errorf("%s: claimed %v, want %v (%v)", about, mine, want, err)
		}
	}
	end := func(of Misfit, done bool) {
		t.Helper()
		if err := told.End(t.Context(), of, done); err != nil {
			t.Fatal(err)
		}
	}
	claim("the first", first, true)
	claim("while another process tells it", first, false)
	now = now.Add(TellFor)
	claim("of a process that was killed", first, true)
	end(first, false)
	claim("that could not be told", first, true)
	end(first, true)
	now = now.Add(24 * time.Hour)
	claim("that was told", first, false)
	claim("another of the same policy", other, true)
	end(other, true)
	if all, err := told.All(t.Context()); err != nil || len(all) != 1 || all[0].Misfit != other || !all[0].At.Equal(now) {
		t.Errorf("told: %v (%v)", all, err)
	}
	if err := told.Forget(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	claim("though an older one is forgotten", other, false)
	if err := told.Forget(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	claim("once it fitted in between", other, true)
	end(other, true)
	if err := db.Tx(t.Context(), func(tx *sqlstore.Tx) error { return ForgetMisfit(t.Context(), tx, "acme", "p") }); err != nil {
		t.Fatal(err)
	}
	claim("once the policy was changed", other, true)
}
