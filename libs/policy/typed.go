package policy

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"

	"cel.dev/cel-go/common/ast"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// Definition is what a tool was approved as.
type Definition struct {
	// Schema is the approved input schema, raw JSON.
	Schema json.RawMessage
	// ReadOnly is the server's word that the tool changes nothing, approved by a person.
	ReadOnly bool
}

// Tools are approved tools by name. Of several servers, a name may stand for several.
type Tools map[string][]Definition

// Add puts the tools of one more server to the others.
func (t Tools) Add(server map[string]Definition) {
	for name, d := range server {
		t[name] = append(t[name], d)
	}
}

// CheckAgainst holds the policy against the approved tools of its server, or of all servers where it is about all: a rule that reads an argument that none of
// the tools has is refused, with its place and the nearest name, and so is a fact whose tool is not there or does not only read. Without any approved tool
// there is nothing to hold it against.
func (c *Compiled) CheckAgainst(tools Tools) error {
	if len(tools) == 0 {
		return nil
	}
	for _, f := range c.facts {
		found, there := tools[f.tool]
		switch {
		case !there:
			return c.invalidPart("fact", f.name, unknownName("approved tool", f.tool, slices.Sorted(maps.Keys(tools))))
		case !slices.ContainsFunc(found, func(d Definition) bool { return d.ReadOnly }):
			return c.invalidPart("fact", f.name, "the tool "+f.tool+" is not approved with readOnlyHint: true, so the gateway does not call it by itself")
		}
		if names, closed := tools.arguments(f.tool); closed {
			for _, arg := range f.args {
				if !slices.Contains(names, arg.name) {
					return c.invalidPart("fact", f.name, "args: "+unknownName("argument", arg.name, names))
				}
			}
		}
	}
	about := c.source.GetSpec().GetMatch().GetTools()
	if len(about) == 0 || slices.Contains(about, anyTool) {
		return nil // it is also about resources and prompts, and about tools that come later: see Warnings
	}
	if known, closed := tools.arguments(about...); closed {
		if err := c.checkArguments(known); err != nil {
			return err
		}
	}
	if err := c.checkComparisons(tools, about); err != nil {
		return err
	}
	return c.checkPlaces(tools, about)
}

// checkPlaces looks for modifications of places that none of the tools has, or that have another type there.
func (c *Compiled) checkPlaces(tools Tools, about []string) error {
	for _, r := range c.source.GetSpec().GetRules() {
		for _, m := range r.GetModify() {
			tokens, err := parsePointer(m.GetPath())
			if err != nil {
				continue
			}
			if problem := tools.unfit(about, tokens, adviceOfPaths, func(s schemaLeaf) string { return s.changes(wants(m)) }); problem != "" {
				return c.invalid(r.GetName(), 0, 0, "modify "+m.GetPath()+": "+problem)
			}
		}
	}
	return nil
}

// wants are the types that a modification can change; none means any.
func wants(m *authzv1.Modification) []string {
	switch m.GetAction().(type) {
	case *authzv1.Modification_Clamp:
		return []string{"number", "integer"}
	case *authzv1.Modification_Mask:
		return []string{"string"}
	}
	return nil
}

// unfit says why a place is in none of the tools, or why what leaf is told of it does not fit; empty when one may have it.
func (t Tools) unfit(names, tokens []string, advice string, leaf func(schemaLeaf) string) string {
	problem := ""
	for _, name := range names {
		if len(t[name]) == 0 {
			return ""
		}
		for _, d := range t[name] {
			if problem = unfitIn(d.Schema, tokens, advice, leaf, true); problem == "" {
				return ""
			}
		}
	}
	return problem
}

// adviceOfPaths is what to do where a path goes through a list as if it were an object.
const adviceOfPaths = "name an element, or * for all of them"

// unfitIn follows a pointer through a schema as far as the schema says what is there.
func unfitIn(schema json.RawMessage, tokens []string, advice string, leaf func(schemaLeaf) string, top bool) string {
	var s, properties map[string]json.RawMessage
	if json.Unmarshal(schema, &s) != nil || hasAny(s, "allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "prefixItems") {
		return ""
	}
	var values []json.RawMessage
	if s["properties"] != nil && json.Unmarshal(s["properties"], &properties) != nil || s["enum"] != nil && json.Unmarshal(s["enum"], &values) != nil {
		return ""
	}
	var one string
	known := json.Unmarshal(s["type"], &one) == nil
	switch {
	case len(tokens) == 0:
		return leaf(schemaLeaf{one, values})
	case known && one == "array":
		if _, isIndex := arrayIndex(tokens[0]); !isIndex && tokens[0] != every && tokens[0] != "-" {
			return "the tool has a list there; " + advice + ", not " + tokens[0]
		}
		return unfitIn(s["items"], tokens[1:], advice, leaf, false)
	case known && one != "object":
		return "the tool has a value of the type " + one + " on the way to " + tokens[0]
	case tokens[0] == every || properties == nil:
		return ""
	}
	names, closed := argumentsOf(schema)
	closed = closed && (top || says(schema, "additionalProperties")) // an edge takes no other arguments, but what is within one is the schema's to say
	next, there := properties[tokens[0]]
	switch {
	case there:
		return unfitIn(next, tokens[1:], advice, leaf, false)
	case closed:
		return unknownName("argument", tokens[0], names)
	}
	return ""
}

// says reports whether a schema has one of these keywords.
func says(schema json.RawMessage, keywords ...string) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(schema, &object) == nil && hasAny(object, keywords...)
}

func hasAny(object map[string]json.RawMessage, keywords ...string) bool {
	return slices.ContainsFunc(keywords, func(k string) bool { return object[k] != nil })
}

// arguments are those of the tools of these names; closed is false when one of them takes others as well or is not known.
func (t Tools) arguments(names ...string) (known []string, closed bool) {
	for _, name := range names {
		if len(t[name]) == 0 {
			return nil, false
		}
		for _, d := range t[name] {
			own, closed := argumentsOf(d.Schema)
			if !closed {
				return nil, false
			}
			known = append(known, own...)
		}
	}
	slices.Sort(known)
	return slices.Compact(known), true
}

// argumentsOf are the arguments that a schema names; closed is false when it takes others or says so in another way.
func argumentsOf(schema json.RawMessage) (names []string, closed bool) {
	var object map[string]json.RawMessage
	if json.Unmarshal(schema, &object) != nil {
		return nil, false
	}
	if hasAny(object, "allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "dependentSchemas", "patternProperties", "unevaluatedProperties") {
		return nil, false
	}
	if extra := object["additionalProperties"]; extra != nil && string(extra) != "false" {
		return nil, false
	}
	var properties map[string]json.RawMessage
	if json.Unmarshal(object["properties"], &properties) != nil {
		return nil, false
	}
	return slices.Sorted(maps.Keys(properties)), true
}

// checkArguments looks for arguments that no tool has in everything that the policy says.
func (c *Compiled) checkArguments(known []string) error {
	for _, r := range c.source.GetSpec().GetRules() {
		for _, m := range r.GetModify() {
			if tokens, err := parsePointer(m.GetPath()); err == nil && tokens[0] != every && !slices.Contains(known, tokens[0]) {
				return c.invalid(r.GetName(), 0, 0, "modify "+m.GetPath()+": "+unknownName("argument", tokens[0], known))
			}
		}
	}
	return c.eachExpression(func(parsed *ast.AST) *placed { return unknownArgument(parsed, known) })
}

// ordered goes through a map by its keys.
func ordered[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}

// unknownArgument finds args.name, has(args.name), args["name"] and "name" in args for a name that is not known.
func unknownArgument(parsed *ast.AST, known []string) *placed {
	if ownArgs(parsed) {
		return nil
	}
	i := inspector{info: parsed.SourceInfo()}
	look := func(at ast.Expr, name string) {
		if !slices.Contains(known, name) {
			i.fail(at, unknownName("argument", name, known))
		}
	}
	ast.PreOrderVisit(parsed.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			if isIdent(e.AsSelect().Operand(), varArgs) {
				look(e, e.AsSelect().FieldName())
			}
		case ast.CallKind:
			if of, name, ok := memberByText(e.AsCall()); ok && isIdent(of, varArgs) {
				look(e, name)
			}
		}
	}))
	return i.problem
}

// ownArgs reports whether args is the author's own name somewhere.
func ownArgs(parsed *ast.AST) bool {
	own := false
	ast.PreOrderVisit(parsed.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.ComprehensionKind {
			own = own || e.AsComprehension().IterVar() == varArgs || e.AsComprehension().IterVar2() == varArgs
		}
	}))
	return own
}
