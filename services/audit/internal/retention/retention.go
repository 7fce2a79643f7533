package retention

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/hidden"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/sealed"
	"headgate.dev/libs/sqlstore"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

//go:embed migrations/*.sql
var files embed.FS

// Config is what an operator sets for all tenants.
type Config struct {
	// Classes are regulations that every tenant is under, whatever its administrators say: eu-ai-act, soc2, part-11, hipaa, sec-17a-4. Unset means eu-ai-act; an empty
	// list means none.
	Classes []string `yaml:"classes"`
	// DropAt is the time of day in UTC, as 03:00, at which what may go is dropped from the index; empty means 03:00.
	DropAt string `yaml:"dropAt"`
}

// Check says what cannot work.
func (c Config) Check() error {
	if _, err := time.Parse(clockTime, c.at()); err != nil {
		return fault.Invalid("retention.dropAt: must be a time of day in UTC as 03:00, is %q", c.DropAt)
	}
	if err := (Rule{Classes: c.Classes}).check(); err != nil {
		return fault.Invalid("retention.%s", fault.From(err).Sentence)
	}
	return nil
}

const clockTime = "15:04"

func (c Config) at() string {
	if c.DropAt == "" {
		return "03:00"
	}
	return c.DropAt
}

// everyones are the classes of all tenants: half a year where an operator says nothing, so that nobody cuts a record short in a deployment as it came.
func (c Config) everyones() []string {
	if c.Classes == nil {
		return []string{"eu-ai-act"}
	}
	return c.Classes
}

// Migrations are those of the tables that the store needs.
func Migrations() (fs.FS, error) { return fs.Sub(files, "migrations") }

// Store keeps rules and holds. Safe for concurrent use.
type Store struct {
	db  *sqlstore.DB
	cfg Config
	now clock.Now
	// holding is held while a hold begins, and while a batch of records is dropped that no hold keeps.
	holding sync.Mutex
}

// New takes a database that has the migrations.
func New(db *sqlstore.DB, cfg Config, now clock.Now) *Store {
	return &Store{db: db, cfg: cfg, now: now}
}

// Rule is what a tenant has, with what the operator wants of all.
func (s *Store) Rule(ctx context.Context, tenant string) (Rule, error) {
	var classes string
	var r Rule
	err := s.db.QueryRow(ctx, "SELECT classes, days FROM retention WHERE tenant = ?", tenant).Scan(&classes, &r.Days)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Rule{}, fmt.Errorf("read the retention of %s: %w", tenant, err)
	}
	r.Classes = s.with(strings.Fields(classes))
	return r, nil
}

// with adds the operator's classes.
func (s *Store) with(classes []string) []string {
	all := slices.Concat(classes, s.cfg.everyones())
	slices.Sort(all)
	return slices.Compact(all)
}

// Change is what somebody wants of a tenant's rule. Classes that it does not name stay.
type Change struct {
	Add, Drop []string
	Days      int
	By        string
	// Operator says that the platform's administrator wants it, who alone may take a class away.
	Operator bool
	Reason   string
}

// Set changes a tenant's rule. Less than its classes ask for is refused, and so is taking a class away unless an operator does; an operator who lowers says why. What
// is in force and what will be is told to first before anything changes; nothing changes when that fails.
func (s *Store) Set(ctx context.Context, tenant string, change Change, first func(before, next Rule) error) (Rule, error) {
	before, err := s.Rule(ctx, tenant)
	if err != nil {
		return Rule{}, err
	}
	next, err := s.next(before, change)
	if err != nil {
		return Rule{}, err
	}
	if err := first(before, next); err != nil {
		return Rule{}, err
	}
	_, err = s.db.Exec(ctx, "INSERT INTO retention (tenant, classes, days, set_by, set_at) VALUES (?, ?, ?, ?, ?) "+
		"ON CONFLICT (tenant) DO UPDATE SET classes = excluded.classes, days = excluded.days, set_by = excluded.set_by, set_at = excluded.set_at",
		tenant, strings.Join(next.Classes, " "), next.Days, change.By, sqlstore.Time(s.now()))
	if err != nil {
		return Rule{}, fmt.Errorf("keep the retention of %s: %w", tenant, err)
	}
	return next, nil
}

// Says reports whether a reason has as much as a word that one can read.
func Says(reason string) bool {
	const fewest = 3
	return hidden.Legible(reason) >= fewest
}

// next is the rule that one in force may become.
func (s *Store) next(now Rule, c Change) (Rule, error) {
	next := Rule{Classes: s.with(c.Add), Days: c.Days}
	for _, class := range c.Drop {
		if err := s.mayDrop(class, now, next, c.Operator); err != nil {
			return Rule{}, err
		}
	}
	for _, class := range now.Classes {
		if !slices.Contains(c.Drop, class) {
			next.Classes = append(next.Classes, class)
		}
	}
	next.Classes = s.with(next.Classes)
	if err := next.check(); err != nil {
		return Rule{}, err
	}
	if c.Operator && now.Lowers(next) && !Says(c.Reason) {
		return Rule{}, fault.Invalid("reason: the tenant's records would be kept for less time than until now. Say why, in words that can be read; it is recorded, and an alert.")
	}
	return next, nil
}

// mayDrop says why a class cannot be taken away.
func (s *Store) mayDrop(class string, now, added Rule, operator bool) error {
	switch {
	case !operator:
		return fault.New(faultv1.Reason_REASON_ROLE_REQUIRED, "A tenant's administrators cannot take away %s, that its records are under: ask the platform's administrator.", class)
	case slices.Contains(s.cfg.everyones(), class):
		return fault.Invalid("dropClasses: %s holds for all tenants, by retention.classes in audit's configuration; it cannot be taken away from one", class)
	case slices.Contains(added.Classes, class):
		return fault.Invalid("dropClasses: %s is added and taken away at once; leave it out of one of them", class)
	case !slices.Contains(now.Classes, class):
		return fault.Invalid("dropClasses: the tenant's records are not under %q; they are under: %s", class, strings.Join(now.Classes, ", "))
	default:
		return nil
	}
}

// Hold keeps a tenant's records, and the key of one subject or of all.
type Hold struct {
	ID, Tenant string
	// Kind and Name are of the subject; empty for all of the tenant.
	Kind, Name   string
	Reason, By   string
	At, Released time.Time
	ReleasedBy   string
}

// Add begins a hold. What takes records away waits for it, or it for that.
func (s *Store) Add(ctx context.Context, h Hold) (Hold, error) {
	s.holding.Lock()
	defer s.holding.Unlock()
	h.ID, h.At = ids.New(), s.now().UTC()
	_, err := s.db.Exec(ctx, "INSERT INTO legal_holds (id, tenant, kind, name, reason, made_by, made_at, released_by, released_at) VALUES (?, ?, ?, ?, ?, ?, ?, '', '')",
		h.ID, h.Tenant, h.Kind, h.Name, h.Reason, h.By, sqlstore.Time(h.At))
	if err != nil {
		return Hold{}, fmt.Errorf("keep a hold: %w", err)
	}
	return h, nil
}

// Release ends a hold; fault.NotFound when the tenant has none of that id that still holds. Whom it was of is forgotten, for who is erased must not be named here: the
// record has their keys.
func (s *Store) Release(ctx context.Context, tenant, id, by string) error {
	return s.db.Tx(ctx, func(tx *sqlstore.Tx) error {
		if err := tx.Overwrite(ctx); err != nil {
			return err
		}
		done, err := tx.Exec(ctx, "UPDATE legal_holds SET name = '', released_by = ?, released_at = ? WHERE tenant = ? AND id = ? AND released_at = ''", by, sqlstore.Time(s.now()), tenant, id)
		if err != nil {
			return fmt.Errorf("release a hold: %w", err)
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, noHold(tenant, id))
		}
		return nil
	})
}

// Hold is one that still holds; fault.NotFound when the tenant has none of that id.
func (s *Store) Hold(ctx context.Context, tenant, id string) (Hold, error) {
	all, err := s.Holds(ctx, tenant)
	if err != nil {
		return Hold{}, err
	}
	if at := slices.IndexFunc(all, func(h Hold) bool { return h.ID == id }); at >= 0 {
		return all[at], nil
	}
	return Hold{}, noHold(tenant, id)
}

func noHold(tenant, id string) error {
	return fault.NotFound("No hold %s holds in tenant %s. `headgate audit hold list` shows those that do.", id, tenant)
}

// Holds are a tenant's that still hold, oldest first.
func (s *Store) Holds(ctx context.Context, tenant string) ([]Hold, error) {
	return holds(ctx, s.db, tenant)
}

// querier is a database or one of its transactions.
type querier interface {
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func holds(ctx context.Context, db querier, tenant string) ([]Hold, error) {
	rows, err := db.Query(ctx, "SELECT id, tenant, kind, name, reason, made_by, made_at FROM legal_holds WHERE tenant = ? AND released_at = '' ORDER BY made_at, id", tenant)
	if err != nil {
		return nil, fmt.Errorf("read the holds of %s: %w", tenant, err)
	}
	defer func() { _ = rows.Close() }()
	var out []Hold
	for rows.Next() {
		var h Hold
		var at string
		if err := rows.Scan(&h.ID, &h.Tenant, &h.Kind, &h.Name, &h.Reason, &h.By, &at); err != nil {
			return nil, err
		}
		if h.At, err = sqlstore.ParseTime(at); err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, rows.Err()
}

// errHeld is that something of a tenant's is held.
var errHeld = errors.New("a legal hold began meanwhile")

// unheld drops a batch of a tenant's records unless something of the tenant is held: then errHeld. No hold begins before the batch is done.
func (s *Store) unheld(ctx context.Context, tenant string, batch func() error) error {
	s.holding.Lock()
	defer s.holding.Unlock()
	held, err := s.Holds(ctx, tenant)
	switch {
	case err != nil:
		return err
	case len(held) > 0:
		return errHeld
	default:
		return batch()
	}
}

// MayErase refuses while the subject's records are held. It is asked in the transaction that erases: no hold begins before that ends. What Release left of
// names in earlier versions goes with it.
func (s *Store) MayErase(ctx context.Context, tx *sqlstore.Tx, tenant, kind, name string) error {
	if s.db.Driver() == sqlstore.Postgres { // SQLite has one writer
		if _, err := tx.Exec(ctx, "LOCK TABLE legal_holds IN SHARE ROW EXCLUSIVE MODE"); err != nil {
			return fmt.Errorf("wait for new holds: %w", err)
		}
	}
	held, err := holds(ctx, tx, tenant)
	if err != nil {
		return err
	}
	for _, h := range held {
		if h.Kind == "" || h.Kind == kind && sealed.Subject(h.Name) == sealed.Subject(name) {
			return fault.New(faultv1.Reason_REASON_CONFLICT,
				"Nothing is erased: the records are under the legal hold %s since %s. Release it first, if it may be: headgate audit hold release %s.", h.ID, h.At.Format(time.DateOnly), h.ID)
		}
	}
	if _, err := tx.Exec(ctx, "UPDATE legal_holds SET name = '' WHERE tenant = ? AND released_at <> '' AND name <> ''", tenant); err != nil {
		return fmt.Errorf("forget whom released holds were of: %w", err)
	}
	return nil
}

// tenants are those that have a rule by which records go.
func (s *Store) tenants(ctx context.Context) ([]string, error) {
	rows, err := s.db.Query(ctx, "SELECT tenant FROM retention WHERE days > 0 ORDER BY tenant")
	if err != nil {
		return nil, fmt.Errorf("read retention: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var tenant string
		if err := rows.Scan(&tenant); err != nil {
			return nil, err
		}
		out = append(out, tenant)
	}
	return out, rows.Err()
}
