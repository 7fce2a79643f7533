// Package indextest is the contract of an index, as tests that every implementation runs.
package indextest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/ledger"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
)

// noon is when the events of the tests happen.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Event is a record of the tests: it happened so many seconds after noon.
func Event(id, tenant, person string, second int, change ...func(ev *eventsv1.Event)) index.Record {
	ev := &eventsv1.Event{
		Id: id, Action: "tool-call", Phase: eventsv1.Phase_PHASE_FINAL, Tenant: tenant, Service: "edge",
		Time:      timestamppb.New(noon.Add(time.Duration(second) * time.Second)),
		Principal: &eventsv1.Principal{Person: person, Email: person + "@" + tenant + ".example", Agent: "client:claude"},
		Target:    &eventsv1.Target{Server: "tickets", Tool: "close_ticket"},
		Decision:  &eventsv1.Decision{Effect: "allow", Rule: "tickets/support-may-close"},
	}
	for _, c := range change {
		c(ev)
	}
	data, err := proto.Marshal(ev)
	if err != nil {
		panic(err)
	}
	return index.Record{Event: ev, Bytes: data}
}

// All is a query for everything.
func All() index.Query {
	return index.Query{Filter: ledger.Filter{Until: noon.Add(time.Hour)}, Started: true, Limit: 1000}
}

// Contract runs every test on fresh indexes.
func Contract(t *testing.T, open func(t *testing.T) index.Index) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, index.Index){
		"newest first, of one instant the last added first": order,
		"every field narrows":                               narrows,
		"what a security operations centre asks":            theDay,
		"words":                                             words,
		"a search finds what the filter of an export wants": agrees,
		"no text is dangerous":                              hostileText,
		"pages meet without overlap or gap":                 pages,
		"words that very many records have":                 commonWords,
		"pages hold while records arrive":                   pagesWhileAdding,
		"the same record is stored once":                    once,
		"an id belongs to one record":                       taken,
		"nothing is no error":                               nothingIsNoError,
		"a record comes back as it was":                     unchanged,
		"times at both ends":                                ends,
		"what is dropped is gone, and nothing else":         drops,
		"uses are summed up":                                uses,
		"many at once":                                      concurrent,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func add(t *testing.T, x index.Index, records ...index.Record) {
	t.Helper()
	if err := x.Add(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	refresh(t, x)
}

// refresh makes an index that finds new records only after a while find them now.
func refresh(t *testing.T, x index.Index) {
	t.Helper()
	later, ok := x.(interface {
		Refresh(ctx context.Context) error
	})
	if !ok {
		return
	}
	if err := later.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// found is the ids that a query finds, on all pages.
func found(t *testing.T, x index.Index, q index.Query) []string {
	t.Helper()
	ids := []string{}
	for {
		page, err := x.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range page.Events {
			ids = append(ids, ev.GetId())
		}
		if len(page.Events) > q.Limit {
			t.Fatalf("%d events in a page of %d", len(page.Events), q.Limit)
		}
		if page.Next == "" {
			return ids
		}
		q.After = page.Next
	}
}

func expect(t *testing.T, x index.Index, q index.Query, want ...string) {
	t.Helper()
	if got := found(t, x, q); !slices.Equal(got, want) {
		t.Errorf("%+v found %v, want %v", q, got, want)
	}
}

func order(t *testing.T, x index.Index) {
	add(t, x, Event("b", "acme", "ana", 2), Event("c", "acme", "ana", 3))
	add(t, x, Event("a", "acme", "ana", 1), Event("c2", "acme", "ana", 3))
	expect(t, x, All(), "c2", "c", "b", "a")
}

// narrowed are records that each field of a query tells apart.
func narrowed() []index.Record {
	return []index.Record{
		Event("1", "acme", "ana", 1),
		Event("2", "acme", "bob", 2, func(ev *eventsv1.Event) { ev.Principal.Agent = "triage" }),
		Event("3", "globex", "ana", 3, func(ev *eventsv1.Event) { ev.Target.Server = "crm" }),
		Event("4", "acme", "ana", 4, func(ev *eventsv1.Event) { ev.Target.Tool = "get_ticket" }),
		Event("5", "acme", "ana", 5, func(ev *eventsv1.Event) { ev.Decision.Effect = "block" }),
		Event("6", "acme", "ana", 6, func(ev *eventsv1.Event) { ev.Action = "tool-list" }),
		Event("7", "acme", "ana", 7, func(ev *eventsv1.Event) { ev.Phase = eventsv1.Phase_PHASE_STARTED }),
		Event("8", "acme", "ana", 8, func(ev *eventsv1.Event) { ev.Principal, ev.Target, ev.Decision, ev.Tenant = nil, nil, nil, "" }),
		Event("9", "acme", "ana", 9, func(ev *eventsv1.Event) { ev.Alert = true }),
		Event("a", "acme", "eve", 10, func(ev *eventsv1.Event) {
			ev.Outcome, ev.CallId, ev.Trace = eventsv1.Outcome_OUTCOME_FAILURE, "call-a", &eventsv1.Trace{TraceId: "4bf92f3577b34da6a3ce929d0e0e4736"}
			ev.Decision = &eventsv1.Decision{Effect: "block", Rule: "tickets/no", Reason: faultv1.Reason_REASON_ROLE_REQUIRED}
		}),
		Event("b", "acme", "eve", 11, func(ev *eventsv1.Event) { // says in words what the one before is
			ev.Decision.Sentence = "tickets/no call-a 4bf92f3577b34da6a3ce929d0e0e4736 role-required"
		}),
		Event("c", "acme", "zoe", 12, func(ev *eventsv1.Event) { ev.Principal.Tenant = "acme" }),
		Event("d", "acme", "zoe", 13, func(ev *eventsv1.Event) { ev.Principal.Tenant = "system" }),
		Event("e", "acme", "zoe", 14, func(ev *eventsv1.Event) {
			ev.Decision = &eventsv1.Decision{Effect: "block", Reason: faultv1.Reason_REASON_QUARANTINED, Hidden: true}
		}),
		Event("f", "acme", "zoe", 15, func(ev *eventsv1.Event) { // of before Hidden was there
			ev.Decision = &eventsv1.Decision{Effect: "block", Reason: faultv1.Reason_REASON_NOT_GRANTED, Stage: "resolve"}
		}),
		Event("g", "acme", "zoe", 16, func(ev *eventsv1.Event) { // seen, and not to be called: that was told
			ev.Decision = &eventsv1.Decision{Effect: "block", Reason: faultv1.Reason_REASON_NOT_GRANTED, Stage: "decide"}
		}),
	}
}

func narrows(t *testing.T, x index.Index) {
	add(t, x, narrowed()...)
	old := func(q *index.Query) { q.Until = noon.Add(10 * time.Second) }
	for name, c := range map[string]struct {
		set  func(q *index.Query)
		want []string
	}{
		"everything":   {func(q *index.Query) { old(q) }, []string{"9", "8", "7", "6", "5", "4", "3", "2", "1"}},
		"finals":       {func(q *index.Query) { old(q); q.Started = false }, []string{"9", "8", "6", "5", "4", "3", "2", "1"}},
		"tenant":       {func(q *index.Query) { q.Tenant = "globex" }, []string{"3"}},
		"person":       {func(q *index.Query) { q.Person = "bob" }, []string{"2"}},
		"own":          {func(q *index.Query) { q.Person, q.Own = "zoe", true }, []string{"g", "c"}},
		"not told":     {func(q *index.Query) { q.Person = "zoe" }, []string{"g", "f", "e", "c"}},
		"from outside": {func(q *index.Query) { q.Person = "system/zoe" }, []string{"d"}},
		"both":         {func(q *index.Query) { q.Tenant, q.Person = "globex", "bob" }, nil},
		"agent":        {func(q *index.Query) { q.Agent = "triage" }, []string{"2"}},
		"server":       {func(q *index.Query) { q.Server = "crm" }, []string{"3"}},
		"tool":         {func(q *index.Query) { q.Tool = "get_ticket" }, []string{"4"}},
		"effect":       {func(q *index.Query) { q.Effect = "block" }, []string{"g", "f", "e", "a", "5"}},
		"outcome":      {func(q *index.Query) { q.Outcome = "failure" }, []string{"a"}},
		"no outcome":   {func(q *index.Query) { q.Outcome, q.Server = "unknown", "crm" }, []string{"3"}},
		"rule":         {func(q *index.Query) { q.Rule = "tickets/no" }, []string{"a"}},
		"no rule":      {func(q *index.Query) { q.Rule = "no" }, nil},
		"code":         {func(q *index.Query) { q.Code = "role-required" }, []string{"a"}},
		"call":         {func(q *index.Query) { q.Call = "call-a" }, []string{"a"}},
		"trace":        {func(q *index.Query) { q.Trace = "4bf92f3577b34da6a3ce929d0e0e4736" }, []string{"a"}},
		"all of it": {func(q *index.Query) {
			q.Outcome, q.Rule, q.Code, q.Text = "failure", "tickets/no", "role-required", "tickets"
		}, []string{"a"}},
		"action":    {func(q *index.Query) { q.Action = "tool-list" }, []string{"6"}},
		"alerts":    {func(q *index.Query) { q.Alerts = true }, []string{"9"}},
		"no alerts": {func(q *index.Query) { q.Alerts, q.Person = true, "bob" }, nil},
		"since":     {func(q *index.Query) { old(q); q.Since = noon.Add(7 * time.Second) }, []string{"9", "8", "7"}},
		"until":     {func(q *index.Query) { q.Until = noon.Add(2 * time.Second) }, []string{"1"}},
		"case":      {func(q *index.Query) { q.Person = "ANA" }, nil},
		"nothing":   {func(q *index.Query) { q.Tool = "no_such_tool" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			q := All()
			c.set(&q)
			expect(t, x, q, c.want...)
		})
	}
}

func words(t *testing.T, x index.Index) {
	add(t, x,
		Event("1", "acme", "ana", 1, func(ev *eventsv1.Event) {
			ev.Decision.Sentence = "Close_ticket needs a SUPERVISOR's approval (rule tickets/high-priority)."
		}),
		Event("2", "acme", "bob", 2, func(ev *eventsv1.Event) { ev.Trace = &eventsv1.Trace{TraceId: "4bf92f3577b34da6a3ce929d0e0e4736"} }),
		Event("3", "acme", "zoë", 3, func(ev *eventsv1.Event) {
			ev.Change = &eventsv1.Change{Kind: "Policy", Name: "tickets", Reason: "größer 東京"}
		}),
	)
	for text, want := range map[string][]string{
		"supervisor":                       {"1"},
		"supervisor approval":              {"1"},
		"supervisor bob":                   nil,
		"  bob\t":                          {"2"},
		"close_ticket":                     {"3", "2", "1"},
		"ticket_close":                     nil,
		"ana@acme.example":                 {"1"},
		"tickets/high-priority":            {"1"},
		"4bf92f3577b34da6a3ce929d0e0e4736": {"2"},
		"zoe":                              {"3"},
		"GRÖSSER":                          nil,
		"größer":                           {"3"},
		"東京":                               {"3"},
		"allow":                            {"3", "2", "1"},
		"super":                            nil,
		"- supervisor -":                   {"1"},
	} {
		q := All()
		q.Text = text
		expect(t, x, q, want...)
	}
}

func hostileText(t *testing.T, x index.Index) {
	add(t, x, Event("1", "acme", "ana", 1))
	for _, text := range []string{
		`ana" OR "bob`, `ana OR bob`, `ana NOT allow`, `NEAR(ana bob)`, `text:ana OR bob`, `ana*bob`, `"`, `""`, `'; DROP TABLE events; --`, `{text}: ana bob`,
		`^bob`, "bob\x00ana", "\xff\xfe", `(`, `)`, `ana AND`, "-ana bob", strings.Repeat(`"`, 999), `+ - * /`, "a\u0301\u0301 bob", "\u200b",
	} {
		q := All()
		q.Text = text
		page, err := x.Search(t.Context(), q)
		if err == nil && len(page.Events) > 0 {
			t.Errorf("%q found something", text)
		}
		if err != nil && !strings.Contains(err.Error(), "text:") {
			t.Errorf("%q failed: %v", text, err)
		}
	}
	expect(t, x, All(), "1")
}

func pages(t *testing.T, x index.Index) {
	var records []index.Record
	var want []string
	for i := range 257 {
		records = append(records, Event(fmt.Sprint(i), "acme", "ana", i/10)) // ten share an instant
		want = append(want, fmt.Sprint(i))
	}
	add(t, x, records...)
	slices.Reverse(want)
	for _, limit := range []int{1, 7, 10, 256, 257, 258} {
		q := All()
		q.Limit = limit
		expect(t, x, q, want...)
		q.Text = "close_ticket"
		expect(t, x, q, want...)
	}
	q := All()
	q.After = "nonsense"
	if _, err := x.Search(t.Context(), q); err == nil {
		t.Error("a place that is none was taken")
	}
}

func commonWords(t *testing.T, x index.Index) {
	var records []index.Record
	for i := range 2500 {
		records = append(records, Event(fmt.Sprint(i), "acme", fmt.Sprint("person", i%2), i, func(ev *eventsv1.Event) {
			if i < 6 {
				ev.Outcome, ev.CallId = eventsv1.Outcome_OUTCOME_FAILURE, fmt.Sprint("call-", i/2)
			}
		}))
	}
	add(t, x, records...)
	q := All()
	q.Until = noon.Add(24 * time.Hour)
	q.Text, q.Limit = "close_ticket person1", 3
	page, err := x.Search(t.Context(), q)
	if err != nil || len(page.Events) != 3 || page.Events[0].GetId() != "2499" || page.Events[2].GetId() != "2495" || page.Next == "" {
		t.Fatalf("found %v, %v", page, err)
	}
	q.After = page.Next
	if page, err = x.Search(t.Context(), q); err != nil || len(page.Events) != 3 || page.Events[0].GetId() != "2493" {
		t.Errorf("found %v, %v", page, err)
	}
	q.After, q.Person = "", "person0"
	expect(t, x, q)
	q.Outcome, q.Text = "failure", "close_ticket"
	expect(t, x, q, "4", "2", "0")
	q.Limit, q.Text, q.Person = 4, "", ""
	expect(t, x, q, "5", "4", "3", "2", "1", "0")
	q.Call = "call-1"
	expect(t, x, q, "3", "2")
}

func pagesWhileAdding(t *testing.T, x index.Index) {
	add(t, x, Event("1", "acme", "ana", 1), Event("2", "acme", "ana", 2), Event("3", "acme", "ana", 3))
	q := All()
	q.Limit = 2
	first, err := x.Search(t.Context(), q)
	if err != nil || len(first.Events) != 2 || first.Next == "" {
		t.Fatalf("first page %v, %v", first, err)
	}
	add(t, x, Event("4", "acme", "ana", 4), Event("5", "acme", "ana", 4))
	q.After = first.Next
	expect(t, x, q, "1")
}

func once(t *testing.T, x index.Index) {
	first := Event("1", "acme", "ana", 1)
	add(t, x, first, first)
	add(t, x, Event("2", "acme", "ana", 2), first)
	add(t, x, first)
	expect(t, x, All(), "2", "1")
	q := All()
	q.Text = "mallory"
	expect(t, x, q)
}

// ends has records of times beyond the numbers that an index keeps: they are found by who asks for all time.
func ends(t *testing.T, x index.Index) {
	at := func(year int) func(ev *eventsv1.Event) {
		return func(ev *eventsv1.Event) { ev.Time = timestamppb.New(time.Date(year, 7, 1, 0, 0, 0, 0, time.UTC)) }
	}
	add(t, x, Event("1", "acme", "ana", 0, at(1600)), Event("2", "acme", "ana", 1), Event("3", "acme", "ana", 0, at(3000)), Event("4", "acme", "ana", 0, at(9998)))
	q := All()
	expect(t, x, q, "2", "1")
	q.Until = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	for _, q.Limit = range []int{1, 2, 1000} {
		expect(t, x, q, "4", "3", "2", "1")
	}
	q.Text = "ana"
	expect(t, x, q, "4", "3", "2", "1")
}

// taken has records that claim the id of another: in the same call, in a later one, in the same tenant and in another.
func taken(t *testing.T, x index.Index) {
	first, rival, second := Event("1", "acme", "ana", 1), Event("1", "acme", "ana", 5), Event("2", "acme", "ana", 2)
	refuses(t, x, []index.Record{first, rival, first, second}, rival)
	refresh(t, x)
	other := Event("2", "globex", "mallory", 9)
	refuses(t, x, []index.Record{second, Event("3", "acme", "ana", 3), other, rival}, other, rival)
	refresh(t, x)
	expect(t, x, All(), "3", "2", "1")
	q := All()
	q.Text = "mallory"
	expect(t, x, q)
}

// refuses adds records, of which these must be rejected because others have their ids.
func refuses(t *testing.T, x index.Index, records []index.Record, want ...index.Record) {
	t.Helper()
	rejected, ok := errors.AsType[*index.Rejected](x.Add(t.Context(), records))
	if !ok {
		t.Fatalf("nothing is rejected of %d records", len(records))
	}
	if !slices.EqualFunc(rejected.Records, want, func(r index.Rejection, w index.Record) bool {
		return r.Record.Event == w.Event && r.Class == index.IDTaken && r.Reason != ""
	}) {
		t.Errorf("rejected %v", rejected.Records)
	}
}

func nothingIsNoError(t *testing.T, x index.Index) {
	add(t, x)
	expect(t, x, All())
	if err := x.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func unchanged(t *testing.T, x index.Index) {
	r := Event("1", "acme", "ana", 1, func(ev *eventsv1.Event) {
		ev.Writer, ev.Sequence, ev.PreviousHash = "edge-1", 7, []byte{1, 2, 3}
		ev.Result = &eventsv1.Payload{Hmac: "ab", Bytes: 5, IsError: true}
	})
	add(t, x, r)
	page, err := x.Search(t.Context(), All())
	if err != nil || len(page.Events) != 1 || !proto.Equal(page.Events[0], r.Event) {
		t.Errorf("found %v, %v", page, err)
	}
}

func concurrent(t *testing.T, x index.Index) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 10 {
				own, shared := Event(fmt.Sprintf("%d-%d", g, i), "acme", "ana", i), Event(fmt.Sprint("shared", i), "acme", "ana", i)
				if err := x.Add(t.Context(), []index.Record{own, shared}); err != nil {
					t.Error(err)
				}
				if _, err := x.Search(t.Context(), All()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	refresh(t, x)
	if n := len(found(t, x, All())); n != 50 {
		t.Errorf("%d records, want 50", n)
	}
}

// Freely lets every batch of a drop be done.
func Freely(batch func() error) error { return batch() }

func drops(t *testing.T, x index.Index) {
	var all []index.Record
	for i := range 2100 { // more than one batch of any index
		all = append(all, Event(fmt.Sprint("old-", i), "acme", "ana", i-3600))
	}
	add(t, x, all...)
	add(t, x, Event("kept", "acme", "ana", 0), Event("edge", "acme", "ana", -10), Event("theirs", "globex", "ana", -3600))
	batches := 0
	held := errors.New("held")
	some, err := x.Drop(t.Context(), "acme", noon.Add(-10*time.Second), func(batch func() error) error {
		if batches++; batches > 1 {
			return held
		}
		return batch()
	})
	if !errors.Is(err, held) || some >= 2100 {
		t.Fatalf("%d were dropped before it was refused: %v", some, err)
	}
	n, err := x.Drop(t.Context(), "acme", noon.Add(-10*time.Second), Freely)
	n += some
	if err != nil || n != 2100 {
		t.Fatalf("%d were dropped, %v", n, err)
	}
	refresh(t, x)
	for text, want := range map[string][]string{"": {"kept", "edge", "theirs"}, "ana": {"kept", "edge", "theirs"}, "old": nil} {
		q := All()
		q.Text = text
		page, err := x.Search(t.Context(), q)
		var got []string
		for _, ev := range page.Events {
			got = append(got, ev.GetId())
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q finds %v, %v", text, got, err)
		}
	}
	if n, err := x.Drop(t.Context(), "acme", noon.Add(-10*time.Second), Freely); err != nil || n != 0 {
		t.Errorf("again %d were dropped, %v", n, err)
	}
	if n, err := x.Drop(t.Context(), "nobody", noon, Freely); err != nil || n != 0 {
		t.Errorf("of a tenant without records %d were dropped, %v", n, err)
	}
}
