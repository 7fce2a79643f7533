// Package index is what audit asks of a store that finds records.
package index

import (
	"context"
	"time"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Index finds audit records. Safe for concurrent use.
type Index interface {
	// Add stores records, all or none. One that is already there, by its id, is not an error and stays as it was; the same holds within one call.
	// After nil the records are found by the next Search and survive a crash.
	Add(ctx context.Context, records []Record) error
	// Search returns the records that fit every field of the query, newest first; of one instant, the one that was added last comes first. No match
	// is no error.
	Search(ctx context.Context, q Query) (Page, error)
	// Ping reports whether the store answers.
	Ping(ctx context.Context) error
}

// Record is one event and the bytes that it was journaled as. The index keeps the bytes: they are what the hash chain is over.
type Record struct {
	Event *eventsv1.Event
	Bytes []byte
}

// Query narrows by every field that is set. Limit must be positive.
type Query struct {
	Tenant string
	Person string
	Agent  string
	Server string
	Tool   string
	Effect string
	Action string
	// Text holds words; each must occur in the record, whatever its case. What is no letter or digit joins the words beside it: they must then stand
	// side by side.
	Text string
	// Since is the first instant that fits, Until the first that no longer does.
	Since, Until time.Time
	// Started also finds the records of calls that had only started.
	Started bool
	Limit   int
	// After continues behind the page whose Next it is; empty begins with the newest.
	After string
}

// Page is a part of what was found.
type Page struct {
	Events []*eventsv1.Event
	// Next is empty when nothing follows.
	Next string
}
