package export_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/export"
)

func minute(n int) time.Time { return time.Date(2026, 10, 1, 0, n, 0, 0, time.UTC) }

// change is the record of a change of a resource from one version to the next; "" is none. A right is +holder|right, -holder|right or ~holder|right.
func change(at int, of, before, after string, rights ...string) *eventsv1.Event {
	kind, name, _ := strings.Cut(of, " ")
	ev := &eventsv1.Event{
		Id: fmt.Sprint("e", at), Time: timestamppb.New(minute(at)), Action: "resource-applied", Principal: &eventsv1.Principal{Person: "adam"},
		Change: &eventsv1.Change{Kind: kind, Name: name, OldHash: before, NewHash: after},
	}
	if after == "" {
		ev.Action = "resource-deleted"
	}
	for _, text := range rights {
		holder, right, _ := strings.Cut(text[1:], "|")
		what := map[byte]string{'+': record.GrantGiven, '-': record.GrantTaken, '~': record.GrantChanged}[text[0]]
		g := &eventsv1.Grant{What: what, Holder: holder, Right: right}
		if what == record.GrantChanged {
			g.Until = timestamppb.New(minute(50))
		}
		ev.Grants = append(ev.Grants, g)
	}
	return ev
}

func reviewed(asOf time.Time, person string, all ...*eventsv1.Event) (rows, unsure []string, since string) {
	var r export.Review
	for _, ev := range all {
		r.Add(ev)
	}
	held, unsure := r.Rights(asOf, person)
	for _, h := range held {
		since := "?"
		if !h.Since.IsZero() {
			since = fmt.Sprint(h.Since.Minute())
		}
		rows = append(rows, strings.TrimSpace(fmt.Sprintf("%s|%s|%s|%s|%s|%s", h.Holder, h.Right, h.Through, since, h.By, strings.Join(h.Events, " "))))
	}
	return rows, unsure, r.Since()
}

func TestAReviewSaysWhoHadWhatAtTheInstant(t *testing.T) {
	ana := "person:ana|"
	for name, c := range map[string]struct {
		person string
		asOf   int
		events []*eventsv1.Event
		want   []string
		unsure []string
	}{
		"given and taken": {asOf: 9, events: []*eventsv1.Event{
			change(1, "Person ana", "", "a", "+"+ana+"role:support", "+"+ana+"sign in"), change(2, "Person ana", "a", "b", "-"+ana+"role:support", "+"+ana+"role:auditor"),
		}, want: []string{"person:ana|role:auditor||2|adam|e2", "person:ana|sign in||1|adam|e1"}},
		"in whatever order they came": {asOf: 9, events: []*eventsv1.Event{
			change(2, "Person ana", "a", "b", "-"+ana+"role:support"), change(3, "Person ana", "b", "c", "+"+ana+"role:support"), change(1, "Person ana", "", "a", "+"+ana+"role:support"),
		}, want: []string{"person:ana|role:support||3|adam|e3"}},
		"deleted and made anew": {asOf: 9, events: []*eventsv1.Event{
			change(1, "Person ana", "", "a", "+"+ana+"role:support"), change(2, "Person ana", "a", ""), change(3, "Person ana", "", "b", "+"+ana+"sign in"),
		}, want: []string{"person:ana|sign in||3|adam|e3"}},
		"through groups and a department": {asOf: 9, events: []*eventsv1.Event{
			change(1, "Person ana", "", "a", "+"+ana+"member of department:care"), change(2, "Group in", "", "a", "+"+ana+"member of group:in"),
			change(3, "Group out", "", "a", "+group:out|role:night", "+group:in|member of group:out"), change(4, "Role day", "", "a", "+department:care|role:day", "+role:day|call t.read"),
		}, want: []string{
			"department:care|role:day||4|adam|e4", "group:in|member of group:out||3|adam|e3", "group:out|role:night||3|adam|e3",
			"person:ana|member of department:care||1|adam|e1", "person:ana|member of group:in||2|adam|e2",
			"person:ana|role:day|department:care|4|adam|e4", "person:ana|role:night|group:in → group:out|3|adam|e3", "role:day|call t.read||4|adam|e4",
		}},
		"of one person": {asOf: 9, person: "ana", events: []*eventsv1.Event{
			change(1, "Person ana", "", "a", "+"+ana+"role:day"), change(2, "Person bob", "", "a", "+person:bob|role:night"),
			change(3, "Role day", "", "a", "+role:day|call t.read"), change(4, "Role night", "", "a", "+role:night|call t.close"),
		}, want: []string{"person:ana|role:day||1|adam|e1", "role:day|call t.read||3|adam|e3"}},
		"ended by itself": {asOf: 55, events: []*eventsv1.Event{
			change(1, "Role day", "", "a", "+role:day|call t.read", "+role:day|see t.read"), change(2, "Role day", "a", "b", "~role:day|call t.read"),
		}, want: []string{"role:day|see t.read||1|adam|e1"}},
		"its end moved": {asOf: 9, events: []*eventsv1.Event{
			change(1, "Role day", "", "a", "+role:day|call t.read"), change(2, "Role day", "a", "b", "~role:day|call t.read"), change(3, "Role day", "b", "c", "~role:day|call t.read"),
		}, want: []string{"role:day|call t.read||1|adam|e1 e3"}},
		"two block lists, one of which goes": {asOf: 9, events: []*eventsv1.Event{
			change(1, "BlockList a", "", "a", "+"+ana+"no call t.read"), change(2, "BlockList b", "", "b", "+"+ana+"no call t.read"), change(3, "BlockList a", "a", ""),
		}, want: []string{"person:ana|no call t.read||2|adam|e2"}},
		"recorded twice": {asOf: 9, events: []*eventsv1.Event{
			change(1, "Person ana", "", "a", "+"+ana+"role:day"), change(2, "Person ana", "", "a", "+"+ana+"role:day"),
		}, want: []string{"person:ana|role:day||1|adam|e1"}},
		"there before the record": {asOf: 9, events: []*eventsv1.Event{change(1, "Role day", "x", "a", "~role:day|call t.read")},
			want: []string{"role:day|call t.read||?||e1"}, unsure: []string{"Role day was there before its first record (2026-10-01T00:01:00Z, event e1)"}},
		"a change is missing": {asOf: 9, events: []*eventsv1.Event{change(1, "Person ana", "", "a", "+"+ana+"role:day"), change(3, "Person ana", "b", "c", "+"+ana+"sign in")},
			want: []string{"person:ana|role:day||1|adam|e1", "person:ana|sign in||3|adam|e3"}, unsure: []string{"Person ana event e3 changes another version of it"}},
		"what is not of the directory": {asOf: 9, events: []*eventsv1.Event{{Id: "m", Time: timestamppb.New(minute(1)), Action: "relations-check", Change: &eventsv1.Change{Kind: "Relations"},
			Grants: []*eventsv1.Grant{{What: record.GrantTaken, Holder: "person:ana", Right: "role:day"}}}}},
	} {
		rows, unsure, since := reviewed(minute(c.asOf), c.person, c.events...)
		if !slices.Equal(rows, c.want) {
			t.Errorf("%s:\n got %q\nwant %q", name, rows, c.want)
		}
		if len(unsure) != len(c.unsure) || len(unsure) > 0 && !strings.HasPrefix(unsure[0], c.unsure[0]) {
			t.Errorf("%s: not certain are %q, want %q", name, unsure, c.unsure)
		}
		if !strings.HasPrefix(since, "2026-10-01T00:01:00Z, event ") {
			t.Errorf("%s: derived from %q", name, since)
		}
	}
	many := change(1, "Group all", "", "a", "+"+ana+"member of group:all")
	many.Findings = &eventsv1.Findings{Notes: []string{"4800 more rights were given or taken"}}
	if _, unsure, _ := reviewed(minute(9), "", many); len(unsure) != 1 || unsure[0] != "Group all event e1 names 1 rights, and says: 4800 more rights were given or taken" {
		t.Errorf("not certain are %q", unsure)
	}
}
