package rpc

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
)

// method is what the mux knows of one procedure: its row of the access policy, and whether calling it changes anything.
type method struct {
	procedure string
	access    *optionsv1.Access
	readOnly  bool
}

// methodsOf reads the rows of a service's methods from its descriptor. What is wrong with one is returned as sentences; such a method gets no row,
// so nobody can call it.
func methodsOf(service string) (map[string]*method, []string) {
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	descriptor, ok := found.(protoreflect.ServiceDescriptor)
	if err != nil || !ok {
		return nil, []string{fmt.Sprintf("%s: its descriptor is not linked in", service)}
	}
	rows, problems := map[string]*method{}, []string(nil)
	for i := range descriptor.Methods().Len() {
		m := descriptor.Methods().Get(i)
		row, missing := methodOf(m)
		if len(missing) > 0 {
			problems = append(problems, fmt.Sprintf("%s: %s", m.FullName(), strings.Join(missing, ", ")))
			continue
		}
		rows[row.procedure] = row
	}
	return rows, problems
}

func methodOf(m protoreflect.MethodDescriptor) (*method, []string) {
	options, _ := m.Options().(*descriptorpb.MethodOptions)
	access, _ := proto.GetExtension(options, optionsv1.E_Access).(*optionsv1.Access)
	row := &method{
		procedure: fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()),
		access:    access,
		readOnly:  options.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS,
	}
	return row, incomplete(access, m.Input())
}

// incomplete says what an access option lacks.
func incomplete(a *optionsv1.Access, input protoreflect.MessageDescriptor) []string {
	if a == nil {
		return []string{"no access option"}
	}
	var missing []string
	if len(a.GetServices())+len(a.GetPeople()) == 0 {
		missing = append(missing, "nobody may call it")
	}
	for _, s := range a.GetServices() {
		if ServiceName(s) == "unknown" {
			missing = append(missing, "an unknown service may call it")
		}
	}
	for _, r := range a.GetPeople() {
		if _, ok := optionsv1.Role_name[int32(r)]; !ok || r == optionsv1.Role_ROLE_UNSPECIFIED {
			missing = append(missing, "people with an unknown role may call it")
		}
	}
	switch a.GetTenant() {
	case optionsv1.TenantScope_TENANT_SCOPE_FROM_TOKEN:
		if !namesTenant(input, nil) {
			missing = append(missing, "tenant scope FROM_TOKEN, but the request has no field tenant")
		}
	case optionsv1.TenantScope_TENANT_SCOPE_ALL:
		if len(a.GetPeople()) > 0 {
			missing = append(missing, "tenant scope ALL, but people may call it")
		}
	case optionsv1.TenantScope_TENANT_SCOPE_NONE:
	default:
		missing = append(missing, "no tenant scope")
	}
	return missing
}

// namesTenant reports whether a message can name a tenant, at any depth.
func namesTenant(m protoreflect.MessageDescriptor, seen []protoreflect.FullName) bool {
	if slices.Contains(seen, m.FullName()) {
		return false
	}
	seen = append(seen, m.FullName())
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if isTenant(f) || f.Message() != nil && !f.IsMap() && namesTenant(f.Message(), seen) {
			return true
		}
	}
	return false
}

func isTenant(f protoreflect.FieldDescriptor) bool {
	return f.Name() == "tenant" && f.Kind() == protoreflect.StringKind && f.Cardinality() != protoreflect.Repeated
}

// judge says whether this caller may call the method.
func (m *method) judge(c Caller) *fault.Error {
	switch {
	case c.Service != optionsv1.Service_SERVICE_UNSPECIFIED:
		if slices.Contains(m.access.GetServices(), c.Service) {
			return nil
		}
	case c.Person != nil:
		for _, role := range m.access.GetPeople() {
			if role == optionsv1.Role_ROLE_MEMBER || c.Has(role) {
				return nil
			}
		}
	}
	return fault.New(faultv1.Reason_REASON_ROLE_REQUIRED, "%s may not call %s: it is for %s.", upperFirst(c.String()), m.procedure, m.audience()).
		With("method", m.procedure)
}

// audience says in words who may call the method.
func (m *method) audience() string {
	var roles, services []string
	for _, r := range m.access.GetPeople() {
		roles = append(roles, strings.ToLower(strings.TrimPrefix(r.String(), "ROLE_")))
	}
	for _, s := range m.access.GetServices() {
		services = append(services, ServiceName(s))
	}
	var words []string
	if len(roles) > 0 {
		words = append(words, "people with the right "+strings.Join(roles, " or "))
	}
	if len(services) > 0 {
		words = append(words, "the services "+strings.Join(services, ", "))
	}
	return strings.Join(words, " and ")
}

// checkTenant refuses a message that names another tenant than the person's own, at any depth. Handlers ask Tenant as well; this is the wall
// behind them.
func (m *method) checkTenant(c Caller, message any) error {
	request, ok := message.(proto.Message)
	if !ok || c.everyTenant() || m.access.GetTenant() != optionsv1.TenantScope_TENANT_SCOPE_FROM_TOKEN {
		return nil
	}
	if other := foreignTenant(request.ProtoReflect(), c.Person.GetTenant()); other != "" {
		return wrongTenant(c.Person.GetTenant(), other)
	}
	return nil
}

// foreignTenant returns the first tenant that a message names and that is not own.
func foreignTenant(m protoreflect.Message, own string) string {
	var other string
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case isTenant(f):
			if v.String() != own {
				other = v.String()
			}
		case f.Message() == nil || f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				if other = foreignTenant(v.List().Get(i).Message(), own); other != "" {
					break
				}
			}
		default:
			other = foreignTenant(v.Message(), own)
		}
		return other == ""
	})
	return other
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
