package resource

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// JSON is the resource's JSON form, indented, the same bytes for the same resource.
func JSON(o Object) ([]byte, error) {
	raw, err := compact(o)
	if err != nil {
		return nil, err
	}
	if err := raw.Indent(jsontext.WithIndent("  ")); err != nil {
		return nil, fmt.Errorf("indenting %s: %w", Key(o), err)
	}
	return append(raw, '\n'), nil
}

// YAML is the resource's JSON form written as YAML, in the order of the message's fields. Parse reads it back.
func YAML(o Object) ([]byte, error) {
	raw, err := compact(o)
	if err != nil {
		return nil, err
	}
	documents, problems := readJSON("", raw)
	if err := refuse(problems); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	for _, document := range documents {
		unquote(document)
		if err := encoder.Encode(document); err != nil {
			return nil, fmt.Errorf("writing %s: %w", Key(o), err)
		}
	}
	if err := encoder.Close(); err != nil {
		return nil, fmt.Errorf("writing %s: %w", Key(o), err)
	}
	return out.Bytes(), nil
}

// unquote leaves the style to the encoder, which quotes only what needs it, except for words that some YAML reader takes for something else.
func unquote(n *yaml.Node) {
	n.Style = 0
	switch strings.ToLower(n.Value) {
	case "<<", "=", "y", "n", "yes", "no", "on", "off":
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, c := range n.Content {
		unquote(c)
	}
}

// Hash is the SHA-256 of the canonical JSON (RFC 8785) of labels and spec, "sha256:" and hex. What the service sets does not count.
// It is empty for what Check refuses because it has no JSON form.
func Hash(o Object) string {
	raw, err := compact(o)
	if err != nil {
		return ""
	}
	labels, spec := member(member(raw, "metadata"), "labels"), member(raw, "spec")
	canonical := jsontext.Value(`{"labels":` + string(orEmpty(labels)) + `,"spec":` + string(orEmpty(spec)) + `}`)
	if err := canonical.Canonicalize(); err != nil {
		return ""
	}
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Clone copies a resource.
func Clone(o Object) Object {
	c, _ := proto.Clone(o).(Object) // a clone has its original's type
	return c
}

func compact(o Object) (jsontext.Value, error) {
	raw, err := protojson.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", Key(o), err)
	}
	value := jsontext.Value(raw)
	if err := value.Compact(); err != nil {
		return nil, fmt.Errorf("writing %s: %w", Key(o), err)
	}
	return value, nil
}

func orEmpty(v jsontext.Value) jsontext.Value {
	if v == nil {
		return jsontext.Value("{}")
	}
	return v
}

// member is the value of a name in a JSON object that protojson wrote; nil when it is not there.
func member(object jsontext.Value, name string) jsontext.Value {
	decoder := jsontext.NewDecoder(bytes.NewReader(object))
	if token, err := decoder.ReadToken(); err != nil || token.Kind() != '{' {
		return nil
	}
	for decoder.PeekKind() == '"' {
		token, err := decoder.ReadToken()
		if err != nil {
			return nil
		}
		key := token.String()
		value, err := decoder.ReadValue()
		if err != nil {
			return nil
		}
		if key == name {
			return value.Clone()
		}
	}
	return nil
}
