package catalogue

import "headgate.dev/libs/mcp"

// plain is the part of an input schema that most tools have and no more: named parameters of one simple type each. It says yes quickly; whether and
// why something does not fit is for the schema itself to say.
type plain struct {
	kinds    map[string]byte
	folded   map[string]struct{} // the names in kinds, without case
	required []string
	open     bool // further parameters may be there
}

// The simple types. A number that JSON Schema counts as an integer in some drafts only is left to the schema.
const (
	plainText    = 's'
	plainInteger = 'i'
	plainNumber  = 'n'
	plainTruth   = 'b'
)

// plainOf reads a schema; nil when it says anything that is not plain.
func plainOf(schema map[string]any) *plain {
	p := &plain{kinds: map[string]byte{}, folded: map[string]struct{}{}, open: true}
	for name, value := range schema {
		ok := true
		switch name {
		case "type":
			ok = value == "object"
		case "title", "description":
		case "$schema":
			ok = value == "https://json-schema.org/draft/2020-12/schema"
		case "properties":
			ok = p.properties(value)
		case "required":
			ok = p.requires(value)
		case "additionalProperties":
			p.open, ok = value.(bool)
		default:
			ok = false
		}
		if !ok {
			return nil
		}
	}
	for name := range p.kinds {
		p.folded[string(mcp.AppendFolded(nil, name))] = struct{}{}
	}
	return p
}

func (p *plain) properties(value any) bool {
	all, ok := value.(map[string]any)
	for name, one := range all {
		property, isObject := one.(map[string]any)
		if !isObject {
			return false
		}
		for key, said := range property {
			switch key {
			case "title", "description", "default", "examples", "x-mcp-header":
			case "type":
				switch said {
				case "string":
					p.kinds[name] = plainText
				case "integer":
					p.kinds[name] = plainInteger
				case "number":
					p.kinds[name] = plainNumber
				case "boolean":
					p.kinds[name] = plainTruth
				}
			default:
				return false
			}
		}
		if p.kinds[name] == 0 {
			return false
		}
	}
	return ok
}

func (p *plain) requires(value any) bool {
	all, ok := value.([]any)
	for _, one := range all {
		name, isText := one.(string)
		if !isText {
			return false
		}
		p.required = append(p.required, name)
	}
	return ok
}

// fits says that the arguments are surely in order. Without a plain schema nothing is sure.
func (p *plain) fits(value any) bool {
	arguments, ok := value.(map[string]any)
	if p == nil || !ok {
		return false
	}
	for _, name := range p.required {
		if _, there := arguments[name]; !there {
			return false
		}
	}
	for name, one := range arguments {
		kind, known := p.kinds[name]
		if known && !kindFits(kind, one) || !known && (!p.open || p.recased(name)) {
			return false
		}
	}
	return true
}

// recased reports whether a name that the schema does not list is one that it lists but for its case.
func (p *plain) recased(name string) bool {
	var room [64]byte
	_, listed := p.folded[string(mcp.AppendFolded(room[:0], name))]
	return listed
}

func kindFits(kind byte, value any) bool {
	switch value.(type) {
	case string:
		return kind == plainText
	case bool:
		return kind == plainTruth
	case int64:
		return kind == plainInteger || kind == plainNumber
	case float64:
		return kind == plainNumber
	}
	return false
}
