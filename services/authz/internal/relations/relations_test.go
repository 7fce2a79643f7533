package relations

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"

	"headgate.dev/libs/policy/terms"
	"headgate.dev/services/authz/internal/directory"
)

func lines(s Set) []string {
	var all []string
	for key, until := range s {
		line := key.Object + " " + key.Relation + " " + key.User
		if !until.IsZero() {
			line += " until " + until.Format(time.RFC3339)
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}

func TestDesiredIsWhatTheDirectorySaysAndNoMore(t *testing.T) {
	noon := now()
	for name, test := range map[string]struct {
		resources []*identityv1.Resource
		want      []string
	}{
		"a person with a role": {
			[]*identityv1.Resource{
				person("ana", &identityv1.PersonSpec{Roles: []string{"support", "not a name", "support"}}),
				roleOf("support", grant("tickets", "call", time.Time{}, "*"), grant("crm", "see", noon, "read", "list")),
			},
			[]string{
				"mcp_server:crm organization organization:acme", "mcp_server:tickets caller role:support#assignee",
				"mcp_server:tickets organization organization:acme", "organization:acme member user:ana", "role:support assignee user:ana",
				"tool:crm/list listed role:support#assignee until 2026-01-07T12:00:00Z", "tool:crm/list server mcp_server:crm",
				"tool:crm/read listed role:support#assignee until 2026-01-07T12:00:00Z", "tool:crm/read server mcp_server:crm",
			},
		},
		"a group": {
			[]*identityv1.Resource{
				person("ana", &identityv1.PersonSpec{}), person("off", &identityv1.PersonSpec{Disabled: true}),
				groupOf("care", &identityv1.GroupSpec{Members: []string{"ana", "off", "nobody"}, Roles: []string{"support"}}),
			},
			[]string{"group:care member user:ana", "organization:acme member user:ana", "role:support assignee group:care#member"},
		},
		"groups within groups, departments and teams": {
			[]*identityv1.Resource{
				person("ana", &identityv1.PersonSpec{Department: "Care: EU #1", Teams: []string{"desk", "desk"}}),
				person("off", &identityv1.PersonSpec{Department: "Care: EU #1", Disabled: true}),
				groupOf("emea", &identityv1.GroupSpec{Members: []string{"ana"}}),
				groupOf("all", &identityv1.GroupSpec{Groups: []string{"emea", "nowhere"}, Roles: []string{"support"}}),
				units(roleOf("support"), []string{"Care: EU #1", strings.Repeat("ö", 200)}, []string{"desk"}),
			},
			[]string{
				"department:Care%3A+EU+%231 member user:ana", "group:all member group:emea#member", "group:emea member user:ana",
				"organization:acme member user:ana",
				"role:support assignee department:%sum-f4966f2104fc8f93ca0243f306417a78f561aecef201aa1d44494f28e0f3ce39#member",
				"role:support assignee department:Care%3A+EU+%231#member", "role:support assignee group:all#member",
				"role:support assignee team:desk#member", "team:desk member user:ana",
			},
		},
		"block lists": {
			[]*identityv1.Resource{
				person("ana", &identityv1.PersonSpec{}), person("off", &identityv1.PersonSpec{Disabled: true}),
				groupOf("care", &identityv1.GroupSpec{Members: []string{"ana"}}), agentOf("scout", &identityv1.AgentSpec{}),
				blockList("all", &identityv1.BlockListSpec{
					Agents:  []string{"scout", "none"},
					Targets: []*identityv1.BlockTarget{{Server: "*", Tools: []string{"*"}, Cannot: "see"}},
				}),
				blockList("some", &identityv1.BlockListSpec{
					People: []string{"ana", "off", "none"}, Groups: []string{"care", "none"}, Until: timestamppb.New(noon),
					Targets: []*identityv1.BlockTarget{{Server: "crm", Tools: []string{"*"}, Cannot: "call"}, {Server: "deploy", Tools: []string{"run"}, Cannot: "see"}},
				}),
			},
			[]string{
				"agent:scout organization organization:acme", "group:care member user:ana",
				"mcp_server:crm blocked group:care#member until 2026-01-07T12:00:00Z", "mcp_server:crm blocked user:ana until 2026-01-07T12:00:00Z",
				"mcp_server:crm organization organization:acme", "mcp_server:deploy organization organization:acme",
				"organization:acme hidden agent:scout", "organization:acme member agent:scout", "organization:acme member user:ana",
				"tool:deploy/run hidden group:care#member until 2026-01-07T12:00:00Z", "tool:deploy/run hidden user:ana until 2026-01-07T12:00:00Z",
				"tool:deploy/run server mcp_server:deploy",
			},
		},
		"a disabled person": {[]*identityv1.Resource{person("off", &identityv1.PersonSpec{Disabled: true, Roles: []string{"support"}})}, nil},
		"an agent": {
			[]*identityv1.Resource{
				person("ana", &identityv1.PersonSpec{}),
				agentOf("scout", &identityv1.AgentSpec{
					Owner: "ana", Delegators: &identityv1.Delegators{People: []string{"ana", "nobody"}, Roles: []string{"support"}},
					Grants: []*identityv1.Grant{grant("crm", "call", time.Time{}, "read")},
				}),
				agentOf("off", &identityv1.AgentSpec{Disabled: true, Owner: "ana", Grants: []*identityv1.Grant{grant("crm", "call", time.Time{}, "*")}}),
			},
			[]string{
				"agent:scout delegator role:support#assignee", "agent:scout delegator user:ana", "agent:scout organization organization:acme",
				"agent:scout owner user:ana", "mcp_server:crm organization organization:acme", "organization:acme member agent:scout",
				"organization:acme member user:ana", "tool:crm/read caller agent:scout", "tool:crm/read server mcp_server:crm",
			},
		},
		"two ends of one grant": {
			[]*identityv1.Resource{roleOf("r",
				grant("s", "call", noon, "*"), grant("s", "call", noon.Add(time.Hour), "*"), grant("t", "call", noon, "*"), grant("t", "call", time.Time{}, "*"),
			)},
			[]string{
				"mcp_server:s caller role:r#assignee until 2026-01-07T13:00:00Z", "mcp_server:s organization organization:acme",
				"mcp_server:t caller role:r#assignee", "mcp_server:t organization organization:acme",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := lines(Desired(tenant(test.resources...))); !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestAPathNamesEveryGroupOnTheWay(t *testing.T) {
	dir := tenant(
		person("ana", &identityv1.PersonSpec{Department: "Customer care"}), person("ben", &identityv1.PersonSpec{Teams: []string{"desk"}}),
		groupOf("emea", &identityv1.GroupSpec{Members: []string{"ana"}}), groupOf("world", &identityv1.GroupSpec{Groups: []string{"emea"}, Roles: []string{"support"}}),
		units(roleOf("support", grant("tickets", "call", time.Time{}, "close")), nil, []string{"desk"}),
		units(roleOf("carer", grant("crm", "see", time.Time{}, "*")), []string{"Customer care"}, nil),
	)
	for name, want := range map[string][]string{
		"ana": {"ana → department Customer care → role carer → server crm", "ana → group emea → group world → role support → tool tickets.close"},
		"ben": {"ben → team desk → role support → tool tickets.close"},
	} {
		var got []string
		for _, p := range PersonPaths(dir, name) {
			got = append(got, p.Via)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	for _, ask := range []struct {
		object string
		want   bool
	}{{"department:Customer+care", true}, {"team:desk", false}, {"group:world", true}, {"group:none", false}} {
		if holds, known := Says(dir, "ana", ask.object, Member, now()); holds != ask.want || !known {
			t.Errorf("ana in %s: %v, %v", ask.object, holds, known)
		}
	}
}

func TestAHolderIsNobodyWhomABlockListHides(t *testing.T) {
	noon := now()
	paths := []Path{{"crm", "*", true, nil, "a", time.Time{}}, {"crm", "read", true, nil, "b", time.Time{}}, {"wiki", "*", true, nil, "c", time.Time{}}}
	blocks := []Block{{"crm", "read", true, "x", time.Time{}}, {"wiki", "*", false, "y", time.Time{}}, {"*", "*", true, "z", noon}}
	for tool, want := range map[string][]Path{
		"":     {paths[0], {"wiki", "*", false, nil, "c", time.Time{}}},
		"read": {{"wiki", "*", false, nil, "c", time.Time{}}},
	} {
		if got := Unblocked(slices.Clone(paths), tool, blocks, noon); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, want %v", tool, got, want)
		}
	}
	if got := Unblocked(paths, "", blocks, noon.Add(-1)); len(got) != 0 {
		t.Errorf("before the list of everything ends: %v", got)
	}
}

func TestOnlyTheStrongestPathsAreKept(t *testing.T) {
	noon := now()
	dir := tenant(
		person("ana", &identityv1.PersonSpec{Roles: []string{"a", "b"}}),
		groupOf("care", &identityv1.GroupSpec{Members: []string{"ana"}, Roles: []string{"a"}}),
		roleOf("a", grant("s", "call", noon, "*"), grant("s", "see", time.Time{}, "*"), grant("s", "see", noon, "*")),
		roleOf("b", grant("s", "call", noon.Add(time.Hour), "*"), grant("s", "call", time.Time{}, "x")),
	)
	want := []Path{
		{"s", "*", true, nil, "ana → role b → server s", noon.Add(time.Hour)},
		{"s", "*", false, nil, "ana → role a → server s", time.Time{}},
		{"s", "x", true, nil, "ana → role b → tool s.x", time.Time{}},
	}
	if got := PersonPaths(dir, "ana"); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// A grant with a condition is a relation of its own, which lets nobody call: its words stand in the path, and two conditions are two paths.
func TestAGrantWithAConditionIsARelationOfItsOwn(t *testing.T) {
	at := func(tools []string, network string) *identityv1.Grant {
		g := grant("pay", "call", time.Time{}, tools...)
		if network != "" {
			g.Networks = []string{network}
		}
		return g
	}
	dir := tenant(
		person("ana", &identityv1.PersonSpec{Roles: []string{"a"}}),
		roleOf("a", at([]string{"transfer"}, "10.0.0.0/8"), at([]string{"transfer"}, "192.0.2.0/24"), at([]string{"*"}, "10.0.0.0/8"), grant("pay", "see", time.Time{}, "transfer"),
			at([]string{"list"}, ""), at([]string{"list"}, "10.0.0.0/8")),
	)
	var got []string
	for _, p := range PersonPaths(dir, "ana") {
		got = append(got, fmt.Sprintf("%v %s %s", p.Call, terms.Words(p.If), p.Via))
	}
	if want := []string{
		"false from 10.0.0.0/8 ana → role a → server pay from 10.0.0.0/8",
		"true  ana → role a → tool pay.list",
		"false from 10.0.0.0/8 ana → role a → tool pay.transfer from 10.0.0.0/8",
		"false from 192.0.2.0/24 ana → role a → tool pay.transfer from 192.0.2.0/24",
	}; !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, line := range []string{
		"tool:pay/transfer conditional role:a#assignee", "mcp_server:pay conditional role:a#assignee", "tool:pay/list caller role:a#assignee", "tool:pay/transfer listed role:a#assignee",
	} {
		if all := lines(Desired(dir)); !slices.Contains(all, line) {
			t.Errorf("no %q in %q", line, all)
		}
	}
	for relation, want := range map[string]bool{Conditional: true, ConditionalGranted: true, canSee: true, canCall: false, Caller: false} {
		if holds, known := Says(dir, "ana", "tool:pay/transfer", relation, now()); holds != want || !known {
			t.Errorf("%s: %v, %v", relation, holds, known)
		}
	}
}

// A condition is not in the tuple, so its change changes none; whoever holds the grant is told all the same.
func TestWhoseConditionsChangedIsAmongTheAffected(t *testing.T) {
	of := func(networks ...string) *directory.Tenant {
		g := grant("pay", "call", time.Time{}, "transfer")
		g.Networks = networks
		return tenant(
			person("ana", &identityv1.PersonSpec{Roles: []string{"a"}}), person("ben", &identityv1.PersonSpec{Roles: []string{"b"}}),
			roleOf("a", g), roleOf("b", grant("pay", "call", time.Time{}, "*")), agentOf("scout", &identityv1.AgentSpec{Grants: []*identityv1.Grant{g}}),
		)
	}
	wide, narrow := of("10.0.0.0/8"), of("10.1.0.0/16")
	if diff := Diff(Desired(wide), Desired(narrow)); len(diff.Gone)+len(diff.Come) > 0 {
		t.Errorf("the tuples differ: %v", diff)
	}
	if got := FindAffected(wide, narrow, nil); !slices.Equal(got.People, []string{"ana"}) || !slices.Equal(got.Agents, []string{"scout"}) {
		t.Errorf("told of a narrower network: %v", got)
	}
	if got := FindAffected(wide, of("10.0.0.0/8"), nil); got.Count() > 0 {
		t.Errorf("told of nothing: %v", got)
	}
}

// Whoever's rights differ is told: nobody keeps what was taken.
func TestWhoseRightsChangedIsAmongTheAffected(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := tenant(drawResources(t)...), tenant(drawResources(t)...)
		diff := Diff(Desired(before), Desired(after))
		affected := FindAffected(before, after, append(diff.Gone, diff.Come...))
		for i := range most + 1 {
			name := fmt.Sprintf("person%d", i)
			if !reflect.DeepEqual(strip(PersonPaths(before, name)), strip(PersonPaths(after, name))) && !slices.Contains(affected.People, name) {
				t.Errorf("%s is not told: %v, then %v", name, PersonPaths(before, name), PersonPaths(after, name))
			}
			if !reflect.DeepEqual(bare(PersonBlocks(before, name)), bare(PersonBlocks(after, name))) && !slices.Contains(affected.People, name) {
				t.Errorf("%s is not told what it is kept from: %v, then %v", name, PersonBlocks(before, name), PersonBlocks(after, name))
			}
			name = fmt.Sprintf("agent%d", i)
			if !reflect.DeepEqual(bare(AgentBlocks(before, name)), bare(AgentBlocks(after, name))) && !slices.Contains(affected.Agents, name) {
				t.Errorf("%s is not told what it is kept from: %v, then %v", name, AgentBlocks(before, name), AgentBlocks(after, name))
			}
			if !reflect.DeepEqual(strip(AgentPaths(before, name)), strip(AgentPaths(after, name))) && !slices.Contains(affected.Agents, name) {
				t.Errorf("%s is not told: %v, then %v", name, AgentPaths(before, name), AgentPaths(after, name))
			}
			for _, who := range append(after.People(), "nobody") {
				if Delegated(after, name, who) != slices.Contains(Delegators(after, name), who) {
					t.Errorf("whether %s may act for %s is answered in two ways", name, who)
				}
			}
			if !slices.Equal(Delegators(before, name), Delegators(after, name)) && !slices.Contains(affected.Agents, name) {
				t.Errorf("%s is not told of its delegators: %v, then %v", name, Delegators(before, name), Delegators(after, name))
			}
		}
	})
}

// bare is what blocks keep from, each once: which of two equal ones names it may change.
func bare(blocks []Block) map[string]bool {
	kept := map[string]bool{}
	for _, b := range blocks {
		kept[fmt.Sprintf("%s.%s %v", b.Server, b.Tool, b.Hides)] = true
	}
	return kept
}

// strip leaves out the words: which of two equal paths explains a right may change without the right.
func strip(paths []Path) []Path {
	bare := slices.Clone(paths)
	for i := range bare {
		bare[i].Via, bare[i].If = terms.Words(bare[i].If), nil
	}
	return bare
}

// memory is a store in memory that counts and can fail.
type memory struct {
	held   Set
	reads  int
	writes []string
	fail   int // the write that fails, from 1
}

func (m *memory) Read(context.Context) ([]Tuple, error) {
	m.reads++
	var all []Tuple
	for key, until := range m.held {
		all = append(all, tuple(key, until))
	}
	return all, nil
}

func (m *memory) Write(_ context.Context, gone, come []Tuple) error {
	m.writes = append(m.writes, fmt.Sprintf("-%d+%d", len(gone), len(come)))
	if len(m.writes) == m.fail {
		return errors.New("the store failed")
	}
	for _, t := range gone {
		delete(m.held, t.Key())
	}
	for _, t := range come {
		if _, there := m.held[t.Key()]; there {
			return fmt.Errorf("%v is there already", t)
		}
		m.held.add(t)
	}
	return nil
}

func many(n int, kind string) Set {
	s := Set{}
	for i := range n {
		s.add(Tuple{Object: fmt.Sprintf("%s:%d", kind, i), Relation: "r", User: "user:u"})
	}
	return s
}

func always() bool { return true }

func run(r *Reconciler, want Set, more func() bool) error {
	d, err := r.Plan(context.Background(), want)
	if err != nil {
		return err
	}
	if err := r.Remove(context.Background(), d); err != nil {
		return err
	}
	_, err = r.Add(context.Background(), d, more)
	return err
}

func TestReconcileRemovesFirstInBatchesAndReadsOnce(t *testing.T) {
	store := &memory{held: many(150, "old")}
	r := NewReconciler(store)
	for range 2 {
		if err := run(r, many(250, "new"), always); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"-100+0", "-50+0", "-0+100", "-0+100", "-0+50"}; !slices.Equal(store.writes, want) || store.reads != 1 {
		t.Errorf("writes %v after %d reads, want %v after 1", store.writes, store.reads, want)
	}
	if !reflect.DeepEqual(store.held, many(250, "new")) {
		t.Errorf("the store holds %d tuples", len(store.held))
	}
}

func TestReconcileReplacesATupleWhoseEndChanged(t *testing.T) {
	key := Tuple{Object: "mcp_server:s", Relation: "caller", User: "role:r#assignee", Until: now()}
	store := &memory{held: NewSet([]Tuple{key})}
	r := NewReconciler(store)
	key.Until = now().Add(time.Hour)
	want := NewSet([]Tuple{key})
	if err := run(r, want, always); err != nil || !reflect.DeepEqual(store.held, want) {
		t.Errorf("%v: %v", err, store.held)
	}
}

func TestReconcileReadsAgainAfterAFailedWrite(t *testing.T) {
	store := &memory{held: many(150, "old"), fail: 4}
	r := NewReconciler(store)
	want := many(250, "new")
	if err := run(r, want, always); err == nil {
		t.Fatal("the failure was swallowed")
	}
	if err := run(r, want, always); err != nil || store.reads != 2 || !reflect.DeepEqual(store.held, want) {
		t.Errorf("%v after %d reads: %d tuples", err, store.reads, len(store.held))
	}
}

func TestReconcileThatIsInterruptedGoesOnWhereItStopped(t *testing.T) {
	store := &memory{held: Set{}}
	r := NewReconciler(store)
	if err := run(r, many(250, "new"), func() bool { return false }); err != nil {
		t.Fatal(err)
	}
	if len(store.held) != Batch {
		t.Errorf("%d tuples after the interruption", len(store.held))
	}
	if err := run(r, many(250, "new"), always); err != nil || store.reads != 1 || len(store.held) != 250 {
		t.Errorf("%v after %d reads: %d tuples", err, store.reads, len(store.held))
	}
}

func BenchmarkOneChangeAmongTenThousandPeople(b *testing.B) {
	var resources []*identityv1.Resource
	for i := range 10000 {
		resources = append(resources, person(fmt.Sprintf("p%d", i), &identityv1.PersonSpec{Roles: []string{"a", "b"}}))
	}
	resources = append(resources, roleOf("a", grant("s", "call", time.Time{}, "*")))
	view := directory.View{}.Apply(&identityv1.WatchResponse{Snapshot: true, Upserts: resources})
	before, _ := view.Tenant("acme")
	have := Desired(before)
	for b.Loop() {
		next := view.Apply(&identityv1.WatchResponse{Revision: 2, Upserts: []*identityv1.Resource{person("p1", &identityv1.PersonSpec{})}})
		after, _ := next.Tenant("acme")
		d := Diff(have, Desired(after))
		if n := FindAffected(before, after, append(d.Gone, d.Come...)).Count(); n != 1 {
			b.Fatalf("%d are affected", n)
		}
	}
}
