package sqlite

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index"
)

// lookStep is how many records are read at once where each has to be looked at.
const lookStep = 1000

// found is a record and where it stands.
type found struct {
	at    place
	event *eventsv1.Event
}

// Search implements index.Index. Fields without a column are looked for in the records themselves, among those that the words and the columns leave.
func (x *Index) Search(ctx context.Context, q index.Query) (index.Page, error) {
	if err := x.whole(q); err != nil {
		return index.Page{}, err
	}
	l, err := x.lookup(ctx, q)
	if err != nil {
		return index.Page{}, err
	}
	var kept []found
	step, exact := q, q.Outcome+q.Rule+q.Code+q.Call+q.Trace == "" // exact says that what is found there is what is wanted
	if !exact {
		step.Limit = max(q.Limit, lookStep)
	}
	for {
		some, next, err := x.page(ctx, step, l)
		if err != nil {
			return index.Page{}, err
		}
		for _, one := range some {
			if q.MatchFields(one.event) {
				kept = append(kept, one)
			}
		}
		if exact || len(kept) > q.Limit || next == "" {
			return paged(kept, q.Limit, next), nil
		}
		step.After = next
	}
}

// paged is as much of what was kept as is wanted.
func paged(kept []found, limit int, next string) index.Page {
	if len(kept) > limit {
		kept, next = kept[:limit], kept[limit-1].at.String()
	}
	page := index.Page{Next: next}
	for _, one := range kept {
		page.Events = append(page.Events, one.event)
	}
	return page
}

// page is the next records that fit the words and the columns, and from where to go on; empty when nothing follows.
func (x *Index) page(ctx context.Context, q index.Query, l lookup) (out []found, next string, err error) {
	if l.common {
		return x.common(ctx, q, l.words)
	}
	from, where, args, err := conditions(q, l)
	if err != nil {
		return nil, "", err
	}
	rows, err := x.db.Query(ctx, "SELECT seq, time, body FROM "+from+" WHERE "+where+" ORDER BY time DESC, seq DESC LIMIT ?", append(args, q.Limit+1)...)
	if err != nil {
		return nil, "", fmt.Errorf("search: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if len(out) == q.Limit {
			return out, out[q.Limit-1].at.String(), nil
		}
		var one found
		var body []byte
		if err := rows.Scan(&one.at.seq, &one.at.time, &body); err != nil {
			return nil, "", fmt.Errorf("search: %w", err)
		}
		if one.event, err = decode(one.at.seq, body); err != nil {
			return nil, "", err
		}
		out = append(out, one)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("search: %w", err)
	}
	return out, "", nil
}

func decode(seq int64, body []byte) (*eventsv1.Event, error) {
	ev := &eventsv1.Event{}
	if err := proto.Unmarshal(body, ev); err != nil {
		return nil, fmt.Errorf("record %d of the index cannot be read: %w", seq, err)
	}
	return ev, nil
}

// table is the events in the order of time, by the index that leaves the fewest of them to look at: SQLite, which knows no figures of them, takes the tenant's where the
// person's is there.
func table(q index.Query) string {
	switch {
	case q.Alerts: // has alerts alone: also where all tenants' are wanted, it is the shortest
		return "events INDEXED BY events_alert"
	case q.Tenant == "":
		return "events INDEXED BY events_time"
	case q.Person != "":
		return "events INDEXED BY events_person"
	default:
		return "events INDEXED BY events_tenant"
	}
}

// conditions is where to look, for what but common words, and with which parameters.
func conditions(q index.Query, l lookup) (from, where string, args []any, err error) {
	// Few records are looked up one by one and then sorted. A plus keeps SQLite from walking a whole tenant in the order of time instead.
	unary := ""
	from = table(q)
	if l.few {
		from, unary = "events", "+"
	}
	all, args := []string{unary + "time >= ?"}, []any{index.Nanos(q.Since)}
	last := index.Last(q.Until)
	if q.After != "" {
		at, err := parsePlace(q.After)
		if err != nil {
			return "", "", nil, err
		}
		last = min(last, at.time) // so that the index begins there
		all, args = append(all, "("+unary+"time, seq) < (?, ?)"), append(args, at.time, at.seq)
	}
	all, args = append(all, unary+"time <= ?"), append(args, last)
	for _, c := range []struct{ column, value string }{
		{"tenant", q.Tenant}, {"person", q.Person}, {"agent", q.Agent}, {"server", q.Server}, {"tool", q.Tool}, {"effect", q.Effect}, {"action", q.Action},
	} {
		if c.value != "" {
			all, args = append(all, unary+c.column+" = ?"), append(args, c.value)
		}
	}
	if q.Alerts {
		all = append(all, "alert <> ''")
	}
	if !q.Started {
		all = append(all, "NOT started")
	}
	if l.few {
		all, args = append(all, "seq IN (SELECT rowid FROM words WHERE words MATCH ?)"), append(args, l.words)
	}
	return from, strings.Join(all, " AND "), args, nil
}

// manyRecords is from where on it is cheaper to look into the newest records one by one than to list all that have the words.
const manyRecords = 2000

// lookup is how the words help with a search: few records have all of them, or many have those of the text. Neither when there is no text, and no rare value.
type lookup struct {
	words       string // in FTS5's form
	few, common bool
}

// lookup asks the words for a text and a filter's values. The values are among the words of every record that has them; no field needs an index of its own, which every
// record would pay for.
func (x *Index) lookup(ctx context.Context, q index.Query) (lookup, error) {
	text := ""
	if q.Text != "" {
		var err error
		if text, err = match(q.Text); err != nil {
			return lookup{}, err
		}
	}
	all := text
	if x.remaining() == 0 {
		for _, value := range []string{q.Agent, q.Server, q.Tool, q.Effect, q.Action, q.Rule, q.Call, q.Trace} {
			if words := record.Words(value); len(words) > 0 {
				all = join(all, quote(words))
			}
		}
	}
	if all == "" {
		return lookup{}, nil
	}
	var n int
	err := x.db.QueryRow(ctx, "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)", all, manyRecords).Scan(&n)
	switch {
	case err != nil:
		return lookup{}, fmt.Errorf("search for words: %w", err)
	case n < manyRecords:
		return lookup{words: all, few: true}, nil
	default:
		return lookup{words: text, common: text != ""}, nil
	}
}

// place is where a page ended.
type place struct{ time, seq int64 }

func (p place) String() string { return fmt.Sprintf("%d.%d", p.time, p.seq) }

func parsePlace(text string) (place, error) {
	instant, seq, _ := strings.Cut(text, ".")
	t, timeErr := strconv.ParseInt(instant, 10, 64)
	s, seqErr := strconv.ParseInt(seq, 10, 64)
	if timeErr != nil || seqErr != nil {
		return place{}, fault.Invalid("pageToken: is not one that a search returned; begin again without it")
	}
	return place{time: t, seq: s}, nil
}
