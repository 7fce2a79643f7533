// Package rpc serves the methods of the identity service.
package rpc

import (
	"context"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/services/identity/internal/access"
	"headgate.dev/services/identity/internal/directory"
)

// Handler implements IdentityServiceHandler.
type Handler struct {
	Directory *directory.Directory
	Desk      *access.Desk
	// AllowIssue serves IssueToken.
	AllowIssue bool
}

// tenantOf is the tenant that a request about a kind and a name is about, and the tenant under which the resource is kept: a Tenant is about itself and
// kept under none.
func tenantOf(ctx context.Context, kind, tenant, name string) (about, kept string, err error) {
	if kind == "Tenant" {
		about, err = rpc.Tenant(ctx, name)
		return about, "", err
	}
	about, err = rpc.Tenant(ctx, tenant)
	return about, about, err
}

// mayChange keeps the platform's own tenant to the platform's administrator: who may write there could become one.
func mayChange(ctx context.Context, tenant string) error {
	if tenant != directory.SystemTenant || rpc.CallerFrom(ctx).Has(optionsv1.Role_ROLE_PLATFORM) {
		return nil
	}
	return fault.New(faultv1.Reason_REASON_ROLE_REQUIRED,
		"The tenant %s belongs to the platform: only its bootstrap administrator may change it.", directory.SystemTenant)
}
