package resource

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"headgate.dev/libs/fault"
)

// Wrap puts a resource into a service's own Resource message, whose oneof has a field for each kind of that service.
func Wrap(o Object, into proto.Message) error {
	m := into.ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if field.Message() != nil && field.Message().FullName() == o.ProtoReflect().Descriptor().FullName() {
			m.Set(field, protoreflect.ValueOfMessage(o.ProtoReflect()))
			return nil
		}
	}
	return fault.Invalid("This service does not keep resources of kind %s; %s does.", o.GetKind(), Owner(o.GetKind()))
}

// Unwrap takes the resource out of a service's Resource message.
func Unwrap(res proto.Message) (Object, error) {
	m := res.ProtoReflect()
	if m.IsValid() {
		oneofs := m.Descriptor().Oneofs()
		for i := range oneofs.Len() {
			if field := m.WhichOneof(oneofs.Get(i)); field != nil && field.Message() != nil {
				if object, ok := m.Get(field).Message().Interface().(Object); ok {
					return object, nil
				}
			}
		}
	}
	return nil, fault.Invalid("A resource is empty: set exactly one kind.")
}
