package serve

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// problem is one thing that is wrong with a configuration file. It never quotes a value: that may be a secret in the wrong place.
type problem struct {
	line  int
	field string
	text  string
}

// problems is everything that is wrong with one file.
type problems struct {
	file string
	all  []problem
}

// Error lists the problems, one a line, as "file:line: field: what is wrong".
func (p *problems) Error() string {
	lines := make([]string, 0, len(p.all))
	for _, one := range p.all {
		at := p.file
		if one.line > 0 {
			at = fmt.Sprintf("%s:%d", p.file, one.line)
		}
		lines = append(lines, fmt.Sprintf("%s: %s: %s", at, one.field, one.text))
	}
	return strings.Join(lines, "\n")
}

// decode reads one YAML document into a struct and returns where each field stood, for problems that are found later.
func decode(file string, data []byte, into any) (map[string]int, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return map[string]int{}, nil
	} else if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: there is a second YAML document; a configuration is one", file)
	}
	w := &walk{lines: map[string]int{}}
	w.value(document.Content[0], reflect.TypeOf(into).Elem(), "", 0)
	if len(w.found) > 0 {
		return nil, &problems{file: file, all: w.found}
	}
	if err := document.Decode(into); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return w.lines, nil
}

// maxDepth bounds nesting, so that an alias to itself ends.
const maxDepth = 32

// walk compares a YAML tree with a Go type.
type walk struct {
	found []problem
	lines map[string]int
}

func (w *walk) problem(n *yaml.Node, field, format string, args ...any) {
	if field == "" {
		field = "the file"
	}
	w.found = append(w.found, problem{line: n.Line, field: field, text: fmt.Sprintf(format, args...)})
}

func (w *walk) value(n *yaml.Node, t reflect.Type, field string, depth int) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, known := w.lines[field]; !known {
		w.lines[field] = n.Line
	}
	null := n.Kind == yaml.ScalarNode && n.Tag == "!!null"
	switch kind := shape(t); {
	case depth > maxDepth:
		w.problem(n, field, "nested too deep")
	case null:
		// An empty value is the zero value; what needs one says so later.
	case kind == yaml.MappingNode && n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		w.fields(n, t, field, depth)
	case kind == yaml.MappingNode && n.Kind == yaml.MappingNode:
		w.entries(n, t, field, depth)
	case kind == yaml.SequenceNode && n.Kind == yaml.SequenceNode:
		for i, item := range n.Content {
			w.value(item, t.Elem(), fmt.Sprintf("%s[%d]", field, i), depth+1)
		}
	case kind == yaml.ScalarNode && n.Kind == yaml.ScalarNode && exact(n, t) && n.Decode(reflect.New(t).Interface()) == nil:
	default:
		w.problem(n, field, "must be %s", words(t))
	}
}

// exact refuses what the YAML library would bend into shape: 5.5 as the whole number 5, and 50 as fifty nanoseconds.
func exact(n *yaml.Node, t reflect.Type) bool {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return n.Tag == "!!str" || n.Value == "0"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64 && shape(t) == yaml.ScalarNode:
		return n.Tag == "!!int"
	default:
		return true
	}
}

func (w *walk) fields(n *yaml.Node, t reflect.Type, field string, depth int) {
	known := fieldsOf(t)
	w.pairs(n, field, func(key, value *yaml.Node, path string) {
		child, ok := known[key.Value]
		if !ok {
			w.problem(key, path, "unknown field")
			return
		}
		w.value(value, child, path, depth+1)
	})
}

func (w *walk) entries(n *yaml.Node, t reflect.Type, field string, depth int) {
	w.pairs(n, field, func(_, value *yaml.Node, path string) { w.value(value, t.Elem(), path, depth+1) })
}

// pairs visits the keys of a mapping and refuses one that is there twice.
func (w *walk) pairs(n *yaml.Node, field string, visit func(key, value *yaml.Node, path string)) {
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		path := strings.TrimPrefix(field+"."+key.Value, ".")
		switch {
		case key.Kind != yaml.ScalarNode || key.Tag == "!!merge":
			w.problem(key, field, "every key must be a name")
		case seen[key.Value]:
			w.problem(key, path, "given twice")
		default:
			seen[key.Value] = true
			w.lines[path] = key.Line
			visit(key, n.Content[i+1], path)
		}
	}
}

// fieldsOf is the fields of a struct by their names in YAML.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, rest, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() || name == "-":
		case strings.Contains(rest, "inline") && f.Type.Kind() == reflect.Struct:
			maps.Copy(fields, fieldsOf(f.Type))
		case name == "":
			fields[strings.ToLower(f.Name)] = f.Type
		default:
			fields[name] = f.Type
		}
	}
	return fields
}

// shape is the kind of YAML that a type is written as.
func shape(t reflect.Type) yaml.Kind {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return yaml.ScalarNode
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return yaml.MappingNode
	case reflect.Slice, reflect.Array:
		return yaml.SequenceNode
	default:
		return yaml.ScalarNode
	}
}

// words says what a value of the type looks like.
func words(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return `a duration, as "10s"`
	case shape(t) == yaml.MappingNode:
		return "a mapping of names to values"
	case shape(t) == yaml.SequenceNode:
		return "a list"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return "a whole number"
	case t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64:
		return "a number"
	default:
		return "a text"
	}
}
