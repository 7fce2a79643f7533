package sqlite

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index"
)

// Search implements index.Index.
func (x *Index) Search(ctx context.Context, q index.Query) (index.Page, error) {
	where, args, err := x.conditions(ctx, q)
	if err != nil {
		return index.Page{}, err
	}
	rows, err := x.db.Query(ctx, "SELECT seq, time, body FROM events WHERE "+where+" ORDER BY time DESC, seq DESC LIMIT ?", append(args, q.Limit+1)...)
	if err != nil {
		return index.Page{}, fmt.Errorf("search: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var (
		page index.Page
		at   place
	)
	for rows.Next() {
		if len(page.Events) == q.Limit {
			page.Next = at.String()
			break
		}
		var body []byte
		if err := rows.Scan(&at.seq, &at.time, &body); err != nil {
			return index.Page{}, fmt.Errorf("search: %w", err)
		}
		ev := &eventsv1.Event{}
		if err := proto.Unmarshal(body, ev); err != nil {
			return index.Page{}, fmt.Errorf("record %d of the index cannot be read: %w", at.seq, err)
		}
		page.Events = append(page.Events, ev)
	}
	if err := rows.Err(); err != nil {
		return index.Page{}, fmt.Errorf("search: %w", err)
	}
	return page, nil
}

func (x *Index) conditions(ctx context.Context, q index.Query) (string, []any, error) {
	where, args := []string{"time >= ?"}, []any{nanos(q.Since)}
	until := nanos(q.Until)
	if q.After != "" {
		at, err := parsePlace(q.After)
		if err != nil {
			return "", nil, err
		}
		if at.time < until {
			until = at.time + 1 // so that the index begins there
		}
		where, args = append(where, "(time, seq) < (?, ?)"), append(args, at.time, at.seq)
	}
	where, args = append(where, "time < ?"), append(args, until)
	for _, c := range []struct{ column, value string }{
		{"tenant", q.Tenant}, {"person", q.Person}, {"agent", q.Agent}, {"server", q.Server}, {"tool", q.Tool}, {"effect", q.Effect}, {"action", q.Action},
	} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	if !q.Started {
		where = append(where, "NOT started")
	}
	if q.Text != "" {
		words, err := match(q.Text)
		if err != nil {
			return "", nil, err
		}
		condition, err := x.wordsCondition(ctx, words)
		if err != nil {
			return "", nil, err
		}
		where, args = append(where, condition), append(args, words)
	}
	return strings.Join(where, " AND "), args, nil
}

// manyRecords is from where on it is cheaper to look into the newest records one by one than to list all that have the words.
const manyRecords = 2000

func (x *Index) wordsCondition(ctx context.Context, words string) (string, error) {
	var n int
	err := x.db.QueryRow(ctx, "SELECT count(*) FROM (SELECT 1 FROM words WHERE words MATCH ? LIMIT ?)", words, manyRecords).Scan(&n)
	if err != nil {
		return "", fmt.Errorf("search for words: %w", err)
	}
	if n < manyRecords {
		return "seq IN (SELECT rowid FROM words WHERE words MATCH ?)", nil
	}
	return "EXISTS (SELECT 1 FROM words WHERE words MATCH ? AND rowid = seq)", nil
}

// match is the user's words as an FTS5 expression in which nothing but words has a meaning: each is a quoted string, all must occur.
func match(text string) (string, error) {
	var quoted []string
	for word := range strings.FieldsSeq(strings.ToValidUTF8(text, " ")) {
		if !strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }) {
			continue // FTS5 indexes letters and numbers alone
		}
		word = strings.ReplaceAll(word, "\x00", " ")
		quoted = append(quoted, `"`+strings.ReplaceAll(word, `"`, `""`)+`"`)
	}
	if len(quoted) == 0 {
		return "", fault.Invalid("text: has no letter or number to search for")
	}
	return strings.Join(quoted, " AND "), nil
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
