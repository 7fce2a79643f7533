package membership

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// company is ana in emea, which lies in support, which lies in everyone; zoe is in support by name.
func company() *Tenant {
	t := &Tenant{}
	t.PutGroup("emea", &identityv1.GroupSpec{Members: []string{"ana"}, Roles: []string{"reader"}})
	t.PutGroup("support", &identityv1.GroupSpec{Members: []string{"zoe"}, Groups: []string{"emea"}, Roles: []string{"agent"}})
	t.PutGroup("everyone", &identityv1.GroupSpec{Groups: []string{"support", "emea"}, Roles: []string{"guest"}})
	t.PutRole("carer", &identityv1.RoleSpec{Departments: []string{"Customer care"}})
	t.PutRole("night", &identityv1.RoleSpec{Teams: []string{"night", "late"}, Departments: []string{"Operations"}})
	return t
}

func ways(t *Tenant, person string, spec *identityv1.PersonSpec) []string {
	var all []string
	for _, w := range t.Ways(person, spec) {
		all = append(all, strings.Join(append(slices.Clone(w.Through), w.Role), " > "))
	}
	return all
}

func TestAPersonComesToRolesInEveryWay(t *testing.T) {
	c := company()
	ana := &identityv1.PersonSpec{Roles: []string{"own"}, Department: "Customer care", Teams: []string{"night", "desk"}}
	want := []string{"own", "group emea > reader", "group emea > group everyone > guest", "group emea > group support > agent", "department Customer care > carer", "team night > night"}
	if got := ways(c, "ana", ana); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got, want := c.Roles("ana", ana), []string{"agent", "carer", "guest", "night", "own", "reader"}; !slices.Equal(got, want) {
		t.Errorf("roles %q, want %q", got, want)
	}
	if got, want := c.Groups("zoe"), []string{"everyone", "support"}; !slices.Equal(got, want) {
		t.Errorf("zoe is in %q, want %q", got, want)
	}
	if got := ways(c, "ana", &identityv1.PersonSpec{Department: "customer care"}); slices.Contains(got, "department customer care > carer") {
		t.Error("a department is found whatever its letters' case")
	}
}

func TestWhatIsChangedAndRemovedLeavesNothing(t *testing.T) {
	c := company()
	c.PutGroup("support", &identityv1.GroupSpec{Members: []string{"zoe"}})
	c.PutRole("night", &identityv1.RoleSpec{})
	if got := c.Roles("ana", &identityv1.PersonSpec{Teams: []string{"night"}}); !slices.Equal(got, []string{"guest", "reader"}) {
		t.Errorf("after the changes: %q", got)
	}
	for _, name := range []string{"emea", "support", "everyone", "never"} {
		c.RemoveGroup(name)
	}
	for _, name := range []string{"carer", "night", "never"} {
		c.RemoveRole(name)
	}
	if left := len(c.groups) + len(c.roles) + len(c.of) + len(c.within) + len(c.departments) + len(c.teams); left != 0 {
		t.Errorf("%d entries are left: %+v", left, c)
	}
}

func TestCirclesAreNamedAndEndNothing(t *testing.T) {
	c := company()
	for _, name := range []string{"emea", "support", "everyone"} {
		if circle := c.Cycle(name); circle != nil {
			t.Errorf("%s: %v", name, circle)
		}
	}
	if d := c.Depth("support"); d != 3 {
		t.Errorf("depth %d", d)
	}
	c.PutGroup("emea", &identityv1.GroupSpec{Members: []string{"ana"}, Groups: []string{"everyone"}})
	if got, want := c.Cycle("emea"), []string{"emea", "everyone", "support", "emea"}; !reflect.DeepEqual(got, want) {
		t.Errorf("circle %v, want %v", got, want)
	}
	if got, want := c.Groups("ana"), []string{"emea", "everyone", "support"}; !slices.Equal(got, want) {
		t.Errorf("in a circle ana is in %q", got)
	}
	c.PutGroup("outside", &identityv1.GroupSpec{Groups: []string{"emea"}})
	if circle := c.Cycle("outside"); circle != nil {
		t.Errorf("outside the circle: %v", circle)
	}
	if c.Depth("outside") < 2 { // ends, which is all that is asked of it
		t.Error("no depth outside a circle")
	}
	c.PutGroup("self", &identityv1.GroupSpec{Groups: []string{"self"}})
	if got := c.Cycle("self"); !slices.Equal(got, []string{"self", "self"}) {
		t.Errorf("itself: %v", got)
	}
}
