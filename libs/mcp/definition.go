package mcp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Definition is one tool as its server shows it. Raw is the server's own bytes and is what is served once it is approved.
type Definition struct {
	Name string
	Raw  json.RawMessage
}

// Tools reads the result of tools/list: its definitions in the server's order and the cursor of the next page, which may be the empty string.
// A page that is not in order, or that has a name twice, is refused as a whole.
func Tools(listResult json.RawMessage) (tools []Definition, next string, hasNext bool, err error) {
	if !Valid(listResult) || kind(listResult) != '{' {
		return nil, "", false, fmt.Errorf("the list is not a strict JSON object")
	}
	if raw := Get(listResult, "nextCursor"); raw != nil && kind(raw) != 'n' {
		if kind(raw) != '"' {
			return nil, "", false, fmt.Errorf("nextCursor is not a string")
		}
		next, hasNext = string(unquote(raw)), true
	}
	raw := Get(listResult, "tools")
	c := cursor{b: raw}
	if !c.open('[') {
		return nil, "", false, fmt.Errorf("the list has no array of tools")
	}
	seen := map[string]bool{}
	for c.element(']') {
		d := Definition{Raw: c.value()}
		var ok bool
		if d.Name, ok = Text(d.Raw, "name"); !ok || d.Name == "" {
			return nil, "", false, fmt.Errorf("tool %d has no name", len(tools)+1)
		}
		if seen[d.Name] {
			return nil, "", false, fmt.Errorf("the tool %q is there twice", clip(d.Name, 128))
		}
		seen[d.Name] = true
		tools = append(tools, d)
	}
	return tools, next, hasNext, nil
}

// Hash names exactly this definition: "sha256:" and hex over its canonical JSON (RFC 8785, with numbers that no double holds kept exact).
// Every member counts, also those that this package does not know; only the keys of _meta that belong to one exchange do not.
func (d Definition) Hash() string {
	doc := []byte(d.Raw)
	for _, key := range [...]string{MetaTraceParent, MetaTraceState, MetaBaggage, MetaProgressToken, MetaServerInfo} {
		doc = Delete(doc, "_meta", key)
	}
	if meta := Get(doc, "_meta"); meta != nil && empty(meta) {
		doc = Delete(doc, "_meta")
	}
	canonical, err := Canonical(doc)
	if err != nil {
		canonical = append([]byte("not strict JSON\x00"), d.Raw...) // never equal to a canonical document
	}
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Check says why a definition cannot be served whoever approves it: its name is outside what clients must take, it has no input schema
// that is an object, or its x-mcp-header annotations break their rules.
func (d Definition) Check() error {
	if !Valid(d.Raw) || kind(d.Raw) != '{' {
		return fmt.Errorf("the definition is not a strict JSON object")
	}
	if name, ok := Text(d.Raw, "name"); !ok || name != d.Name || !ToolName(name) {
		return fmt.Errorf("the tool's name is not 1 to 128 of A-Z, a-z, 0-9, underscore, hyphen and dot")
	}
	schema := Get(d.Raw, "inputSchema")
	if kind(schema) != '{' {
		return fmt.Errorf("the tool %s has no input schema", d.Name)
	}
	if of, ok := Text(schema, "type"); !ok || of != "object" {
		return fmt.Errorf("the input schema of the tool %s is not of type object", d.Name)
	}
	if raw := Get(d.Raw, "outputSchema"); raw != nil && kind(raw) != '{' {
		return fmt.Errorf("the output schema of the tool %s is not an object", d.Name)
	}
	_, err := Bindings(schema)
	return err
}

// ToolName reports whether a name is one that every client must take (2026-07-28, server/tools, "Tool Names").
func ToolName(name string) bool {
	if len(name) == 0 || len(name) > 128 {
		return false
	}
	for i := range len(name) {
		switch b := name[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '_', b == '-', b == '.':
		default:
			return false
		}
	}
	return true
}
