package resource

import (
	"encoding/base64"
	"math"
	"strconv"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
)

// scalar reads a leaf as its type's JSON form. On failure it says what is wanted.
func scalar(n *yaml.Node, kind protoreflect.Kind) (value protoreflect.Value, want string) {
	switch kind {
	case protoreflect.StringKind:
		if isText(n) {
			return protoreflect.ValueOfString(n.Value), ""
		}
		return value, "a string"
	case protoreflect.BoolKind:
		if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
			return protoreflect.ValueOfBool(n.Value[0] == 't' || n.Value[0] == 'T'), ""
		}
		return value, "true or false"
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		if i, err := strconv.ParseInt(n.Value, 10, 32); err == nil && n.Tag == "!!int" {
			return protoreflect.ValueOfInt32(int32(i)), ""
		}
		return value, "a whole number of 32 bits"
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		// The JSON form of 64 bits is a string; a number is taken, too.
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil && (n.Tag == "!!int" || n.Tag == "!!str") {
			return protoreflect.ValueOfInt64(i), ""
		}
		return value, "a whole number of 64 bits"
	case protoreflect.DoubleKind:
		if f, ok := number(n); ok {
			return protoreflect.ValueOfFloat64(f), ""
		}
		return value, "a number"
	case protoreflect.BytesKind:
		if b, err := base64.StdEncoding.Strict().DecodeString(n.Value); err == nil && isText(n) {
			return protoreflect.ValueOfBytes(b), ""
		}
		return value, "base64"
	default:
		return value, "of a type that resources do not have"
	}
}

// free reads a value of any shape into a Struct, Value or ListValue.
func (d *decoder) free(n *yaml.Node, m protoreflect.Message, path string, depth int) {
	before := len(d.problems)
	value := d.anything(n, path, depth)
	if len(d.problems) > before {
		return
	}
	switch want := m.Interface().(type) {
	case *structpb.Value:
		proto.Merge(want, value)
	case *structpb.Struct:
		if value.GetStructValue() == nil {
			d.refuse(n, path, "must be a mapping, is %s", describe(n))
			return
		}
		proto.Merge(want, value.GetStructValue())
	case *structpb.ListValue:
		if value.GetListValue() == nil {
			d.refuse(n, path, "must be a list, is %s", describe(n))
			return
		}
		proto.Merge(want, value.GetListValue())
	}
}

func (d *decoder) anything(n *yaml.Node, path string, depth int) *structpb.Value {
	if !d.plain(n, path, depth) {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		fields := map[string]*structpb.Value{}
		d.pairs(n, path, func(key, value *yaml.Node) {
			fields[key.Value] = d.anything(value, join(path, clip(key.Value)), depth+1)
		})
		return structpb.NewStructValue(&structpb.Struct{Fields: fields})
	case yaml.SequenceNode:
		list := &structpb.ListValue{}
		for i, item := range n.Content {
			list.Values = append(list.Values, d.anything(item, path+"["+strconv.Itoa(i)+"]", depth+1))
		}
		return structpb.NewListValue(list)
	}
	switch {
	case isText(n):
		return structpb.NewStringValue(n.Value)
	case isNull(n):
		return structpb.NewNullValue()
	case n.Tag == "!!bool":
		return structpb.NewBoolValue(n.Value[0] == 't' || n.Value[0] == 'T')
	}
	f, ok := number(n)
	if !ok {
		d.refuse(n, path, "is a number that cannot be kept exactly; write it as a string")
		return nil
	}
	return structpb.NewNumberValue(f)
}

// number reads a JSON number. A whole number that a double cannot hold is not ok: it would be another number afterwards.
func number(n *yaml.Node) (float64, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" && n.Tag != "!!float" {
		return 0, false
	}
	f, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, false
	}
	const exact = 1 << 53
	if n.Tag == "!!int" && math.Abs(f) >= exact {
		return 0, false
	}
	return f, true
}

// isText reports a string. A plain date counts as one: YAML 1.2 and JSON know no dates.
func isText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == "!!str" || n.Tag == "!!timestamp")
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" && n.Anchor == ""
}

// describe names what a node is, never its value: it may be a secret.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.Tag {
	case "!!str", "!!timestamp":
		return "a string"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "null"
	case "!!merge":
		return "a merge key"
	}
	return "of another type"
}

func quoteHint(n *yaml.Node, kind protoreflect.Kind) string {
	if kind == protoreflect.StringKind && n.Kind == yaml.ScalarNode && !isNull(n) {
		return "; put it in quotes"
	}
	return ""
}

// child finds the value of a key in a mapping.
func child(n *yaml.Node, key string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
