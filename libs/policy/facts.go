package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/go-json-experiment/json/jsontext"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// fact is a fact of a policy that is ready to be asked for.
type fact struct {
	name, tool, path string
	key              string // policy/name
	declared         string // FactNeed.Declared
	args             []factArg
	used             bool // some rule reads it
	enforced         bool // some rule reads it that is not in shadow
}

type factArg struct {
	name    string
	program cel.Program
}

// FactNeed is one value that must be read before a request can be decided.
type FactNeed struct {
	// Key is policy/fact, under which the value belongs into Request.Facts: two policies may define a fact of one name differently.
	Key string
	// Name is the fact's name in its policy.
	Name string
	// Tool is the tool to call, on the request's server and with the same person's credential.
	Tool string
	// Args are its arguments, a JSON object.
	Args json.RawMessage
	// Path is a JSON pointer into the result: see FactValue.
	Path string
	// Declared is a hash of how the policy declares the fact.
	Declared string
	// Shadow is set when only rules in shadow read the fact: where it cannot be read, it is left out of Request.Facts and blocks nothing.
	Shadow bool
}

// names are what a policy's expressions may read by name.
type names struct {
	facts, calendars, counters []string
	relations                  bool // it may ask for relations
}

func (c *Compiled) known() names {
	return names{
		facts: c.factNames(), calendars: c.calendarNames(), counters: slices.Sorted(maps.Keys(c.source.GetSpec().GetCounters())),
		relations: true,
	}
}

func (c *Compiled) factNames() []string {
	names := make([]string, len(c.facts))
	for i, f := range c.facts {
		names[i] = f.name
	}
	return names
}

func (c *Compiled) compileFacts(env *cel.Env) error {
	declared := c.source.GetSpec().GetFacts()
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		compiled, err := c.compileFact(env, name, declared[name])
		if err != nil {
			return err
		}
		c.facts = append(c.facts, compiled)
	}
	return nil
}

func (c *Compiled) compileFact(env *cel.Env, name string, declared *authzv1.Fact) (fact, error) {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(declared)
	if err != nil {
		return fact{}, c.invalidFact(name, err.Error())
	}
	hash := sha256.Sum256(text)
	out := fact{name: name, tool: declared.GetTool(), path: declared.GetPath(), key: c.name + "/" + name, declared: hex.EncodeToString(hash[:16])}
	if _, err := parsePointer(out.path); err != nil {
		return fact{}, c.invalidFact(name, "path: "+err.Error())
	}
	for _, arg := range slices.Sorted(maps.Keys(declared.GetArgs())) {
		expr, err := compileExpression(env, declared.GetArgs()[arg], cel.DynType, names{calendars: c.calendarNames()})
		if err != nil {
			return fact{}, c.invalidFact(name, "args."+arg+": "+err.Error())
		}
		c.share(expr.calendars)
		c.locates = c.locates || expr.locates
		out.args = append(out.args, factArg{arg, expr.program})
	}
	return out, nil
}

func (c *Compiled) invalidFact(name, problem string) error {
	return c.invalidPart("fact", name, problem)
}

// invalidPart is the fault of a part that is no rule.
func (c *Compiled) invalidPart(part, name, problem string) error {
	return fault.Invalid("Policy %s: %s %s: %s.", c.name, part, name, strings.TrimSuffix(problem, ".")).With("policy", c.name).With(part, name)
}

// Needs lists the facts that rules of the matching policies read and that req.Facts lacks. Without a relation that lets the tool be called
// there are none: nothing is read for who may not call. An error says which fact cannot even be asked for, because its arguments cannot be
// made; Evaluate blocks such a request.
func (b *Bundle) Needs(req *Request) ([]FactNeed, error) {
	if !req.Relation.Call {
		return nil, nil
	}
	matching := b.matching(req.Server.Name, req.Tool.Name)
	var needs []FactNeed
	var running *call
	for _, c := range matching {
		for i := range c.facts {
			f := &c.facts[i]
			if _, there := factValue(req, matching, c, f); there || !f.used {
				continue
			}
			if running == nil {
				running = newCall(req)
			}
			running.memo.calendars = c.calendars
			args, err := f.arguments(running)
			if err != nil && !f.enforced {
				continue // Evaluate says in the outcome of the shadow rules that it is missing
			}
			if err != nil {
				return nil, fault.New(faultv1.Reason_REASON_FACT_UNAVAILABLE,
					"%s on %s was refused: the fact %s that policy %s needs cannot be asked for: %v.", req.Tool.Name, req.Server.Name, f.name, c.name, err).
					With("policy", c.name).With("fact", f.name)
			}
			needs = append(needs, FactNeed{Key: f.key, Name: f.name, Tool: f.tool, Args: args, Path: f.path, Declared: f.declared, Shadow: !f.enforced})
		}
	}
	return needs, nil
}

// Given lists the facts, as policy/fact, that rules read and that req.Facts has.
func (b *Bundle) Given(req *Request) []string {
	var given []string
	matching := b.matching(req.Server.Name, req.Tool.Name)
	for _, c := range matching {
		for i := range c.facts {
			if _, there := factValue(req, matching, c, &c.facts[i]); there && c.facts[i].used {
				given = append(given, c.facts[i].key)
			}
		}
	}
	return given
}

// factValue finds a fact by its key or, where every matching policy that has the name defines it alike, by its name.
func factValue(req *Request, matching []*Compiled, c *Compiled, f *fact) (any, bool) {
	if v, ok := req.Facts[f.key]; ok {
		return v, true
	}
	v, ok := req.Facts[f.name]
	if !ok {
		return nil, false
	}
	own := c.source.GetSpec().GetFacts()[f.name]
	for _, other := range matching {
		if other == c {
			continue
		}
		if theirs, defined := other.source.GetSpec().GetFacts()[f.name]; defined && !sameFact(own, theirs) {
			return nil, false
		}
	}
	return v, true
}

func sameFact(a, b *authzv1.Fact) bool {
	return a.GetTool() == b.GetTool() && a.GetPath() == b.GetPath() && maps.Equal(a.GetArgs(), b.GetArgs())
}

// arguments evaluates the fact's expressions into one JSON object, members by name.
func (f *fact) arguments(c *call) (json.RawMessage, error) {
	out := []byte{'{'}
	for i, arg := range f.args {
		v, err := run(arg.program, c)
		if err != nil {
			return nil, fmt.Errorf("args.%s: %w", arg.name, err)
		}
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = appendText(out, arg.name); err != nil {
			return nil, fmt.Errorf("args.%s: %w", arg.name, err)
		}
		out = append(out, ':')
		if out, err = appendJSON(out, v); err != nil {
			return nil, fmt.Errorf("args.%s: %w", arg.name, err)
		}
	}
	return append(out, '}'), nil
}

// appendJSON writes a value as JSON. Integers keep all their digits.
func appendJSON(out []byte, v ref.Val) ([]byte, error) {
	switch v := v.(type) {
	case types.Null:
		return append(out, "null"...), nil
	case types.Bool, types.Int, types.Uint, types.Double:
		return appendScalar(out, v.Value())
	case types.String:
		return appendText(out, string(v))
	case types.Timestamp:
		return appendText(out, v.Time.UTC().Format(time.RFC3339Nano))
	case traits.Lister:
		return appendList(append(out, '['), v)
	case traits.Mapper:
		return appendMap(append(out, '{'), v)
	}
	return nil, fmt.Errorf("a %s cannot be an argument of a tool", v.Type().TypeName())
}

func appendScalar(out []byte, v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return append(out, raw...), nil
}

func appendText(out []byte, s string) ([]byte, error) {
	out, err := jsontext.AppendQuote(out, s)
	if err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return out, nil
}

func appendList(out []byte, v traits.Lister) ([]byte, error) {
	var err error
	for i, it := 0, v.Iterator(); it.HasNext() == types.True; i++ {
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = appendJSON(out, it.Next()); err != nil {
			return nil, err
		}
	}
	return append(out, ']'), nil
}

func appendMap(out []byte, v traits.Mapper) ([]byte, error) {
	var err error
	for i, it := 0, v.Iterator(); it.HasNext() == types.True; i++ {
		if i > 0 {
			out = append(out, ',')
		}
		key := it.Next()
		name, ok := key.(types.String)
		if !ok {
			return nil, fmt.Errorf("the members of an object must be named by texts, not by a %s", key.Type().TypeName())
		}
		if out, err = appendText(out, string(name)); err != nil {
			return nil, err
		}
		if out, err = appendJSON(append(out, ':'), v.Get(key)); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

// FactValue is the part of a tool's result that a need's Path points to, as raw JSON. A path that is not there is an error: a fact that
// cannot be read blocks.
func FactValue(result json.RawMessage, path string) (json.RawMessage, error) {
	tokens, err := parsePointer(path)
	if err != nil {
		return nil, err
	}
	if !jsontext.Value(result).IsValid() {
		return nil, errors.New("the result is not strict JSON")
	}
	at, _, err := locate(result, tokens)
	if err != nil {
		return nil, err
	}
	if !at.found {
		return nil, fmt.Errorf("the result has nothing at %s", path)
	}
	return result[at.start:at.end], nil
}
