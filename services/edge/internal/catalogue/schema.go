package catalogue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const schemaURL = "headgate:///input-schema"

// schema checks arguments against one approved input schema.
type schema struct {
	tool     string
	compiled *jsonschema.Schema
	plain    *plain  // nil for a schema that says more
	casing   *casing // nil for a schema that lists no names
	problem  error   // why it could not be compiled; then nothing fits
	bindings []mcp.Binding
}

// compile reads an input schema (JSON Schema 2020-12 unless it names another draft). Nothing is fetched: a $ref to elsewhere is an error.
// Parameters that the schema does not know are refused, unless the schema itself says what to do with them.
func compile(tool string, raw json.RawMessage, bindings []mcp.Binding) *schema {
	s := &schema{tool: tool, bindings: bindings}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		s.problem = err
		return s
	}
	if object, ok := doc.(map[string]any); ok {
		closeObject(object)
		s.plain = plainOf(object)
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(nowhere{})
	if err := compiler.AddResource(schemaURL, doc); err != nil {
		s.problem = err
		return s
	}
	if s.compiled, s.problem = compiler.Compile(schemaURL); s.problem == nil {
		s.casing = casingOf(s.compiled)
	}
	return s
}

// closeObject refuses unknown top-level parameters where the schema lists properties and leaves the rest open by saying nothing.
func closeObject(object map[string]any) {
	if object["properties"] == nil || object["additionalProperties"] != nil || object["unevaluatedProperties"] != nil {
		return
	}
	for _, combining := range [...]string{"allOf", "anyOf", "oneOf", "if", "$ref", "$dynamicRef", "dependentSchemas"} {
		if object[combining] != nil {
			object["unevaluatedProperties"] = false // sees what the parts know; drafts before 2019-09 ignore it
			return
		}
	}
	object["additionalProperties"] = false
}

type nowhere struct{}

// Load refuses to fetch anything.
func (nowhere) Load(url string) (any, error) {
	return nil, fmt.Errorf("schemas are not fetched: %s", url)
}

// check holds a value against the schema. The library stops with a panic at numbers that no rational has, as 1e10000000000 where a multiple is asked for; they
// do not fit.
func (s *schema) check(value any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the value cannot be judged: %v", r)
		}
	}()
	return s.compiled.Validate(value)
}

// Validate implements guard.Arguments. The sentence names places and rules, never values: those do not belong into records.
func (s *schema) Validate(arguments json.RawMessage) (map[string]any, error) {
	if s.problem != nil {
		return nil, fault.New(faultv1.Reason_REASON_ARGUMENTS,
			"%s was refused: its approved input schema cannot be used to check arguments. Tell the server's owner.", s.tool).Because(s.problem)
	}
	if arguments == nil {
		arguments = json.RawMessage("{}")
	}
	value, same, err := decode(arguments)
	if err != nil {
		return nil, fault.New(faultv1.Reason_REASON_ARGUMENTS, "%s was refused: its arguments are not JSON.", s.tool).Because(err)
	}
	if !s.plain.fits(value) {
		if err = s.check(value); err != nil {
			err = s.withoutNulls(value, err)
		}
		if refused := s.recased(value); err == nil && refused != nil {
			return nil, refused
		}
	}
	if err == nil {
		decoded, _ := value.(map[string]any)
		if !same {
			decoded = nil // rules see numbers in another way
		}
		return decoded, nil
	}
	var wrong *jsonschema.ValidationError
	if !errors.As(err, &wrong) {
		return nil, fault.New(faultv1.Reason_REASON_ARGUMENTS, "%s was refused: its arguments could not be checked.", s.tool).Because(err)
	}
	for len(wrong.Causes) > 0 {
		wrong = wrong.Causes[0]
	}
	return nil, fault.New(faultv1.Reason_REASON_ARGUMENTS, "%s was refused: %s. Correct the arguments and call again.", s.tool, explain(wrong))
}

// recased refuses names that are those of the schema but for their case.
func (s *schema) recased(value any) error {
	place := s.casing.wrong(value)
	if place == nil {
		return nil
	}
	return fault.New(faultv1.Reason_REASON_ARGUMENTS, "%s was refused: the approved schema writes the name at /%s in another case, and names are case-sensitive. "+
		"Correct the arguments and call again.", s.tool, shown(place))
}

// withoutNulls checks once more where null stands for an argument that also travels in a header: there, null is the same as no argument (2026-07-28,
// streamable-http, "Custom Headers from Tool Parameters"). It answers err when there is no such null.
func (s *schema) withoutNulls(value any, err error) error {
	object, ok := value.(map[string]any)
	if !ok {
		return err
	}
	found := false
	for _, b := range s.bindings {
		if rest, had := withoutNull(object, b.Path); had {
			object, found = rest, true
		}
	}
	if !found {
		return err
	}
	return s.check(object)
}

// withoutNull copies the objects on a path to a null, without it.
func withoutNull(object map[string]any, path []string) (map[string]any, bool) {
	at, there := object[path[0]]
	if !there || len(path) == 1 && at != nil {
		return object, false
	}
	out := maps.Clone(object)
	if len(path) == 1 {
		delete(out, path[0])
		return out, true
	}
	inner, ok := at.(map[string]any)
	if !ok {
		return object, false
	}
	rest, had := withoutNull(inner, path[1:])
	out[path[0]] = rest
	return out, had
}

// decode reads arguments for the validator. Numbers that a 64-bit value could round keep their digits; same says that there are none, so that
// rules see the same value.
func decode(arguments json.RawMessage) (value any, same bool, err error) {
	digits := 0
	for _, c := range arguments {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c != '.' && c != 'e' && c != 'E' && c != '+' && c != '-':
			digits = 0
		}
		if digits > exactDigits {
			value, err = jsonschema.UnmarshalJSON(bytes.NewReader(arguments))
			return value, false, err
		}
	}
	value, err = policy.Decode(arguments)
	return value, true, err
}

// exactDigits is how many decimal digits a double holds without rounding.
const exactDigits = 15

// explain says what is wrong. The sentence is recorded: of what the caller chose it shows only what looks like a name.
func explain(wrong *jsonschema.ValidationError) string {
	where := "the arguments"
	if len(wrong.InstanceLocation) > 0 {
		where = "the argument /" + shown(wrong.InstanceLocation)
	}
	switch k := wrong.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		if !allNames(k.Properties) {
			return "in " + where + " stands an argument that the tool does not have"
		}
		return fmt.Sprintf("%s may not have %s, which the approved schema does not know", where, clip(strings.Join(k.Properties, ", "), 120))
	case *kind.Required:
		return fmt.Sprintf("%s must have %s", where, clip(strings.Join(k.Missing, ", "), 120))
	case *kind.Type:
		return fmt.Sprintf("%s must be of type %s, not %s", where, strings.Join(k.Want, " or "), k.Got)
	case *kind.FalseSchema:
		return where + " is not one that the approved schema knows"
	}
	return fmt.Sprintf("%s must satisfy %q of the approved schema", where, strings.Join(wrong.ErrorKind.KeywordPath(), "/"))
}

// longestName is how long a name of an argument is at most that is shown, in characters.
const longestName = 64

func allNames(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !isName(name) })
}

// isName reports whether something looks like the name of an argument: it is short and has letters, digits and what joins them alone.
func isName(name string) bool {
	return name != "" && utf8.RuneCountInString(name) <= longestName && !strings.ContainsFunc(name, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.", r)
	})
}

// shown is a place in the arguments, without the names in it that do not look like one.
func shown(place []string) string {
	out := slices.Clone(place)
	for i, name := range out {
		if !isName(name) {
			out[i] = "…"
		}
	}
	return clip(strings.Join(out, "/"), 120)
}

func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "?")
}
