package upkeep

import (
	"context"
	"fmt"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/sqlstore"
)

// TellFor is how long a process has an alert for itself. Who was killed before it was written leaves it to the others after that.
const TellFor = 30 * time.Second

// Misfits remembers which policies no longer fit their tools and were told of, so that each is told once, by one of all processes that share the database.
// Safe for concurrent use.
type Misfits struct {
	DB  *sqlstore.DB
	Now clock.Now
}

// Misfit is a policy that does not fit, and a hash of it and of what does not fit.
type Misfit struct{ Tenant, Policy, Hash string }

// ToldMisfit is one that a process tells of. At is when it did; zero while it is not done.
type ToldMisfit struct {
	Misfit
	At time.Time
}

// All are those that are told of.
func (m *Misfits) All(ctx context.Context) ([]ToldMisfit, error) {
	rows, err := m.DB.Query(ctx, "SELECT tenant, policy, misfit, told_at FROM policy_misfits")
	if err != nil {
		return nil, fmt.Errorf("read which misfits were told: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var all []ToldMisfit
	for rows.Next() {
		var one ToldMisfit
		var at string
		if err := rows.Scan(&one.Tenant, &one.Policy, &one.Hash, &at); err != nil {
			return nil, fmt.Errorf("read which misfits were told: %w", err)
		}
		if at != "" {
			if one.At, err = sqlstore.ParseTime(at); err != nil {
				return nil, fmt.Errorf("read when the misfit of policy %s was told: %w", one.Policy, err)
			}
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// Claim takes the telling of a misfit, unless it was told or another process has it.
func (m *Misfits) Claim(ctx context.Context, of Misfit) (bool, error) {
	now := m.Now()
	done, err := m.DB.Exec(ctx, `INSERT INTO policy_misfits (tenant, policy, misfit, told_at, claimed_until) VALUES (?, ?, ?, '', ?)
		ON CONFLICT (tenant, policy) DO UPDATE SET misfit = excluded.misfit, told_at = '', claimed_until = excluded.claimed_until
		WHERE policy_misfits.misfit <> excluded.misfit OR policy_misfits.told_at = '' AND policy_misfits.claimed_until <= ?`,
		of.Tenant, of.Policy, of.Hash, sqlstore.Time(now.Add(TellFor)), sqlstore.Time(now))
	if err != nil {
		return false, fmt.Errorf("claim the misfit of policy %s: %w", of.Policy, err)
	}
	rows, err := done.RowsAffected()
	return rows > 0, err
}

// End notes that a misfit was told, or gives back one that could not be, also when the process ends meanwhile.
func (m *Misfits) End(ctx context.Context, of Misfit, told bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	at := ""
	if told {
		at = sqlstore.Time(m.Now())
	}
	_, err := m.DB.Exec(ctx, "UPDATE policy_misfits SET told_at = ?, claimed_until = '' WHERE tenant = ? AND policy = ? AND misfit = ?", at, of.Tenant, of.Policy, of.Hash)
	if err != nil {
		return fmt.Errorf("note the misfit of policy %s: %w", of.Policy, err)
	}
	return nil
}

// Forget drops what was told of a policy that fits again: the next time is told again.
func (m *Misfits) Forget(ctx context.Context, of Misfit) error {
	_, err := m.DB.Exec(ctx, "DELETE FROM policy_misfits WHERE tenant = ? AND policy = ? AND misfit = ?", of.Tenant, of.Policy, of.Hash)
	if err != nil {
		return fmt.Errorf("forget the misfit of policy %s: %w", of.Policy, err)
	}
	return nil
}

// ForgetMisfit drops, with a change of a policy, what was told of it before.
func ForgetMisfit(ctx context.Context, tx *sqlstore.Tx, tenant, policy string) error {
	if _, err := tx.Exec(ctx, "DELETE FROM policy_misfits WHERE tenant = ? AND policy = ?", tenant, policy); err != nil {
		return fmt.Errorf("forget the misfit of policy %s: %w", policy, err)
	}
	return nil
}
