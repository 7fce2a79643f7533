// Package upkeep looks once a night whether each tenant's store in OpenFGA still holds what the directory says, and no more.
package upkeep

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/sqlstore"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations is the schema of what upkeep remembers.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}

// usualEvery is how often it is seen whether a night's check is due; the first time so long after the start.
const usualEvery = time.Minute

// endWithin bounds noting the end of a check, which also happens while the process ends.
const endWithin = 5 * time.Second

// claimFor is how long a process has a check for itself. Who was killed in the middle of one leaves it to the others after that.
const claimFor = 10 * time.Minute

// usualHour is when nights are checked, where the configuration does not say.
const usualHour = "03:00"

// Config is when to look.
type Config struct {
	// CheckAt is the time of day, UTC, as 03:00 (the default). What was due while no process ran is done when one does.
	CheckAt string `yaml:"checkAt"`
	// Every is how often it is seen whether a check is due; 0 means each minute. No file sets it.
	Every time.Duration `yaml:"-"`
}

// Check refuses a time that is none.
func (c Config) Check() error {
	if _, err := c.hour(); err != nil {
		return fault.Invalid("relations.checkAt must be a time of day, UTC, as 03:00, not %q.", c.CheckAt)
	}
	return nil
}

func (c Config) hour() (time.Time, error) {
	text := c.CheckAt
	if text == "" {
		text = usualHour
	}
	return time.Parse("15:04", text)
}

// due is the latest moment at which a check was due.
func (c Config) due(now time.Time) time.Time {
	hour, err := c.hour()
	if err != nil {
		return time.Time{} // Check refuses it
	}
	now = now.UTC()
	at := time.Date(now.Year(), now.Month(), now.Day(), hour.Hour(), hour.Minute(), 0, 0, time.UTC)
	if at.After(now) {
		at = at.AddDate(0, 0, -1)
	}
	return at
}

// Nightly checks each tenant once a night, by one of all processes that share the database.
type Nightly struct {
	Config  Config
	DB      *sqlstore.DB
	Tenants func() []string
	// Inspect looks at one tenant and reports what it finds. After an error the tenant is tried again.
	Inspect func(ctx context.Context, tenant string) error
	Now     clock.Now
	Log     *slog.Logger
}

// Run checks what is due until ctx ends.
func (n *Nightly) Run(ctx context.Context) error {
	ticker := time.NewTicker(cmp.Or(n.Config.Every, usualEvery))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			n.look(ctx)
		}
	}
}

func (n *Nightly) look(ctx context.Context) {
	for _, tenant := range n.Tenants() {
		mine, err := n.claim(ctx, tenant)
		if err == nil && mine {
			err = n.Inspect(ctx, tenant)
			n.end(ctx, tenant, err == nil)
		}
		if err != nil && ctx.Err() == nil {
			n.Log.WarnContext(ctx, "relations could not be checked", "tenant", tenant, "cause", err)
		}
	}
}

// claim takes the check of this night, unless it was done or another process has it.
func (n *Nightly) claim(ctx context.Context, tenant string) (bool, error) {
	now := n.Now()
	done, err := n.DB.Exec(ctx, `INSERT INTO relation_checks (tenant, checked_at, claimed_until) VALUES (?, '', ?)
		ON CONFLICT (tenant) DO UPDATE SET claimed_until = excluded.claimed_until WHERE relation_checks.checked_at < ? AND relation_checks.claimed_until <= ?`,
		tenant, sqlstore.Time(now.Add(claimFor)), sqlstore.Time(n.Config.due(now)), sqlstore.Time(now))
	if err != nil {
		return false, fmt.Errorf("claim the check of tenant %s: %w", tenant, err)
	}
	rows, err := done.RowsAffected()
	return rows > 0, err
}

// end notes that a check was done, or gives back one that came to nothing, also when it did because the process ends.
func (n *Nightly) end(ctx context.Context, tenant string, done bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	query, args := "UPDATE relation_checks SET claimed_until = '' WHERE tenant = ?", []any{tenant}
	if done {
		query, args = "UPDATE relation_checks SET claimed_until = '', checked_at = ? WHERE tenant = ?", []any{sqlstore.Time(n.Now()), tenant}
	}
	if _, err := n.DB.Exec(ctx, query, args...); err != nil {
		n.Log.WarnContext(ctx, "the end of a check of relations could not be noted, so it is done again", "tenant", tenant, "cause", err)
	}
}
