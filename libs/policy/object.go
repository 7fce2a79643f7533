package policy

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"headgate.dev/libs/policy/dataclass"
	"headgate.dev/libs/policy/money"
	"headgate.dev/libs/policy/pathtext"
	"headgate.dev/libs/policy/sqltext"
	"headgate.dev/libs/policy/webaddr"
)

// The types of the variables that have a fixed shape. A field that is not there is refused when a rule is compiled.
const (
	principalType = "headgate.Principal"
	agentType     = "headgate.Agent"
	serverType    = "headgate.Server"
	toolType      = "headgate.Tool"
	requestType   = "headgate.Request"
	sqlType       = "headgate.SQL"
	urlType       = "headgate.URL"
	hostType      = "headgate.Host"
	pathType      = "headgate.Path"
	moneyType     = "headgate.Money"
)

type shape map[string]*types.FieldType

// shapes is what rules see of the values in a Request.
func shapes() map[string]shape {
	text, list := cel.StringType, cel.ListType(cel.StringType)
	all := map[string]shape{
		principalType: principalShape(),
		agentType: {
			"name": optional(text, func(a *Agent) (any, bool) { return a.Name, a.Name != "" }),
		},
		serverType: serverShape(),
		toolType: {
			"name":        always(text, func(t *toolView) any { return t.req.Tool.Name }),
			"labels":      always(list, func(t *toolView) any { return t.req.Tool.Labels }),
			"classes":     always(list, func(t *toolView) any { return dataclass.Of(slices.Concat(t.req.Server.Labels, t.req.Tool.Labels)) }),
			"annotations": always(cel.MapType(text, cel.DynType), func(t *toolView) any { return t.read() }),
		},
		requestType: {
			"time":    always(cel.TimestampType, func(r *requestView) any { return r.req.At }),
			"ip":      known("request.ip", func(r *requestView) string { return r.req.SourceIP }),
			"country": known("request.country", func(r *requestView) string { return r.req.Country }),
		},
		sqlType: {
			"readOnly":   always(cel.BoolType, func(s *sqltext.Statement) any { return s.ReadOnly }),
			"statements": always(cel.IntType, func(s *sqltext.Statement) any { return int64(s.Count) }),
			"understood": always(cel.BoolType, func(s *sqltext.Statement) any { return s.Understood }),
			"tables":     always(list, func(s *sqltext.Statement) any { return understood(s, s.Tables) }),
			"functions":  always(list, func(s *sqltext.Statement) any { return understood(s, s.Functions) }),
			"columns":    always(list, func(s *sqltext.Statement) any { return understood(s, s.Columns) }),
			"hasWhere":   always(cel.BoolType, func(s *sqltext.Statement) any { return understood(s, s.HasWhere) }),
			"why":        always(text, func(s *sqltext.Statement) any { return s.Why }),
		},
	}
	maps.Copy(all, readShapes())
	maps.Copy(all, circumstanceShapes())
	return all
}

// readShapes is what rules see of texts that a function has read.
func readShapes() map[string]shape {
	text, number := cel.StringType, cel.IntType
	return map[string]shape{
		urlType: {
			"scheme":  always(text, func(u *webaddr.URL) any { return u.Scheme }),
			"host":    always(text, func(u *webaddr.URL) any { return u.Host.Name }),
			"domain":  always(text, func(u *webaddr.URL) any { return u.Host.Domain }),
			"ipClass": always(text, func(u *webaddr.URL) any { return u.Host.Class }),
			"port":    always(number, func(u *webaddr.URL) any { return int64(u.Port) }),
			"path":    always(text, pathOf),
		},
		hostType: {
			"name":    always(text, func(h *webaddr.Host) any { return h.Name }),
			"domain":  always(text, func(h *webaddr.Host) any { return h.Domain }),
			"suffix":  always(text, func(h *webaddr.Host) any { return h.Suffix }),
			"ipClass": always(text, func(h *webaddr.Host) any { return h.Class }),
		},
		pathType: {
			"clean":     always(text, func(p *pathtext.Path) any { return p.Clean }),
			"absolute":  always(cel.BoolType, func(p *pathtext.Path) any { return p.Absolute }),
			"plain":     always(cel.BoolType, func(p *pathtext.Path) any { return p.Plain }),
			"name":      always(text, func(p *pathtext.Path) any { return p.Name }),
			"extension": always(text, func(p *pathtext.Path) any { return p.Extension }),
		},
		moneyType: {
			"minor":    always(number, func(a *money.Amount) any { return a.Minor }),
			"currency": always(text, func(a *money.Amount) any { return a.Currency }),
		},
	}
}

// understood gives what a statement says or, when it was not understood, an error: what it touches is not known then, and an empty list would
// let it pass a rule that looks for a table.
func understood(s *sqltext.Statement, says any) any {
	if !s.Understood {
		return fmt.Errorf("the SQL is not understood: %s", s.Why)
	}
	return says
}

// pathOf gives the path of a URL or, where its server may read another one, an error.
func pathOf(u *webaddr.URL) any {
	if u.Doubt != "" {
		return errors.New(u.Doubt)
	}
	return u.Path
}

func wrongType(want, got any) error { return fmt.Errorf("a %T is not a %T", got, want) }

func always[T any](t *cel.Type, get func(*T) any) *types.FieldType {
	return optional(t, func(v *T) (any, bool) { return get(v), true })
}

// optional is a field that has(…) can ask for; reading it when it is not set gives its zero value.
func optional[T any](t *cel.Type, get func(*T) (any, bool)) *types.FieldType {
	return &types.FieldType{
		Type: t,
		IsSet: func(v any) bool {
			object, ok := v.(*T)
			if !ok {
				return false
			}
			_, set := get(object)
			return set
		},
		GetFrom: func(v any) (any, error) {
			object, ok := v.(*T)
			if !ok {
				return nil, wrongType(object, v)
			}
			value, _ := get(object)
			if failed, ok := value.(error); ok {
				return nil, failed
			}
			return value, nil
		},
	}
}

// known is a text that must be there when a rule reads it: what is not known is not judged.
func known(path string, get func(*requestView) string) *types.FieldType {
	return &types.FieldType{
		Type: cel.StringType,
		IsSet: func(v any) bool {
			c, ok := v.(*requestView)
			if ok && get(c) == "" && c.req.miss() {
				c.req.gaps.guessed = true
			}
			return ok && get(c) != ""
		},
		GetFrom: func(v any) (any, error) {
			c, ok := v.(*requestView)
			if !ok {
				return nil, wrongType(c, v)
			}
			if get(c) == "" {
				c.req.miss()
				return nil, fmt.Errorf("%s is not known for this call", path)
			}
			return get(c), nil
		},
	}
}

// provider knows the shapes in addition to CEL's own types.
type provider struct {
	types.Provider
	shapes map[string]shape
}

func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.shapes[name]; ok {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return p.Provider.FindStructType(name)
}

func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if fields, ok := p.shapes[name]; ok {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if fields, ok := p.shapes[name]; ok {
		f, found := fields[field]
		return f, found
	}
	return p.Provider.FindStructFieldType(name, field)
}

// NewValue refuses to make an object of ours: a rule judges what came in and cannot invent a principal.
func (p *provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := p.shapes[name]; ok {
		return types.NewErr("a rule cannot make a %s", name)
	}
	return p.Provider.NewValue(name, fields)
}

// adapter turns our values into CEL's. Maps are walked in the order of their keys, so that a rule that walks one always says the same.
type adapter struct {
	types.Adapter
}

func (a *adapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case ref.Val:
		return v
	case string:
		return types.String(v)
	case int64:
		return types.Int(v)
	case bool:
		return types.Bool(v)
	case map[string]any:
		return sortedMap{types.NewStringInterfaceMap(a, v)}
	case map[string]string:
		return sortedMap{types.NewStringStringMap(a, v)}
	case []any:
		return types.NewDynamicList(a, v)
	case *principalView:
		return object{name: principalType, value: v}
	case *Agent:
		return object{name: agentType, value: v}
	case *serverView:
		return object{name: serverType, value: v}
	case *toolView:
		return object{name: toolType, value: v}
	case *requestView:
		return object{name: requestType, value: v}
	case *sessionView:
		return object{name: sessionType, value: v}
	case *Device:
		return object{name: deviceType, value: v}
	case *sqltext.Statement:
		return object{name: sqlType, value: v}
	case *memo:
		return object{name: memoType, value: v}
	}
	return a.Adapter.NativeToValue(v)
}

// sortedMap is a map that is walked in the order of its keys, which are strings.
type sortedMap struct{ traits.Mapper }

func (m sortedMap) Iterator() traits.Iterator {
	var keys []string
	switch native := m.Value().(type) {
	case map[string]any:
		keys = slices.Sorted(maps.Keys(native))
	case map[string]string:
		keys = slices.Sorted(maps.Keys(native))
	}
	return types.NewStringList(types.DefaultTypeAdapter, keys).Iterator()
}

// object is one of our values where a rule passes it around whole.
type object struct {
	name  string
	value any
}

func (o object) ConvertToNative(reflect.Type) (any, error) {
	return nil, fmt.Errorf("a %s does not leave the rule", o.name)
}

func (o object) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return types.NewObjectType(o.name)
	}
	return types.NewErr("a %s is not a %s", o.name, t.TypeName())
}

func (o object) Equal(other ref.Val) ref.Val {
	o2, ok := other.(object)
	if !ok || o.name != o2.name {
		return types.False
	}
	if a, ok := o.value.(*money.Amount); ok {
		b, ok := o2.value.(*money.Amount)
		return types.Bool(ok && *a == *b)
	}
	return types.Bool(o.value == o2.value)
}

func (o object) Type() ref.Type { return types.NewObjectType(o.name) }
func (o object) Value() any     { return o.value }
