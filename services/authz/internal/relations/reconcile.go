package relations

import (
	"context"
	"slices"
)

// Store keeps one tenant's tuples. What is already gone or already there is no error; a write is done whole or not at all.
type Store interface {
	Read(ctx context.Context) ([]Tuple, error)
	Write(ctx context.Context, gone, come []Tuple) error
}

// Batch is the most tuples in one write.
const Batch = 100

// Reconciler makes a store equal to what is desired: Plan, Remove, Add. It reads the store once and remembers; after a failed write it reads
// again. It is for one goroutine.
type Reconciler struct {
	store Store
	have  Set // nil: not known
}

// NewReconciler returns a reconciler that knows nothing of the store yet.
func NewReconciler(store Store) *Reconciler { return &Reconciler{store: store} }

// Forget makes the next Plan read the store again.
func (r *Reconciler) Forget() { r.have = nil }

// Difference is what must go from a store and come into it.
type Difference struct{ Gone, Come []Tuple }

// Plan compares the store with what is desired.
func (r *Reconciler) Plan(ctx context.Context, want Set) (Difference, error) {
	if r.have == nil {
		stored, err := r.store.Read(ctx)
		if err != nil {
			return Difference{}, err
		}
		r.have = NewSet(stored)
	}
	return Diff(r.have, want), nil
}

// Remove takes out what must go. It returns when the store has acknowledged everything.
func (r *Reconciler) Remove(ctx context.Context, d Difference) error {
	for batch := range slices.Chunk(d.Gone, Batch) {
		if err := r.store.Write(ctx, batch, nil); err != nil {
			r.have = nil
			return err
		}
		for _, t := range batch {
			delete(r.have, t.Key())
		}
	}
	return nil
}

// Add brings in what must come, after Remove: a tuple whose end changed is in both. It goes on between batches only while more says so, and returns
// what the store has acknowledged.
func (r *Reconciler) Add(ctx context.Context, d Difference, more func() bool) ([]Tuple, error) {
	for from := 0; from < len(d.Come); from += Batch {
		if from > 0 && !more() {
			return d.Come[:from], nil
		}
		batch := d.Come[from:min(from+Batch, len(d.Come))]
		if err := r.store.Write(ctx, nil, batch); err != nil {
			r.have = nil
			return d.Come[:from], err
		}
		for _, t := range batch {
			r.have[t.Key()] = t.Until
		}
	}
	return d.Come, nil
}
