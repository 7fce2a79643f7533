// Package resource reads and writes what people declare: YAML or JSON documents that are the JSON form of proto messages. It reads strictly, so that a
// typing error never becomes a silent default, and names file, line and field of everything it refuses.
package resource

import (
	"slices"

	"google.golang.org/protobuf/proto"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// APIVersion is the only form of resources there is.
const APIVersion = "headgate/v1"

// Object is one declared resource.
type Object interface {
	proto.Message
	GetApiVersion() string
	GetKind() string
	GetMetadata() *resourcev1.Metadata
}

// Located is a resource and where it was declared. Line counts from 1 and is that of the document's first key.
type Located struct {
	Object Object
	File   string
	Line   int
}

// kind is one row of the table of kinds.
type kind struct {
	name  string
	owner string
	empty Object
}

// kinds lists every kind with the service that owns it, in the order in which they can be applied: what is named before what names it.
func kinds() []kind {
	return []kind{
		{"Tenant", "identity", (*identityv1.Tenant)(nil)},
		{"Role", "identity", (*identityv1.Role)(nil)},
		{"Person", "identity", (*identityv1.Person)(nil)},
		{"Group", "identity", (*identityv1.Group)(nil)},
		{"Agent", "identity", (*identityv1.Agent)(nil)},
		{"BlockList", "identity", (*identityv1.BlockList)(nil)},
		{"Connection", "credentials", (*credentialsv1.Connection)(nil)},
		{"Server", "trust", (*trustv1.Server)(nil)},
		{"Calendar", "authz", (*authzv1.Calendar)(nil)},
		{"Policy", "authz", (*authzv1.Policy)(nil)},
	}
}

// Kinds names every kind, in the order in which they can be applied.
func Kinds() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// Owner names the service that keeps resources of this kind; empty for a kind that there is not.
func Owner(kindName string) string {
	k, _ := lookup(kindName)
	return k.owner
}

// New returns an empty resource of the kind; false for a kind that there is not.
func New(kindName string) (Object, bool) {
	k, ok := lookup(kindName)
	if !ok {
		return nil, false
	}
	object, ok := k.empty.ProtoReflect().New().Interface().(Object)
	return object, ok
}

// Key names a resource for people: "Person acme/ana", "Tenant acme".
func Key(o Object) string {
	if tenant := o.GetMetadata().GetTenant(); tenant != "" {
		return o.GetKind() + " " + tenant + "/" + o.GetMetadata().GetName()
	}
	return o.GetKind() + " " + o.GetMetadata().GetName()
}

func lookup(name string) (kind, bool) {
	all := kinds()
	i := slices.IndexFunc(all, func(k kind) bool { return k.name == name })
	if i < 0 {
		return kind{}, false
	}
	return all[i], true
}
