package resource

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"buf.build/go/protovalidate"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var tenantName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// Check applies the rules of a resource's message and those that a message cannot say: every kind but Tenant has a tenant; names of servers and
// connections have no dot, because server.tool names a tool. Every service calls it for what comes over the wire.
func Check(o Object) error {
	var problems []problem
	for _, v := range violations(o) {
		text := v.text
		if name := o.GetMetadata().GetName(); name != "" {
			text += " (" + clip(Key(o)) + ")"
		}
		problems = append(problems, problem{path: v.path.String(), text: text})
	}
	return refuse(problems)
}

// step is one part of a path: a field by its JSON name, an index or a key.
type step struct {
	name  string
	index int // used when name and key are not
	key   *string
}

type fieldPath []step

func (p fieldPath) String() string {
	var b strings.Builder
	for _, s := range p {
		switch {
		case s.name != "":
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.name)
		case s.key != nil:
			b.WriteString("[" + strconv.Quote(clip(*s.key)) + "]")
		default:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		}
	}
	return b.String()
}

type violation struct {
	path fieldPath
	text string
}

func named(names ...string) fieldPath {
	var p fieldPath
	for _, n := range names {
		p = append(p, step{name: n})
	}
	return p
}

func violations(o Object) []violation {
	var found []violation
	err := protovalidate.Validate(o)
	var broken *protovalidate.ValidationError
	switch {
	case errors.As(err, &broken):
		for _, v := range broken.Violations {
			found = append(found, violation{path: pathOf(o.ProtoReflect().Descriptor(), v.Proto.GetField()), text: sentence(v)})
		}
	case err != nil:
		found = append(found, violation{text: "cannot be checked: " + err.Error()})
	}
	if _, err := compact(o); err != nil {
		found = append(found, violation{text: "has no JSON form: a number is not finite or a text is not UTF-8"})
	}
	if o.GetMetadata() == nil {
		return found
	}
	name, tenant := o.GetMetadata().GetName(), o.GetMetadata().GetTenant()
	switch o.GetKind() {
	case "Tenant":
		if !tenantName.MatchString(name) {
			found = append(found, violation{named("metadata", "name"), "a tenant's name has 1 to 40 of a-z, 0-9 and hyphen, and starts and ends with a letter or digit"})
		}
		if tenant != "" && tenant != name {
			found = append(found, violation{named("metadata", "tenant"), "a tenant is in no tenant; leave it out"})
		}
	default:
		if tenant == "" {
			found = append(found, violation{named("metadata", "tenant"), "is missing"})
		}
	}
	if (o.GetKind() == "Server" || o.GetKind() == "Connection") && strings.Contains(name, ".") {
		found = append(found, violation{named("metadata", "name"), "may not contain a dot, because server.tool names a tool"})
	}
	return found
}

// sentence says a broken rule in the words of someone who edits YAML.
func sentence(v *protovalidate.Violation) string {
	rule := v.RuleValue
	switch v.Proto.GetRuleId() {
	case "required":
		return "is missing"
	case "string.const":
		return "must be " + rule.String()
	case "string.in":
		var words []string
		for i := range rule.List().Len() {
			if word := rule.List().Get(i).String(); word != "" {
				words = append(words, word)
			}
		}
		return "must be one of " + strings.Join(words, ", ")
	case "string.pattern":
		if v.FieldValue.IsValid() && v.FieldValue.String() == "" {
			return "is missing"
		}
		return fmt.Sprintf("must match %s", rule.String())
	case "message.oneof", "required_oneof":
		return "exactly one of its actions must be set"
	}
	if message := v.Proto.GetMessage(); message != "" {
		return message
	}
	return "breaks the rule " + v.Proto.GetRuleId()
}

// pathOf turns a path of proto names into one of JSON names.
func pathOf(m protoreflect.MessageDescriptor, path *validate.FieldPath) fieldPath {
	var steps fieldPath
	for _, element := range path.GetElements() {
		name := element.GetFieldName()
		if m != nil {
			if field := m.Fields().ByTextName(name); field != nil {
				name = field.JSONName()
				m = field.Message()
				if field.IsMap() {
					m = field.MapValue().Message()
				}
			}
		}
		steps = append(steps, step{name: name})
		switch subscript := element.GetSubscript().(type) {
		case *validate.FieldPathElement_Index:
			steps = append(steps, step{index: int(subscript.Index)})
		case *validate.FieldPathElement_StringKey:
			steps = append(steps, step{key: &subscript.StringKey})
		}
	}
	return steps
}

// locate finds the node of a path, or the closest one above it.
func locate(n *yaml.Node, path fieldPath) *yaml.Node {
	for _, s := range path {
		next := (*yaml.Node)(nil)
		switch {
		case s.name != "":
			next = child(n, s.name)
		case s.key != nil:
			next = child(n, *s.key)
		case n.Kind == yaml.SequenceNode && s.index < len(n.Content):
			next = n.Content[s.index]
		}
		if next == nil {
			return n
		}
		n = next
	}
	return n
}
