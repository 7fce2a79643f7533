package upkeep

import (
	"context"
	"fmt"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/sqlstore"
)

// Pin is the model that somebody chose for a tenant's relations.
type Pin struct {
	Model string
	// Previous is the one before, to go back to.
	Previous string
}

// Pins remembers the models that were chosen. A choice holds for the program's own model at that time: a later version that carries another one begins with
// its own. Safe for concurrent use.
type Pins struct {
	DB *sqlstore.DB
	// Program names the model that this program carries.
	Program string
	Now     clock.Now
}

// All are the choices that hold, by tenant.
func (p *Pins) All(ctx context.Context) (map[string]Pin, error) {
	rows, err := p.DB.Query(ctx, "SELECT tenant, model, previous FROM relation_models WHERE program = ?", p.Program)
	if err != nil {
		return nil, fmt.Errorf("read the pinned models: %w", err)
	}
	defer func() { _ = rows.Close() }()
	all := map[string]Pin{}
	for rows.Next() {
		var tenant string
		var pin Pin
		if err := rows.Scan(&tenant, &pin.Model, &pin.Previous); err != nil {
			return nil, fmt.Errorf("read the pinned models: %w", err)
		}
		all[tenant] = pin
	}
	return all, rows.Err()
}

// Clear forgets what was chosen for a tenant whose store is gone, or cannot be asked by it.
func (p *Pins) Clear(ctx context.Context, tenant string) error {
	if _, err := p.DB.Exec(ctx, "DELETE FROM relation_models WHERE tenant = ?", tenant); err != nil {
		return fmt.Errorf("forget the pinned model of tenant %s: %w", tenant, err)
	}
	return nil
}

// Set chooses a model for a tenant.
func (p *Pins) Set(ctx context.Context, tenant string, pin Pin, author string) error {
	_, err := p.DB.Exec(ctx, `INSERT INTO relation_models (tenant, model, previous, program, author, pinned_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (tenant) DO UPDATE SET model = excluded.model, previous = excluded.previous, program = excluded.program, author = excluded.author,
		pinned_at = excluded.pinned_at`, tenant, pin.Model, pin.Previous, p.Program, author, sqlstore.Time(p.Now()))
	if err != nil {
		return fmt.Errorf("pin the model of tenant %s: %w", tenant, err)
	}
	return nil
}
