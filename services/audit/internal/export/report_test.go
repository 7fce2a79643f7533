package export_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/export"
)

// Whatever else a record is about: when a right moved, it is a change of access.
func TestTheReportOnAccessHasEveryRightThatMoved(t *testing.T) {
	wants := export.Access().Wants
	with := 0
	for _, ev := range everything() {
		if len(ev.GetGrants()) == 0 {
			continue
		}
		with++
		if !wants(ev) {
			t.Errorf("%s of %s is left out", ev.GetAction(), ev.GetChange().GetKind())
		}
		other := proto.CloneOf(ev)
		other.Grants = nil
		other.Change = &eventsv1.Change{Kind: "Policy"}
		if wants(other) {
			t.Errorf("%s without a right that moved is a change of access", ev.GetAction())
		}
	}
	if with < len(record.Actions()) {
		t.Errorf("%d records with rights", with)
	}
	for _, kind := range []string{"Person", "Group", "Role", "Agent", "Tenant", "Token", "Relations", "ResourceRelations", "RelationsModel"} {
		if !wants(&eventsv1.Event{Change: &eventsv1.Change{Kind: kind}}) {
			t.Errorf("a change of a %s is left out", kind)
		}
	}
}

func TestAPageSaysWhichRightsMoved(t *testing.T) {
	row, err := export.Page().Line(&eventsv1.Event{
		Change: &eventsv1.Change{Kind: "Relations", Name: "acme", Action: "mended"},
		Grants: []*eventsv1.Grant{{What: record.GrantTaken, Holder: "person:mallory", Right: "role:support"}},
	})
	if err != nil || !strings.Contains(string(row), "mended Relations acme; taken: person:mallory role:support") {
		t.Errorf("%s, %v", row, err)
	}
}
