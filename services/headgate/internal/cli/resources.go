package cli

import (
	"context"
	"fmt"
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

// owner calls Apply, Get, List and Delete of the service that owns some kinds. The four have the same shape everywhere,
// so one client made from the services' descriptors serves all of them.
type owner struct {
	conn    *rpc.Conn
	service protoreflect.ServiceDescriptor
}

func (s *session) owner(name string) (*owner, error) {
	conn, err := s.dial()
	if err != nil {
		return nil, err
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
	return &owner{conn: conn, service: service}, nil
}

// ownerOf finds the owner of a kind, by its exact or lower-case name.
func (s *session) ownerOf(kind string) (*owner, string, error) {
	for _, known := range resource.Kinds() {
		if strings.EqualFold(known, kind) || strings.EqualFold(known+"s", kind) {
			o, err := s.owner(resource.Owner(known))
			return o, known, err
		}
	}
	return nil, "", usageError{fmt.Errorf("no kind %q; there are %s", kind, strings.Join(resource.Kinds(), ", "))}
}

// call runs one method. fill sets the request's fields; what comes back is read by name.
func (o *owner) call(ctx context.Context, method protoreflect.Name, fill map[protoreflect.Name]any) (*dynamicpb.Message, error) {
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

// apply sends resources of this owner and answers what changed.
func (o *owner) apply(ctx context.Context, objects []resource.Object, dryRun bool) ([]*resourcev1.Change, error) {
	wrapped := make([]proto.Message, len(objects))
	for i, object := range objects {
		envelope, err := o.envelope()
		if err != nil {
			return nil, err
		}
		if err := resource.Wrap(object, envelope); err != nil {
			return nil, err
		}
		wrapped[i] = envelope
	}
	out, err := o.call(ctx, "Apply", map[protoreflect.Name]any{"resources": wrapped, "dry_run": dryRun})
	if err != nil {
		return nil, err
	}
	list := out.Get(out.Descriptor().Fields().ByName("changes")).List()
	changes := make([]*resourcev1.Change, list.Len())
	for i := range list.Len() {
		changes[i] = &resourcev1.Change{}
		if err := copyInto(list.Get(i).Message().Interface(), changes[i]); err != nil {
			return nil, err
		}
	}
	return changes, nil
}

func (o *owner) get(ctx context.Context, kind, tenant, name string) (resource.Object, error) {
	out, err := o.call(ctx, "Get", map[protoreflect.Name]any{"kind": kind, "tenant": tenant, "name": name})
	if err != nil {
		return nil, err
	}
	return o.object(out.Get(out.Descriptor().Fields().ByName("resource")).Message().Interface())
}

// list reads all pages.
func (o *owner) list(ctx context.Context, kind, tenant string) ([]resource.Object, error) {
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

func (o *owner) remove(ctx context.Context, kind, tenant, name string) error {
	_, err := o.call(ctx, "Delete", map[protoreflect.Name]any{"kind": kind, "tenant": tenant, "name": name})
	return err
}

// envelope makes an empty Resource of this owner's package.
func (o *owner) envelope() (proto.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(o.service.ParentFile().Package().Append("Resource"))
	if err != nil {
		return nil, err
	}
	return kind.New().Interface(), nil
}

func (o *owner) object(message proto.Message) (resource.Object, error) {
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
