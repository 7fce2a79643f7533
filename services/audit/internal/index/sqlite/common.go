package sqlite

import (
	"context"
	"fmt"
	"slices"

	"headgate.dev/libs/sqlstore"
	"headgate.dev/services/audit/internal/index"
)

const (
	// A walk looks at so many records at first, and then at twice as many each time.
	firstStep = 250
	lastStep  = 8000
	// neighbours is how far apart two records may be to be asked for together: to pass over one costs far less than to ask again.
	neighbours = 1000
)

// common finds records by words that very many have. It walks them in their order and asks FTS5 for a stretch of them at once, because to ask for each alone means to look
// for each word anew every time.
func (x *Index) common(ctx context.Context, q index.Query, words string) (out []found, next string, err error) {
	err = x.db.ReadTx(ctx, func(tx *sqlstore.Tx) error {
		var places []place
		for step := firstStep; ; step = min(2*step, lastStep) {
			some, err := walk(ctx, tx, q, step)
			if err != nil {
				return err
			}
			have, err := having(ctx, tx, words, some)
			if err != nil {
				return err
			}
			for _, at := range some {
				if have[at.seq] {
					places = append(places, at)
				}
			}
			if len(places) > q.Limit {
				places = places[:q.Limit]
				next = places[q.Limit-1].String()
				break
			}
			if len(some) < step {
				break
			}
			q.After = some[len(some)-1].String()
		}
		var err error
		out, err = events(ctx, tx, places)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("search for words: %w", err)
	}
	return out, next, nil
}

// walk lists the next records that fit everything but the words, in their order.
func walk(ctx context.Context, tx *sqlstore.Tx, q index.Query, count int) ([]place, error) {
	from, where, args, err := conditions(q, lookup{})
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, "SELECT seq, time FROM "+from+" WHERE "+where+" ORDER BY time DESC, seq DESC LIMIT ?", append(args, count)...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	out := make([]place, 0, count)
	for rows.Next() {
		var at place
		if err := rows.Scan(&at.seq, &at.time); err != nil {
			return nil, err
		}
		out = append(out, at)
	}
	return out, rows.Err()
}

// having says which of the records have the words. Records come about in the order of their times, so that most are neighbours.
func having(ctx context.Context, tx *sqlstore.Tx, words string, some []place) (map[int64]bool, error) {
	seqs := make([]int64, len(some))
	for i, at := range some {
		seqs[i] = at.seq
	}
	slices.Sort(seqs)
	have := map[int64]bool{}
	for len(seqs) > 0 {
		n := 1
		for n < len(seqs) && seqs[n]-seqs[n-1] <= neighbours {
			n++
		}
		if err := between(ctx, tx, words, seqs[0], seqs[n-1], have); err != nil {
			return nil, err
		}
		seqs = seqs[n:]
	}
	return have, nil
}

func between(ctx context.Context, tx *sqlstore.Tx, words string, first, last int64, have map[int64]bool) error {
	rows, err := tx.Query(ctx, "SELECT rowid FROM words WHERE words MATCH ? AND rowid BETWEEN ? AND ?", words, first, last)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return err
		}
		have[seq] = true
	}
	return rows.Err()
}

func events(ctx context.Context, tx *sqlstore.Tx, places []place) ([]found, error) {
	var out []found
	for _, at := range places {
		var body []byte
		if err := tx.QueryRow(ctx, "SELECT body FROM events WHERE seq = ?", at.seq).Scan(&body); err != nil {
			return nil, err
		}
		ev, err := decode(at.seq, body)
		if err != nil {
			return nil, err
		}
		out = append(out, found{at, ev})
	}
	return out, nil
}
