package resource

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// decoder turns the nodes of one document into a message and collects everything that is wrong with it.
type decoder struct {
	file     string
	problems []problem
}

func (d *decoder) refuse(n *yaml.Node, path, format string, args ...any) {
	d.problems = append(d.problems, problem{file: d.file, line: n.Line, path: path, text: fmt.Sprintf(format, args...)})
}

// object reads a document as the kind that it says it is; nil when it cannot be used.
func (d *decoder) object(root *yaml.Node) Object {
	if root.Kind != yaml.MappingNode {
		d.refuse(root, "", "a document must be a mapping with apiVersion, kind, metadata and spec, is %s", describe(root))
		return nil
	}
	kindNode := child(root, "kind")
	if kindNode == nil || kindNode.Kind != yaml.ScalarNode || kindNode.Value == "" {
		d.refuse(root, "kind", "is missing; known are %s", strings.Join(Kinds(), ", "))
		return nil
	}
	object, ok := New(kindNode.Value)
	if !ok {
		if near, ok := nearest(kindNode.Value, Kinds()); ok {
			d.refuse(kindNode, "kind", "there is no kind %q; did you mean %s?", clip(kindNode.Value), near)
		} else {
			d.refuse(kindNode, "kind", "there is no kind %q; known are %s", clip(kindNode.Value), strings.Join(Kinds(), ", "))
		}
		return nil
	}
	d.message(root, object.ProtoReflect(), "", 0)
	if len(d.problems) > 0 {
		return nil // a rule that fails because of what could not be read would only repeat it
	}
	for _, v := range violations(object) {
		line := locate(root, v.path).Line
		d.problems = append(d.problems, problem{file: d.file, line: line, path: v.path.String(), text: v.text})
	}
	return object
}

// message reads a node into a message.
func (d *decoder) message(n *yaml.Node, m protoreflect.Message, path string, depth int) {
	if !d.plain(n, path, depth) {
		return
	}
	switch m.Descriptor().FullName() {
	case "google.protobuf.Timestamp", "google.protobuf.Duration":
		d.wellKnown(n, m, path)
		return
	case "google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue":
		d.free(n, m, path, depth)
		return
	}
	if n.Kind != yaml.MappingNode {
		d.refuse(n, path, "must be a mapping, is %s", describe(n))
		return
	}
	d.pairs(n, path, func(key, value *yaml.Node) {
		at := join(path, key.Value)
		field := m.Descriptor().Fields().ByJSONName(key.Value)
		if field == nil {
			d.unknown(key, m.Descriptor(), at)
			return
		}
		if isNull(value) && !takesNull(field) {
			return // the JSON form of a field that is not set
		}
		if group := field.ContainingOneof(); group != nil {
			if other := m.WhichOneof(group); other != nil {
				d.refuse(key, at, "%s is set already; only one of them may be", other.JSONName())
				return
			}
		}
		d.field(value, m, field, at, depth+1)
	})
}

func (d *decoder) field(n *yaml.Node, m protoreflect.Message, field protoreflect.FieldDescriptor, path string, depth int) {
	switch {
	case field.IsMap():
		d.entries(n, m, field, path, depth)
	case field.IsList():
		if !d.plain(n, path, depth) {
			return
		}
		if n.Kind != yaml.SequenceNode {
			d.refuse(n, path, "must be a list, is %s", describe(n))
			return
		}
		list := m.Mutable(field).List()
		for i, item := range n.Content {
			if value, ok := d.value(item, field, list.NewElement, path+"["+strconv.Itoa(i)+"]", depth+1); ok {
				list.Append(value)
			}
		}
	default:
		if value, ok := d.value(n, field, func() protoreflect.Value { return m.NewField(field) }, path, depth); ok {
			m.Set(field, value)
		}
	}
}

// entries reads a map whose keys are strings; no resource has another.
func (d *decoder) entries(n *yaml.Node, m protoreflect.Message, field protoreflect.FieldDescriptor, path string, depth int) {
	if !d.plain(n, path, depth) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.refuse(n, path, "must be a mapping, is %s", describe(n))
		return
	}
	entries := m.Mutable(field).Map()
	d.pairs(n, path, func(key, value *yaml.Node) {
		at := path + "[" + strconv.Quote(clip(key.Value)) + "]"
		if v, ok := d.value(value, field.MapValue(), entries.NewValue, at, depth+1); ok {
			entries.Set(protoreflect.ValueOfString(key.Value).MapKey(), v)
		}
	})
}

// pairs calls each with every key and value of a mapping whose keys are strings and occur once.
func (d *decoder) pairs(n *yaml.Node, path string, each func(key, value *yaml.Node)) {
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag != "!!str" || key.Anchor != "" {
			d.refuse(key, path, "a key must be a string, is %s", describe(key))
			continue
		}
		if line, ok := seen[key.Value]; ok {
			d.refuse(key, join(path, clip(key.Value)), "is there already, at line %d", line)
			continue
		}
		seen[key.Value] = key.Line
		each(key, value)
	}
}

// value reads one element: a field's own value, a list's item or a map's value.
func (d *decoder) value(n *yaml.Node, field protoreflect.FieldDescriptor, fresh func() protoreflect.Value, path string, depth int) (protoreflect.Value, bool) {
	if field.Message() != nil {
		before := len(d.problems)
		value := fresh()
		d.message(n, value.Message(), path, depth)
		return value, len(d.problems) == before
	}
	if !d.plain(n, path, depth) {
		return protoreflect.Value{}, false
	}
	value, want := scalar(n, field.Kind())
	if want != "" {
		d.refuse(n, path, "must be %s, is %s%s", want, describe(n), quoteHint(n, field.Kind()))
		return protoreflect.Value{}, false
	}
	return value, true
}

// plain refuses what has no JSON form, and what is nested too deep.
func (d *decoder) plain(n *yaml.Node, path string, depth int) bool {
	switch {
	case depth > maxDepth:
		d.refuse(n, path, "is nested deeper than %d", maxDepth)
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.refuse(n, path, "anchors and aliases are not taken; write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		d.refuse(n, path, "tags are not taken; write the value without %s", clip(n.Tag))
	default:
		return true
	}
	return false
}

// wellKnown reads a time or a duration by its own JSON form.
func (d *decoder) wellKnown(n *yaml.Node, m protoreflect.Message, path string) {
	want := "a time as 2026-01-31T12:00:00Z (RFC 3339)"
	if m.Descriptor().Name() == "Duration" {
		want = "a duration in seconds as 3600s"
	}
	fresh := m.New().Interface()
	if !isText(n) || protojson.Unmarshal([]byte(strconv.Quote(n.Value)), fresh) != nil {
		d.refuse(n, path, "must be %s, is %s", want, describe(n))
		return
	}
	proto.Merge(m.Interface(), fresh)
}

func (d *decoder) unknown(key *yaml.Node, m protoreflect.MessageDescriptor, path string) {
	if field := m.Fields().ByTextName(key.Value); field != nil {
		d.refuse(key, clip(path), "is written %s", field.JSONName())
		return
	}
	var known []string
	for i := range m.Fields().Len() {
		known = append(known, m.Fields().Get(i).JSONName())
	}
	if near, ok := nearest(key.Value, known); ok {
		d.refuse(key, clip(path), "there is no such field; did you mean %s?", near)
		return
	}
	slices.Sort(known)
	d.refuse(key, clip(path), "there is no such field; known are %s", strings.Join(known, ", "))
}

func takesNull(field protoreflect.FieldDescriptor) bool {
	return field.Message() != nil && field.Message().FullName() == "google.protobuf.Value" && !field.IsList() && !field.IsMap()
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
