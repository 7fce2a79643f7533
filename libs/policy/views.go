package policy

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"headgate.dev/libs/policy/dataclass"
)

// The fields that a view remembers, by their places in it.
const (
	ownName = iota
	ownEmail
	ownDepartment
	ownRoles
	ownGroups
	ownTeams
	ownAttributes
	ownClearances
	ownLabels
	ownClasses
	ownFields
)

// remembered values of one request: what a field is does not change while it is judged.
type values [ownFields]ref.Val

func (v *values) once(at int, is func() ref.Val) ref.Val {
	if v[at] == nil {
		v[at] = is()
	}
	return v[at]
}

// principalView and serverView are the person and the server as rules see them.
type principalView struct {
	req *Request
	values
}

type serverView struct {
	req *Request
	values
}

func texts(list []string) ref.Val {
	all := make([]ref.Val, len(list))
	for i, one := range list {
		all[i] = types.String(one)
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all)
}

// own is a field of the principal; without set it is always there.
func own(at int, t *cel.Type, get func(*Principal) ref.Val, set func(*Principal) bool) *types.FieldType {
	return &types.FieldType{
		Type: t,
		IsSet: func(v any) bool {
			p, ok := v.(*principalView)
			return ok && (set == nil || set(&p.req.Principal))
		},
		GetFrom: func(v any) (any, error) {
			p, ok := v.(*principalView)
			if !ok {
				return nil, wrongType(p, v)
			}
			return p.once(at, func() ref.Val { return get(&p.req.Principal) }), nil
		},
	}
}

func principalShape() shape {
	text, list := cel.StringType, cel.ListType(cel.StringType)
	return shape{
		"name":  own(ownName, text, func(p *Principal) ref.Val { return types.String(p.Name) }, nil),
		"email": own(ownEmail, text, func(p *Principal) ref.Val { return types.String(p.Email) }, func(p *Principal) bool { return p.Email != "" }),
		"department": own(ownDepartment, text, func(p *Principal) ref.Val { return types.String(p.Department) },
			func(p *Principal) bool { return p.Department != "" }),
		"roles":  own(ownRoles, list, func(p *Principal) ref.Val { return texts(p.Roles) }, nil),
		"groups": own(ownGroups, list, func(p *Principal) ref.Val { return texts(p.Groups) }, nil),
		"teams":  own(ownTeams, list, func(p *Principal) ref.Val { return texts(p.Teams) }, nil),
		"attributes": own(ownAttributes, cel.MapType(text, text), func(p *Principal) ref.Val {
			return sortedMap{types.NewStringStringMap(types.DefaultTypeAdapter, p.Attributes)}
		}, nil),
		"clearances": own(ownClearances, list, func(p *Principal) ref.Val { return texts(p.Clearances) }, nil),
	}
}

func serverShape() shape {
	text, list := cel.StringType, cel.ListType(cel.StringType)
	field := func(at int, t *cel.Type, get func(*Server) ref.Val) *types.FieldType {
		return always(t, func(v *serverView) any { return v.once(at, func() ref.Val { return get(&v.req.Server) }) })
	}
	return shape{
		"name":    field(ownName, text, func(s *Server) ref.Val { return types.String(s.Name) }),
		"labels":  field(ownLabels, list, func(s *Server) ref.Val { return texts(s.Labels) }),
		"classes": field(ownClasses, list, func(s *Server) ref.Val { return texts(dataclass.Of(s.Labels)) }),
	}
}
