package tenants

import (
	"context"
	"slices"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/authz/internal/relations"
)

const (
	// looks is how often a store is read while the directory moves on under the one who reads.
	looks = 10
	// between two looks: what another process is about to write is no drift.
	between = time.Second
)

// Drift is how a tenant's store differs from the directory, and how many tuples the directory says.
type Drift struct {
	relations.Difference

	Tuples int
}

// Found reports whether there is any.
func (d Drift) Found() bool { return len(d.Gone)+len(d.Come) > 0 }

// Drift compares a tenant's store with the directory and changes nothing. What it finds it found twice.
func (t *Tenants) Drift(ctx context.Context, name string) (Drift, error) {
	found, err := t.look(ctx, name)
	if err != nil || !found.Found() {
		return found, err
	}
	if !clock.Sleep(ctx, between) {
		return Drift{}, ctx.Err()
	}
	again, err := t.look(ctx, name)
	if err != nil {
		return Drift{}, err
	}
	again.Gone, again.Come = both(found.Gone, again.Gone), both(found.Come, again.Come)
	return again, nil
}

func both(before, after []relations.Tuple) []relations.Tuple {
	return slices.DeleteFunc(after, func(t relations.Tuple) bool { return !slices.Contains(before, t) })
}

// look reads a store while its tenant stands still.
func (t *Tenants) look(ctx context.Context, name string) (Drift, error) {
	for range looks {
		before, err := t.Get(name)
		if err != nil {
			return Drift{}, err
		}
		stored, err := before.Store.Read(ctx)
		if err != nil {
			return Drift{}, err
		}
		after, err := t.Get(name)
		if err != nil {
			return Drift{}, err
		}
		if before.Settled && before.Generation == after.Generation {
			want := relations.Desired(before.Directory)
			return Drift{relations.Diff(relations.NewSet(stored), want), len(want)}, nil
		}
		if !clock.Sleep(ctx, shortestRetry) {
			return Drift{}, ctx.Err()
		}
	}
	return Drift{}, fault.New(faultv1.Reason_REASON_UNAVAILABLE,
		"The directory of tenant %s changes so often that its relations could not be compared. Nothing was changed; try again in a moment.", name)
}

// Mend makes a tenant's store equal to the directory again and returns what it had to change.
func (t *Tenants) Mend(ctx context.Context, name string) (relations.Difference, error) {
	if _, err := t.Get(name); err != nil {
		return relations.Difference{}, err
	}
	done := make(chan mended, 1)
	t.mu.Lock()
	held := t.held[name]
	if held == nil {
		t.mu.Unlock()
		return relations.Difference{}, fault.NotFound("There is no tenant %s.", name)
	}
	held.recheck, held.waiting = true, append(held.waiting, done)
	t.mu.Unlock()
	t.wake()
	select {
	case m := <-done:
		return m.diff, m.err
	case <-ctx.Done():
		return relations.Difference{}, ctx.Err()
	}
}

// mended is what a job that reads the store again had to change.
type mended struct {
	diff relations.Difference
	err  error
}

// drifted reports what was found where nobody asked for it: a store that was read again because it held less than the directory.
func (t *Tenants) drifted(j job, diff relations.Difference) {
	if j.recheck && len(j.waiting) == 0 && j.before == j.after && len(diff.Gone)+len(diff.Come) > 0 && t.cfg.Drifted != nil {
		t.cfg.Drifted(j.held.name, diff)
	}
}
