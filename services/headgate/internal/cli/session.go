package cli

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/secret"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
	"headgate.dev/proto/gen/headgate/edge/v1/edgev1connect"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/headgate/internal/admin"
)

// session is what every client command shares: where the API is, who asks, and how to print.
type session struct {
	stdio     IO
	api       string
	tokenFlag string
	tenant    string
	output    string
}

func (s *session) endpoint() string {
	for _, candidate := range []string{s.api, s.stdio.Env("HEADGATE_API")} {
		if candidate != "" {
			return candidate
		}
	}
	return "http://127.0.0.1:8081"
}

func (s *session) dial() (*rpc.Conn, error) {
	token := s.tokenFlag
	if token == "" {
		token = s.stdio.Env("HEADGATE_TOKEN")
	}
	if token == "" {
		return nil, usageError{fmt.Errorf("no token: set HEADGATE_TOKEN")}
	}
	endpoint := s.endpoint()
	if parsed, err := url.Parse(endpoint); err != nil || parsed.Host == "" {
		return nil, usageError{fmt.Errorf("%q is not the URL of an API", endpoint)}
	}
	switch s.output {
	case "table", "json", "yaml":
	default:
		return nil, usageError{fmt.Errorf("-o takes table, json or yaml, not %q", s.output)}
	}
	return rpc.Dial(rpc.DialConfig{URL: endpoint, Token: secret.New(token)})
}

// owner opens the service of this name.
func (s *session) owner(name string) (*admin.Owner, error) {
	conn, err := s.dial()
	if err != nil {
		return nil, err
	}
	return admin.NewOwner(conn, name)
}

// ownerOf finds the owner of a kind, by its exact name, lower case or plural.
func (s *session) ownerOf(kind string) (*admin.Owner, string, error) {
	for _, known := range resource.Kinds() {
		if strings.EqualFold(known, kind) || strings.EqualFold(known+"s", kind) {
			o, err := s.owner(resource.Owner(known))
			return o, known, err
		}
	}
	return nil, "", usageError{fmt.Errorf("no kind %q; there are %s", kind, strings.Join(resource.Kinds(), ", "))}
}

// client opens the API for one service.
func client[T any](s *session, newClient func(connect.HTTPClient, string, ...connect.ClientOption) T) (T, error) {
	conn, err := s.dial()
	if err != nil {
		var none T
		return none, err
	}
	return rpc.Client(conn, newClient), nil
}

func (s *session) identity() (identityv1connect.IdentityServiceClient, error) {
	return client(s, identityv1connect.NewIdentityServiceClient)
}

func (s *session) authz() (authzv1connect.AuthzServiceClient, error) {
	return client(s, authzv1connect.NewAuthzServiceClient)
}

func (s *session) trust() (trustv1connect.TrustServiceClient, error) {
	return client(s, trustv1connect.NewTrustServiceClient)
}

func (s *session) audit() (auditv1connect.AuditServiceClient, error) {
	return client(s, auditv1connect.NewAuditServiceClient)
}

func (s *session) edge() (edgev1connect.EdgeServiceClient, error) {
	return client(s, edgev1connect.NewEdgeServiceClient)
}

// workTenant is the tenant to work in: the one that was said, a person's own, or for an administrator of all the only one that there is,
// or the only one that has a resource of this kind and name.
func (s *session) workTenant(ctx context.Context, kind, name string) (string, error) {
	tenants, err := s.mine(ctx)
	if err != nil || len(tenants) == 1 {
		return strings.Join(tenants, ""), err
	}
	owner, err := s.owner(resource.Owner(kind))
	if err != nil {
		return "", err
	}
	objects, err := owner.List(ctx, kind, "")
	if err != nil {
		return "", err
	}
	var found []string
	for _, object := range objects {
		if object.GetMetadata().GetName() == name {
			found = append(found, object.GetMetadata().GetTenant())
		}
	}
	switch len(found) {
	case 0:
		return "", fault.NotFound("No tenant has a %s named %s.", kind, name)
	case 1:
		return found[0], nil
	}
	return "", usageError{fault.Invalid("the tenants %s have a %s named %s: say which with --tenant", strings.Join(found, ", "), kind, name)}
}

// oneTenant is the tenant to work in where nothing else names it.
func (s *session) oneTenant(ctx context.Context) (string, error) {
	tenants, err := s.mine(ctx)
	if err == nil && len(tenants) != 1 {
		err = usageError{fault.Invalid("there are %d tenants: say which with --tenant", len(tenants))}
	}
	return strings.Join(tenants, ""), err
}

// mine are the tenants that the caller may work in: the one that was said, a person's own, or for an administrator of all every one.
func (s *session) mine(ctx context.Context) ([]string, error) {
	if said := s.saidTenant(); said != "" {
		return []string{said}, nil
	}
	identity, err := s.identity()
	if err != nil {
		return nil, err
	}
	who, err := identity.WhoAmI(ctx, connect.NewRequest(&identityv1.WhoAmIRequest{}))
	if err != nil {
		return nil, err
	}
	if !platform(who.Msg.GetCaller()) {
		return []string{who.Msg.GetCaller().GetTenant()}, nil
	}
	return s.tenants(ctx, identity, who.Msg.GetCaller().GetTenant())
}

// saidTenant is the tenant of the flag or the environment; empty when none was said.
func (s *session) saidTenant() string { return cmp.Or(s.tenant, s.stdio.Env("HEADGATE_TENANT")) }

// tenants lists all tenants but the administrator's own.
func (s *session) tenants(ctx context.Context, identity identityv1connect.IdentityServiceClient, own string) ([]string, error) {
	list, err := identity.List(ctx, connect.NewRequest(&identityv1.ListRequest{Kind: "Tenant", PageSize: 1000}))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, res := range list.Msg.GetResources() {
		if name := res.GetTenant().GetMetadata().GetName(); name != own {
			names = append(names, name)
		}
	}
	return names, nil
}

func platform(caller *identityv1.Caller) bool {
	return slices.Contains(caller.GetRights(), optionsv1.Role_ROLE_PLATFORM)
}
