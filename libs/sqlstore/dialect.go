package sqlstore

import (
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// timeForm sorts as text in the order of time.
const timeForm = "2006-01-02T15:04:05.000000000Z"

// Time is a moment as the databases keep it: text that sorts by time.
func Time(t time.Time) string { return t.UTC().Format(timeForm) }

// ParseTime reads what Time wrote.
func ParseTime(text string) (time.Time, error) { return time.Parse(timeForm, text) }

// rebind turns ? into $1, $2, ... for PostgreSQL, outside of quotes.
func rebind(driver, query string) string {
	if driver != Postgres || !strings.Contains(query, "?") {
		return query
	}
	var b strings.Builder
	quote, n := byte(0), 0
	for i := range len(query) {
		c := query[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '?':
			n++
			b.WriteString("$" + strconv.Itoa(n))
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// merged shows the files of several file systems as one directory.
type merged []fs.FS

// Open finds a file in the first file system that has it.
func (m merged) Open(name string) (fs.File, error) {
	for _, each := range m {
		if f, err := each.Open(name); err == nil {
			return f, nil
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Glob lists the files of all.
func (m merged) Glob(pattern string) ([]string, error) {
	var names []string
	for _, each := range m {
		found, err := fs.Glob(each, pattern)
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	return names, nil
}
