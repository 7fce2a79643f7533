package directory

import (
	"slices"
	"strings"

	"headgate.dev/libs/resource"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
)

// The bootstrap administrator, who administers every tenant.
const (
	SystemTenant = "system"
	SystemPerson = "admin"
)

type key struct{ kind, tenant, name string }

func keyOf(o resource.Object) key {
	return key{o.GetKind(), o.GetMetadata().GetTenant(), o.GetMetadata().GetName()}
}

// view is the directory in memory. It is not safe for concurrent use.
type view struct {
	objects map[key]resource.Object
	// groups lists the names of the groups that a person is in; the key's kind is Person.
	groups map[key][]string
}

func newView() *view {
	return &view{objects: map[key]resource.Object{}, groups: map[key][]string{}}
}

func (v *view) put(o resource.Object) {
	v.remove(keyOf(o))
	v.objects[keyOf(o)] = o
	if group, ok := o.(*identityv1.Group); ok {
		m := group.GetMetadata()
		for _, member := range group.GetSpec().GetMembers() {
			at := key{"Person", m.GetTenant(), member}
			v.groups[at] = append(v.groups[at], m.GetName())
		}
	}
}

func (v *view) remove(k key) {
	if group, ok := v.objects[k].(*identityv1.Group); ok {
		for _, member := range group.GetSpec().GetMembers() {
			at := key{"Person", k.tenant, member}
			left := slices.DeleteFunc(v.groups[at], func(name string) bool { return name == k.name })
			if v.groups[at] = left; len(left) == 0 {
				delete(v.groups, at)
			}
		}
	}
	delete(v.objects, k)
}

func (v *view) person(tenant, name string) *identityv1.Person {
	p, _ := v.objects[key{"Person", tenant, name}].(*identityv1.Person)
	return p
}

func (v *view) agent(tenant, name string) *identityv1.Agent {
	a, _ := v.objects[key{"Agent", tenant, name}].(*identityv1.Agent)
	return a
}

// caller is a person with the roles of their groups and the rights that follow; nil when there is no such person.
func (v *view) caller(tenant, name string) *identityv1.Caller {
	p := v.person(tenant, name)
	if p == nil {
		return nil
	}
	groups := slices.Sorted(slices.Values(v.groups[key{"Person", tenant, name}]))
	roles := slices.Clone(p.GetSpec().GetRoles())
	for _, group := range groups {
		if g, ok := v.objects[key{"Group", tenant, group}].(*identityv1.Group); ok {
			roles = append(roles, g.GetSpec().GetRoles()...)
		}
	}
	slices.Sort(roles)
	roles = slices.Compact(roles)
	return &identityv1.Caller{
		Tenant: tenant, Name: name, Email: p.GetSpec().GetEmail(), DisplayName: p.GetSpec().GetDisplayName(),
		Roles: roles, Groups: groups, Rights: rights(tenant, name, roles),
	}
}

// rights are what a person may do at Headgate's own API.
func rights(tenant, name string, roles []string) []optionsv1.Role {
	all := []optionsv1.Role{optionsv1.Role_ROLE_MEMBER}
	for _, role := range []struct {
		name  string
		right optionsv1.Role
	}{
		{"admin", optionsv1.Role_ROLE_ADMIN}, {"security", optionsv1.Role_ROLE_SECURITY},
		{"auditor", optionsv1.Role_ROLE_AUDITOR}, {"app", optionsv1.Role_ROLE_APP},
	} {
		if slices.Contains(roles, role.name) {
			all = append(all, role.right)
		}
	}
	if tenant == SystemTenant && name == SystemPerson {
		all = append(all, optionsv1.Role_ROLE_PLATFORM)
	}
	return all
}

// people lists the people of all tenants who can sign in, by tenant and name.
func (v *view) people() []*identityv1.Person {
	var all []*identityv1.Person
	for _, o := range v.objects {
		if p, ok := o.(*identityv1.Person); ok && !p.GetSpec().GetDisabled() {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *identityv1.Person) int { return strings.Compare(resource.Key(a), resource.Key(b)) })
	return all
}
