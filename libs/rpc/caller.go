// Package rpc is the only place that makes servers and clients of Headgate's services: Connect, gRPC and JSON on one port, with who may call
// what read from the options that stand on each method, one error type on the wire, and deadlines on everything.
package rpc

import (
	"context"
	"slices"
	"strings"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
)

// Caller is who calls: a service of Headgate, known by its certificate or by the in-process transport, or a person, known by an access token.
// Exactly one is set; the zero Caller is nobody.
type Caller struct {
	Service optionsv1.Service
	Person  *identityv1.Caller
}

type callerKey struct{}

// CallerFrom returns who calls; the zero Caller when the context is not one of a call.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// WithCaller puts a caller into a context, as the mux does for a handler. Tests of handlers use it.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// Has reports whether the caller is a person with this right.
func (c Caller) Has(right optionsv1.Role) bool {
	return c.Person != nil && slices.Contains(c.Person.GetRights(), right)
}

// everyTenant reports whether the caller may name any tenant: a service, or a person who administers the platform.
func (c Caller) everyTenant() bool {
	return c.Service != optionsv1.Service_SERVICE_UNSPECIFIED || c.Has(optionsv1.Role_ROLE_PLATFORM)
}

// String names the caller for logs: "service edge", "person acme/ana", "nobody".
func (c Caller) String() string {
	switch {
	case c.Service != optionsv1.Service_SERVICE_UNSPECIFIED:
		return "service " + ServiceName(c.Service)
	case c.Person != nil:
		return "person " + c.Person.GetTenant() + "/" + c.Person.GetName()
	default:
		return "nobody"
	}
}

// Author names the caller where their tenant is known: "person ana", "service edge". A person of another tenant has it before their name.
func (c Caller) Author(tenant string) string {
	if c.Person == nil || c.Person.GetTenant() != tenant {
		return c.String()
	}
	return "person " + c.Person.GetName()
}

// Tenant returns the tenant that a handler must use. A person's is their own: the request names the same or none. A service and a platform
// administrator belong to no customer, so the request names one.
func Tenant(ctx context.Context, requested string) (string, error) {
	tenant, err := TenantFilter(ctx, requested)
	if err != nil {
		return "", err
	}
	if tenant == "" {
		return "", fault.Invalid("Name the tenant: %s belongs to no single one.", CallerFrom(ctx))
	}
	return tenant, nil
}

// TenantFilter is Tenant for lists and searches: a service and a platform administrator may leave it empty, which means all tenants.
func TenantFilter(ctx context.Context, requested string) (string, error) {
	c := CallerFrom(ctx)
	if c.everyTenant() {
		return requested, nil
	}
	if c.Person == nil || c.Person.GetTenant() == "" {
		return "", fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The caller is not known, so no tenant is theirs. Sign in and send the access token.")
	}
	own := c.Person.GetTenant()
	if requested != "" && requested != own {
		return "", wrongTenant(own, requested)
	}
	return own, nil
}

func wrongTenant(own, requested string) *fault.Error {
	return fault.New(faultv1.Reason_REASON_WRONG_TENANT,
		"The request is about tenant %q, and you belong to tenant %q. Leave the tenant out, or name your own.", requested, own).With("tenant", requested)
}

// ServiceName is a service's short name, as "edge"; "unknown" for none.
func ServiceName(s optionsv1.Service) string {
	if _, ok := optionsv1.Service_name[int32(s)]; !ok || s == optionsv1.Service_SERVICE_UNSPECIFIED {
		return "unknown"
	}
	return strings.ToLower(strings.TrimPrefix(s.String(), "SERVICE_"))
}

// ServiceByName is the service with this short name; SERVICE_UNSPECIFIED when there is none.
func ServiceByName(name string) optionsv1.Service {
	if name == "" || name != strings.ToLower(name) {
		return optionsv1.Service_SERVICE_UNSPECIFIED
	}
	return optionsv1.Service(optionsv1.Service_value["SERVICE_"+strings.ToUpper(name)])
}
