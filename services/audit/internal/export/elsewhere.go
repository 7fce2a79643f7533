package export

import (
	"context"
	"sort"

	base "headgate.dev/libs/ledger"
)

// elsewhere shows where the records stand that came so early that they are among the hashes at the beginning, though their writer's next ones are not. What the log
// does not have is missing or still on its way: the verifier tells. Whoever forges a record chooses its number, so that this takes at most one step for each record
// before start, however many numbers are missing.
func (w *writer) elsewhere(ctx context.Context, start int64) error {
	missing, count := w.tracker.Missing(), uint64(0)
	for _, r := range missing {
		count += min(r.Last-r.First, uint64(start)) + 1
	}
	if count <= uint64(start) {
		return w.byNumber(ctx, missing, start)
	}
	return w.byPlace(ctx, missing, start)
}

// byNumber looks for each number.
func (w *writer) byNumber(ctx context.Context, missing []base.Range, start int64) error {
	for _, r := range missing {
		for n := r.First; n <= r.Last; n++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			index, err := w.p.View.Find(r.Writer, n)
			if err == nil && index >= 0 && index < start {
				err = w.place(index)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// byPlace looks at each record before start.
func (w *writer) byPlace(ctx context.Context, missing []base.Range, start int64) error {
	of := map[string][]base.Range{}
	for _, r := range missing {
		of[r.Writer] = append(of[r.Writer], r)
	}
	for index := range start {
		if err := ctx.Err(); err != nil {
			return err
		}
		head, err := w.p.View.Head(index)
		if err != nil {
			return err
		}
		ranges := of[head.Writer]
		at := sort.Search(len(ranges), func(i int) bool { return ranges[i].Last >= head.Sequence })
		if at == len(ranges) || ranges[at].First > head.Sequence {
			continue
		}
		if err := w.place(index); err != nil {
			return err
		}
	}
	return nil
}

// place writes the line that shows a record's place.
func (w *writer) place(index int64) error {
	head, err := w.p.View.Head(index)
	if err != nil {
		return err
	}
	proof, err := w.p.View.Prove(index)
	if err != nil {
		return err
	}
	text, err := base.ElsewhereLine(index, head, proof)
	if err != nil {
		return err
	}
	w.tally.Place(index)
	return w.emit(text)
}
