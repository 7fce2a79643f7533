package indextest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
)

// uses asks who called what: refused calls, started records, other tenants, other actions and what was before count for nothing.
func uses(t *testing.T, x index.Index) {
	if at, err := x.Oldest(t.Context(), "acme"); err != nil || !at.IsZero() {
		t.Errorf("before any record the oldest is %v (%v)", at, err)
	}
	of := func(action string) func(ev *eventsv1.Event) { return func(ev *eventsv1.Event) { ev.Action = action } }
	started := func(ev *eventsv1.Event) { ev.Phase = eventsv1.Phase_PHASE_STARTED }
	changed := func(ev *eventsv1.Event) { ev.Decision = &eventsv1.Decision{Effect: "modify"} }
	prompt := func(ev *eventsv1.Event) { ev.Target.Tool, ev.Target.Resource = "", "greeting" }
	add(t, x,
		Event("early", "acme", "ana", -10),
		Event("one", "acme", "ana", 1), Event("two", "acme", "ana", 3, changed), Event("fact", "acme", "ana", 2, of("fact-read")),
		Event("half", "acme", "ana", 4, started), Event("no", "acme", "ana", 5, decided("block", "tickets/no", faultv1.Reason_REASON_RULE)),
		Event("waits", "acme", "ana", 5, decided("escalate", "tickets/wait", faultv1.Reason_REASON_APPROVAL_REQUIRED)),
		Event("list", "acme", "ana", 6, of("tool-list")), Event("lent", "acme", "ana", 6, of("credential-leased"), undecided),
		Event("crm", "acme", "", 7, call("bob", "triage", "crm", "find")), Event("said", "acme", "bob", 8, of("prompt-get"), prompt),
		Event("other", "globex", "gus", 9),
	)
	sum := func(tenant string) []string {
		var got []string
		err := x.Uses(t.Context(), tenant, noon, func(u index.Use) error {
			got = append(got, fmt.Sprintf("%s %s %s/%s %d %s", u.Person, u.Agent, u.Server, u.Tool, u.Calls, u.Last.Format(time.TimeOnly)))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		return got
	}
	want := []string{"ana client:claude tickets/close_ticket 3 12:00:03", "bob client:claude tickets/ 1 12:00:08", "bob triage crm/find 1 12:00:07"}
	if got := sum("acme"); !slices.Equal(got, want) {
		t.Errorf("acme used %q, want %q", got, want)
	}
	if got := sum("initech"); len(got) > 0 {
		t.Errorf("a tenant without records used %q", got)
	}
	if at, err := x.Oldest(t.Context(), "acme"); err != nil || !at.Equal(noon.Add(-10*time.Second)) {
		t.Errorf("the oldest record is of %v (%v)", at, err)
	}
	enough := errors.New("enough")
	if err := x.Uses(t.Context(), "acme", noon, func(index.Use) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("an error of the caller becomes %v", err)
	}
}
