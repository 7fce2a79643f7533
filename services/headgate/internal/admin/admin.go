// Package admin calls Apply, Get, List and Delete of whichever service owns a kind. The four have the same shape everywhere,
// so one client made from the services' descriptors serves all of them.
package admin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/rpc"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

// Owner is the client of one service's four methods.
type Owner struct {
	conn    *rpc.Conn
	service protoreflect.ServiceDescriptor
}

// Order is the order in which owners get their part of a file: what others refer to comes first.
func Order() []string { return []string{"identity", "credentials", "trust", "authz"} }

// NewOwner makes the client of a service by its name, as "identity".
func NewOwner(conn *rpc.Conn, name string) (*Owner, error) {
	if name == "" {
		return nil, fault.Invalid("the kind has no owner")
	}
	full := protoreflect.FullName(fmt.Sprintf("headgate.%s.v1.%sService", name, strings.ToUpper(name[:1])+name[1:]))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(full)
	if err != nil {
		return nil, fmt.Errorf("no service %s: %w", full, err)
	}
	service, ok := found.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is not a service", full)
	}
	return &Owner{conn: conn, service: service}, nil
}

// Claim is which source the caller acts for; none for their own hands.
type Claim struct {
	Owner    string
	TakeOver bool
}

// Applied is what became of objects.
type Applied struct {
	Changes []*resourcev1.Change
	// Revisions are those that each owner then stood at.
	Revisions map[string]int64
	// Warnings are sentences about what is allowed and is probably a mistake.
	Warnings []string
}

// Apply sends each owner its part of the objects, in order. With an error, it answers what was done before.
func Apply(ctx context.Context, conn *rpc.Conn, objects []resource.Object, claim Claim, dryRun bool) (Applied, error) {
	done := Applied{Revisions: map[string]int64{}}
	for _, name := range Order() {
		var part []resource.Object
		for _, object := range objects {
			if resource.Owner(object.GetKind()) == name {
				part = append(part, object)
			}
		}
		if len(part) == 0 {
			continue
		}
		owner, err := NewOwner(conn, name)
		if err != nil {
			return done, err
		}
		for chunk := range slices.Chunk(part, 1000) {
			if err := owner.apply(ctx, chunk, request{claim, dryRun, objects}, &done); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// request is how a part is applied, and all that it is a part of.
type request struct {
	claim  Claim
	dryRun bool
	whole  []resource.Object
}

// named are the names of a kind among what is applied together.
func (r request) named(kind string) []string {
	var names []string
	for _, object := range r.whole {
		if object.GetKind() == kind {
			names = append(names, object.GetMetadata().GetName())
		}
	}
	return names
}

// call runs one method. fill sets the request's fields; what comes back is read by name.
func (o *Owner) call(ctx context.Context, method protoreflect.Name, fill map[protoreflect.Name]any) (*dynamicpb.Message, error) {
	desc := o.service.Methods().ByName(method)
	if desc == nil {
		return nil, fmt.Errorf("%s has no method %s", o.service.FullName(), method)
	}
	request := dynamicpb.NewMessage(desc.Input())
	for name, value := range fill {
		field := desc.Input().Fields().ByName(name)
		if items, ok := value.([]proto.Message); ok {
			list := request.Mutable(field).List()
			for _, item := range items {
				element, err := recast(item, field.Message())
				if err != nil {
					return nil, err
				}
				list.Append(protoreflect.ValueOfMessage(element))
			}
			continue
		}
		if texts, ok := value.([]string); ok {
			for _, text := range texts {
				request.Mutable(field).List().Append(protoreflect.ValueOfString(text))
			}
			continue
		}
		request.Set(field, protoreflect.ValueOf(value))
	}
	procedure := fmt.Sprintf("/%s/%s", o.service.FullName(), method)
	client := rpc.Client(o.conn, func(h connect.HTTPClient, base string, opts ...connect.ClientOption) *connect.Client[dynamicpb.Message, dynamicpb.Message] {
		opts = append(opts, connect.WithSchema(desc), connect.WithResponseInitializer(func(_ connect.Spec, message any) error {
			if dynamic, ok := message.(*dynamicpb.Message); ok {
				*dynamic = *dynamicpb.NewMessage(desc.Output())
			}
			return nil
		}))
		return connect.NewClient[dynamicpb.Message, dynamicpb.Message](h, base+procedure, opts...)
	})
	response, err := client.CallUnary(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, err
	}
	return response.Msg, nil
}

// apply sends resources of this owner and adds what became of them to what is done.
func (o *Owner) apply(ctx context.Context, objects []resource.Object, r request, done *Applied) error {
	wrapped := make([]proto.Message, len(objects))
	for i, object := range objects {
		envelope, err := o.envelope()
		if err != nil {
			return err
		}
		if err := resource.Wrap(object, envelope); err != nil {
			return err
		}
		wrapped[i] = envelope
	}
	fill := map[protoreflect.Name]any{"resources": wrapped, "dry_run": r.dryRun, "owner": r.claim.Owner, "take_over": r.claim.TakeOver}
	input := o.service.Methods().ByName("Apply").Input().Fields()
	for field, kind := range map[protoreflect.Name]string{"roles": "Role", "servers": "Server", "groups": "Group"} {
		if input.ByName(field) != nil { // an owner that warns of names wants to know those that come along
			fill[field] = r.named(kind)
		}
	}
	out, err := o.call(ctx, "Apply", fill)
	if err != nil {
		return err
	}
	fields := out.Descriptor().Fields()
	list := out.Get(fields.ByName("changes")).List()
	for i := range list.Len() {
		change := &resourcev1.Change{}
		if err := copyInto(list.Get(i).Message().Interface(), change); err != nil {
			return err
		}
		done.Changes = append(done.Changes, change)
	}
	if field := fields.ByName("warnings"); field != nil {
		list := out.Get(field).List()
		for i := range list.Len() {
			done.Warnings = append(done.Warnings, sentence(list.Get(i).Message()))
		}
	}
	done.Revisions[string(o.service.ParentFile().Package().Parent().Name())] = out.Get(fields.ByName("revision")).Int()
	return nil
}

// sentence is a warning with the policy that it is about.
func sentence(m protoreflect.Message) string {
	text := func(name protoreflect.Name) string { return m.Get(m.Descriptor().Fields().ByName(name)).String() }
	if policy := text("policy"); policy != "" {
		return policy + ": " + text("sentence")
	}
	return text("sentence")
}

// Get reads one resource.
func (o *Owner) Get(ctx context.Context, kind, tenant, name string) (resource.Object, error) {
	out, err := o.call(ctx, "Get", map[protoreflect.Name]any{"kind": kind, "tenant": tenant, "name": name})
	if err != nil {
		return nil, err
	}
	return o.object(out.Get(out.Descriptor().Fields().ByName("resource")).Message().Interface())
}

// List reads all resources of a kind.
func (o *Owner) List(ctx context.Context, kind, tenant string) ([]resource.Object, error) {
	var objects []resource.Object
	for token := ""; ; {
		out, err := o.call(ctx, "List", map[protoreflect.Name]any{"kind": kind, "tenant": tenant, "page_size": int32(1000), "page_token": token})
		if err != nil {
			return nil, err
		}
		items := out.Get(out.Descriptor().Fields().ByName("resources")).List()
		for i := range items.Len() {
			object, err := o.object(items.Get(i).Message().Interface())
			if err != nil {
				return nil, err
			}
			objects = append(objects, object)
		}
		token = out.Get(out.Descriptor().Fields().ByName("next_page_token")).String()
		if token == "" {
			return objects, nil
		}
	}
}

// Delete removes one resource.
func (o *Owner) Delete(ctx context.Context, kind, tenant, name string, claim Claim) error {
	_, err := o.call(ctx, "Delete", map[protoreflect.Name]any{
		"kind": kind, "tenant": tenant, "name": name, "owner": claim.Owner, "take_over": claim.TakeOver,
	})
	return err
}

// envelope makes an empty Resource of this owner's package.
func (o *Owner) envelope() (proto.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(o.service.ParentFile().Package().Append("Resource"))
	if err != nil {
		return nil, err
	}
	return kind.New().Interface(), nil
}

func (o *Owner) object(message proto.Message) (resource.Object, error) {
	envelope, err := o.envelope()
	if err != nil {
		return nil, err
	}
	if err := copyInto(message, envelope); err != nil {
		return nil, err
	}
	return resource.Unwrap(envelope)
}

func recast(message proto.Message, as protoreflect.MessageDescriptor) (protoreflect.Message, error) {
	dynamic := dynamicpb.NewMessage(as)
	return dynamic, copyInto(message, dynamic)
}

// copyInto moves a message to another Go type of the same shape.
func copyInto(from, to proto.Message) error {
	encoded, err := proto.Marshal(from)
	if err != nil {
		return fault.Invalid("the message cannot be encoded").Because(err)
	}
	return proto.Unmarshal(encoded, to)
}
