package directory

import (
	"slices"
	"strings"

	"headgate.dev/libs/membership"
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
	// belonging is each tenant's groups and roles.
	belonging map[string]*membership.Tenant
}

func newView() *view {
	return &view{objects: map[key]resource.Object{}, belonging: map[string]*membership.Tenant{}}
}

func (v *view) in(tenant string) *membership.Tenant {
	if v.belonging[tenant] == nil {
		v.belonging[tenant] = &membership.Tenant{}
	}
	return v.belonging[tenant]
}

func (v *view) put(o resource.Object) {
	k := keyOf(o)
	v.objects[k] = o
	switch o := o.(type) {
	case *identityv1.Group:
		v.in(k.tenant).PutGroup(k.name, o.GetSpec())
	case *identityv1.Role:
		v.in(k.tenant).PutRole(k.name, o.GetSpec())
	}
}

func (v *view) remove(k key) {
	switch k.kind {
	case "Group":
		v.in(k.tenant).RemoveGroup(k.name)
	case "Role":
		v.in(k.tenant).RemoveRole(k.name)
	case "Tenant":
		delete(v.belonging, k.name)
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

// caller is a person with all roles that they hold and the rights that follow; nil when there is no such person.
func (v *view) caller(tenant, name string) *identityv1.Caller {
	p := v.person(tenant, name)
	if p == nil {
		return nil
	}
	belonging := v.belonging[tenant]
	if belonging == nil {
		belonging = &membership.Tenant{} // without any group or role
	}
	roles := belonging.Roles(name, p.GetSpec())
	return &identityv1.Caller{
		Tenant: tenant, Name: name, Email: p.GetSpec().GetEmail(), DisplayName: p.GetSpec().GetDisplayName(),
		Roles: roles, Groups: belonging.Groups(name), Rights: rights(tenant, name, roles),
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
		{"auditor", optionsv1.Role_ROLE_AUDITOR}, {"app", optionsv1.Role_ROLE_APP}, {"registrar", optionsv1.Role_ROLE_REGISTRAR},
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
