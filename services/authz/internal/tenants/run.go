package tenants

import (
	"context"
	"sync"
	"time"

	"headgate.dev/services/authz/internal/directory"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/relations"
)

const (
	// atOnce is how many tenants are brought up to date at the same time.
	atOnce = 8
	// mostNamed is how many principals a change names; beyond it, it names the tenant.
	mostNamed = 500

	shortestRetry = 50 * time.Millisecond
	longestRetry  = 2 * time.Second

	// A model that another process pinned is tried again after so long.
	shortestSwitch = 2 * time.Second
	longestSwitch  = time.Minute
)

// job is one tenant to bring up to date.
type job struct {
	held    *tenant
	before  *directory.Tenant
	after   *directory.Tenant // nil: the tenant is gone
	recheck bool
	waiting []chan mended
	next    *openfga.Store
	// told: everyone was told that there is no answer, and has to be told that there is one again.
	told bool
}

// Run brings the relations up to date whenever the directory changes, until ctx ends. A tenant that takes long does not hold up the others.
func (t *Tenants) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	done := make(chan struct{}, atOnce)
	free := atOnce
	for {
		jobs, next := t.next(time.Now(), free)
		for _, j := range jobs {
			free--
			running.Go(func() {
				diff, err := t.update(ctx, j)
				t.finish(ctx, j, err)
				for _, waiting := range j.waiting {
					waiting <- mended{diff, err} // has room
				}
				done <- struct{}{} // has room for all
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-done:
			free++
		case <-t.kick:
		case <-next:
		}
	}
}

// next takes at most free jobs, and says when a failed tenant is to be tried again.
func (t *Tenants) next(now time.Time, free int) ([]job, <-chan time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.heard {
		return nil, nil
	}
	var jobs []job
	var soonest time.Time
	settled := true
	for name, held := range t.held {
		after, there := t.view.Tenant(name)
		if there && held.applied == after && held.failed == nil && !held.recheck {
			continue
		}
		settled = false
		switch {
		case held.busy || len(jobs) == free:
		case held.retry.After(now):
			if soonest.IsZero() || held.retry.Before(soonest) {
				soonest = held.retry
			}
		default:
			jobs = append(jobs, job{held: held, before: held.applied, after: after, recheck: held.recheck, waiting: held.waiting, next: held.next, told: held.failed != nil})
			held.busy, held.recheck, held.waiting = true, false, nil
		}
	}
	if settled {
		t.settle()
	}
	if soonest.IsZero() {
		return jobs, nil
	}
	return jobs, time.After(soonest.Sub(now))
}

// settle notes, under the lock, that every tenant's relations hold the newest directory.
func (t *Tenants) settle() {
	moved := t.view.Revision != t.revision
	t.revision = t.view.Revision
	if !t.ready {
		t.ready = true
		close(t.sync)
	}
	if moved {
		t.cfg.Publish(Changed{Directory: t.revision})
	}
}

func (t *Tenants) update(ctx context.Context, j job) (relations.Difference, error) {
	if j.after == nil {
		return relations.Difference{}, t.remove(ctx, j)
	}
	return t.reconcile(ctx, j)
}

// reconcile makes the store equal to the directory: what is gone first, and whom that concerns is told before much else is written. When the
// directory has changed again meanwhile, it stops and leaves the rest to the next job.
func (t *Tenants) reconcile(ctx context.Context, j job) (relations.Difference, error) {
	none := relations.Difference{}
	r, err := t.open(ctx, j.held)
	if err != nil {
		return none, err
	}
	if j.next != nil && j.next != j.held.store {
		r = relations.NewReconciler(j.next) // what must be there by the new model is written by it, before anybody is asked by it
	}
	if j.recheck {
		r.Forget()
	}
	diff, err := r.Plan(ctx, relations.Desired(j.after))
	if err != nil {
		return none, err
	}
	t.drifted(j, diff)
	if err := r.Remove(ctx, diff); err != nil {
		return none, err
	}
	unsaid := diff.Gone
	if len(diff.Gone) > 0 && len(diff.Come) > relations.Batch {
		t.changed(j, j.before, unsaid)
		unsaid = nil
	}
	came, err := r.Add(ctx, diff, func() bool { return t.newest(j) })
	if err != nil {
		return none, err
	}
	if j.next != nil {
		j.held.reconciler = r
		t.switched(j.held, j.next)
	}
	applied := j.after
	if len(came) < len(diff.Come) {
		applied = j.before
	}
	t.changed(j, applied, append(unsaid, came...))
	return diff, nil
}

func (t *Tenants) newest(j job) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, _ := t.view.Tenant(j.held.name)
	return now == j.after
}

func (t *Tenants) open(ctx context.Context, held *tenant) (*relations.Reconciler, error) {
	if held.reconciler != nil {
		return held.reconciler, nil
	}
	store, err := t.cfg.Open(ctx, held.name)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	held.store, held.reconciler = store, relations.NewReconciler(store)
	return held.reconciler, nil
}

// remove ends a tenant whose directory is gone.
func (t *Tenants) remove(ctx context.Context, j job) error {
	if _, err := t.open(ctx, j.held); err != nil {
		return err
	}
	if t.cfg.Removed != nil {
		if err := t.cfg.Removed(ctx, j.held.name); err != nil {
			return err
		}
	}
	if err := j.held.store.Delete(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	j.held.store, j.held.reconciler, j.held.applied, j.held.failed = nil, nil, nil, nil
	j.held.moved(true)
	if _, again := t.view.Tenant(j.held.name); !again { // if it came back meanwhile, it gets a new store
		delete(t.held, j.held.name)
	}
	t.publish(j.held, relations.Affected{}, true)
	return nil
}

// changed remembers what OpenFGA has acknowledged and tells whose rights that concerns.
func (t *Tenants) changed(j job, applied *directory.Tenant, tuples []relations.Tuple) {
	affected := relations.FindAffected(j.before, j.after, tuples)
	t.mu.Lock()
	defer t.mu.Unlock()
	j.held.applied, j.held.failed = applied, nil
	j.held.moved(affected.Count() > 0 || j.told || !j.after.SamePeople(j.before))
	t.publish(j.held, affected, j.told || j.before == nil || affected.Count() > mostNamed)
}

// publish is called under the lock, so that changes leave in their order.
func (t *Tenants) publish(held *tenant, affected relations.Affected, everyone bool) {
	if everyone {
		affected = relations.Affected{}
	} else if affected.Count() == 0 {
		return
	}
	t.cfg.Publish(Changed{Tenant: held.name, Everyone: everyone, Affected: affected, Directory: t.revision})
}

// finish gives the tenant back. After a failure it is unavailable: everyone of it is told to ask again, so that nobody keeps a right that may be gone.
func (t *Tenants) finish(ctx context.Context, j job, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	j.held.busy = false
	if err == nil {
		j.held.wait, j.held.retry = 0, time.Time{}
		if j.next != nil {
			j.held.nextWait, j.held.nextRetry = 0, time.Time{}
		}
		return
	}
	if ctx.Err() != nil {
		return
	}
	if j.next != nil { // what is in use stays in use; whether it still holds what it should is read again
		if j.held.next == j.next {
			j.held.next = nil
		}
		j.held.reconciler.Forget()
		j.held.recheck = true
		j.held.nextWait = min(max(2*j.held.nextWait, shortestSwitch), longestSwitch)
		j.held.nextRetry = time.Now().Add(j.held.nextWait)
		t.cfg.Log.WarnContext(ctx, "relations could not be brought to another model, the one in use stays", "tenant", j.held.name, "model", j.next.Model(), "cause", causes(err))
		return
	}
	j.held.wait = min(max(2*j.held.wait, shortestRetry), longestRetry)
	j.held.retry = time.Now().Add(j.held.wait)
	first := j.held.failed == nil
	j.held.failed = err
	j.held.moved(true)
	if first {
		t.publish(j.held, relations.Affected{}, true)
		t.cfg.Log.ErrorContext(ctx, "relations could not be brought up to date", "tenant", j.held.name, "cause", causes(err))
	}
}

// causes is the error with what lies under it: a fault's sentence alone hides why.
func causes(err error) string {
	if under, ok := err.(interface{ Unwrap() error }); ok && under.Unwrap() != nil {
		return err.Error() + " (" + causes(under.Unwrap()) + ")"
	}
	return err.Error()
}
