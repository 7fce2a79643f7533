// Package index is what audit asks of a store that finds records.
package index

import (
	"context"
	"fmt"
	"math"
	"time"

	"headgate.dev/libs/ledger"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

// Index finds audit records. Safe for concurrent use.
type Index interface {
	// Add stores records. One that is already there, by its id and its bytes, is not an error; the same holds within one call. One whose id another record has is
	// rejected, and that other stays as it was.
	// After nil the records survive a crash and are found by Search, within Freshness. *Rejected says that all are stored but some, which never can be.
	// After any other error some may be stored: add all of them again.
	Add(ctx context.Context, records []Record) error
	// Search returns the records that fit every field of the query, newest first; of one instant, the one that was added last comes first. No match
	// is no error.
	Search(ctx context.Context, q Query) (Page, error)
	// Uses calls yield for each person, agent, server and tool of a tenant that an action of record.Uses let pass since an instant, in no order, until
	// it returns an error. It is one question to the store, however much there is.
	Uses(ctx context.Context, tenant string, since time.Time, yield func(Use) error) error
	// Oldest is when the tenant's oldest record happened; zero when there is none.
	Oldest(ctx context.Context, tenant string) (time.Time, error)
	// Drop takes a tenant's records from before an instant out for good, and answers how many they were. Each batch is done by within, which may refuse it.
	// After an error some may be gone: drop again.
	Drop(ctx context.Context, tenant string, before time.Time, within func(batch func() error) error) (int64, error)
	// Ping reports whether the store answers.
	Ping(ctx context.Context) error
}

// Freshness is after how long at most a stored record is found.
const Freshness = 5 * time.Second

// Rejected is the error of an Add that stored all records but these, because of what they are: to add them again is useless.
type Rejected struct{ Records []Rejection }

// Rejection is a record that an index cannot store, and why.
type Rejection struct {
	// Record is as Add was given it, with the same Event: several records may claim one id.
	Record Record
	// Class is one word, Reason a sentence.
	Class, Reason string
}

// IDTaken is the class of a record whose id another record has.
const IDTaken = "id-taken"

// Taken rejects a record whose id another record has.
func Taken(r Record) Rejection {
	return Rejection{Record: r, Class: IDTaken, Reason: fmt.Sprintf("another record with the id %s is in the index, and its bytes are others: somebody writes records under ids that are not theirs; "+
		"look who may write to the topic, and compare both in the ledger", r.Event.GetId())}
}

// Error implements error.
func (r *Rejected) Error() string {
	return fmt.Sprintf("%d records cannot be stored as they are; the first is %s: %s: %s",
		len(r.Records), r.Records[0].Record.Event.GetId(), r.Records[0].Class, r.Records[0].Reason)
}

// Record is one event and the bytes that it was journaled as. The index keeps the bytes: they are what the hash chain is over.
type Record struct {
	Event *eventsv1.Event
	Bytes []byte
}

// Query is a filter of records, as exports and tails have it, and which part of what fits is wanted. Until and Limit must be set.
//
// Text finds words whatever their case and the marks above and below letters.
type Query struct {
	ledger.Filter

	// Alerts finds only what record.Alert says is one.
	Alerts bool
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

// Use is how often somebody called something, and when last, to the millisecond at least.
type Use struct {
	Person, Agent, Server, Tool string
	Calls                       int64
	Last                        time.Time
}

// Nanos is the instant as a number; what lies outside of the numbers is the nearest that is not.
func Nanos(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	default:
		return t.UnixNano()
	}
}

// Last is the number of the last instant before another. What is beyond the numbers is before an instant that is.
func Last(until time.Time) int64 {
	if until.After(time.Unix(0, math.MaxInt64)) {
		return math.MaxInt64
	}
	return max(Nanos(until), math.MinInt64+1) - 1
}
