package catalogue

import (
	"slices"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"headgate.dev/libs/mcp"
)

// casing finds names in arguments that are those of a schema but for their case. Rules do not see them under the name that they are written for, and a
// server that reads names in any case, as encoding/json of Go does, takes them for that name. So they are refused at any depth, also where the schema
// lets further names be.
type casing struct {
	root *jsonschema.Schema
	all  map[*jsonschema.Schema]*spoken
}

// spoken is what is said of a value that a schema applies to.
type spoken struct {
	by     []*jsonschema.Schema // the schema itself, and those in it that speak of the same value
	folded map[string]struct{}  // the names that they list
}

// casingOf reads a compiled schema; nil when it lists no names.
func casingOf(root *jsonschema.Schema) *casing {
	c := &casing{root: root, all: map[*jsonschema.Schema]*spoken{}}
	lists := false
	for left := []*jsonschema.Schema{root}; len(left) > 0; {
		s := left[len(left)-1]
		left = left[:len(left)-1]
		if c.all[s] != nil {
			continue
		}
		said := &spoken{by: []*jsonschema.Schema{s}, folded: map[string]struct{}{}}
		seen := map[*jsonschema.Schema]bool{nil: true, s: true}
		for i := 0; i < len(said.by); i++ {
			for _, one := range same(said.by[i]) {
				if !seen[one] {
					seen[one] = true
					said.by = append(said.by, one)
				}
			}
			for name := range said.by[i].Properties {
				said.folded[string(mcp.AppendFolded(nil, name))] = struct{}{}
			}
			left = append(left, parts(said.by[i])...)
		}
		c.all[s] = said
		lists = lists || len(said.folded) > 0
	}
	if !lists {
		return nil
	}
	return c
}

// same are the schemas in one that speak of the same value. What not says is of no value that is taken.
func same(s *jsonschema.Schema) []*jsonschema.Schema {
	out := slices.Concat([]*jsonschema.Schema{s.Ref, s.RecursiveRef, s.If, s.Then, s.Else}, s.AllOf, s.AnyOf, s.OneOf)
	if s.DynamicRef != nil {
		out = append(out, s.DynamicRef.Ref)
	}
	for _, one := range s.DependentSchemas {
		out = append(out, one)
	}
	for _, one := range s.Dependencies {
		out = append(out, maybe(one))
	}
	return out
}

// parts are the schemas in one that speak of members and elements.
func parts(s *jsonschema.Schema) []*jsonschema.Schema {
	out := append([]*jsonschema.Schema{maybe(s.AdditionalProperties), s.UnevaluatedProperties, maybe(s.Items), maybe(s.AdditionalItems), s.Items2020}, s.PrefixItems...)
	for _, one := range s.Properties {
		out = append(out, one)
	}
	for _, one := range s.PatternProperties {
		out = append(out, one)
	}
	if each, ok := s.Items.([]*jsonschema.Schema); ok {
		out = append(out, each...)
	}
	return slices.DeleteFunc(out, func(one *jsonschema.Schema) bool { return one == nil })
}

// maybe is what some keywords hold beside other things; nil when it is another.
func maybe(value any) *jsonschema.Schema {
	s, _ := value.(*jsonschema.Schema)
	return s
}

// with adds the schemas that are none of those that are there: a schema may name another twice, at every depth.
func with(to []*jsonschema.Schema, more ...*jsonschema.Schema) []*jsonschema.Schema {
	for _, one := range more {
		if one != nil && !slices.Contains(to, one) {
			to = append(to, one)
		}
	}
	return to
}

// wrong answers the place of a name in another case; nil for none.
func (c *casing) wrong(value any) []string {
	if c == nil {
		return nil
	}
	place := c.look([]*jsonschema.Schema{c.root}, value)
	slices.Reverse(place)
	return place
}

// look answers a place from its end.
func (c *casing) look(schemas []*jsonschema.Schema, value any) []string {
	switch value := value.(type) {
	case map[string]any:
		for name, one := range value {
			if c.recased(schemas, name) {
				return []string{name}
			}
			if place := c.inner(schemas, one, func(s *jsonschema.Schema) []*jsonschema.Schema { return member(s, name) }); place != nil {
				return append(place, name)
			}
		}
	case []any:
		for i, one := range value {
			if place := c.inner(schemas, one, func(s *jsonschema.Schema) []*jsonschema.Schema { return element(s, i) }); place != nil {
				return append(place, strconv.Itoa(i))
			}
		}
	}
	return nil
}

// recased reports whether schemas list a name in another case and none of them lists it as it is.
func (c *casing) recased(schemas []*jsonschema.Schema, name string) bool {
	for _, s := range schemas {
		for _, by := range c.all[s].by {
			if _, listed := by.Properties[name]; listed {
				return false
			}
		}
	}
	var room [64]byte
	folded := mcp.AppendFolded(room[:0], name)
	for _, s := range schemas {
		if _, listed := c.all[s].folded[string(folded)]; listed {
			return true
		}
	}
	return false
}

// inner looks at a member or an element by the schemas that apply to it.
func (c *casing) inner(schemas []*jsonschema.Schema, value any, apply func(*jsonschema.Schema) []*jsonschema.Schema) []string {
	switch value.(type) {
	case map[string]any, []any:
	default:
		return nil
	}
	var applied []*jsonschema.Schema
	for _, s := range schemas {
		for _, by := range c.all[s].by {
			applied = with(applied, apply(by)...)
		}
	}
	if len(applied) == 0 {
		return nil
	}
	return c.look(applied, value)
}

// member are the schemas in one that apply to a member.
func member(s *jsonschema.Schema, name string) (out []*jsonschema.Schema) {
	if one, listed := s.Properties[name]; listed {
		out = append(out, one)
	}
	for pattern, one := range s.PatternProperties {
		if pattern.MatchString(name) {
			out = append(out, one)
		}
	}
	if len(out) == 0 {
		out = append(out, maybe(s.AdditionalProperties), s.UnevaluatedProperties)
	}
	return out
}

// element are the schemas in one that apply to an element.
func element(s *jsonschema.Schema, at int) []*jsonschema.Schema {
	first, rest := s.PrefixItems, s.Items2020
	if each, ok := s.Items.([]*jsonschema.Schema); ok {
		first, rest = each, maybe(s.AdditionalItems)
	} else if every := maybe(s.Items); every != nil {
		rest = every
	}
	if at < len(first) {
		return []*jsonschema.Schema{first[at]}
	}
	return []*jsonschema.Schema{rest}
}
