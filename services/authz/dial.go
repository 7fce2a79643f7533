package authz

import (
	"headgate.dev/libs/rpc"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
)

// Records is the way to audit, for Deps.Audit; nil where it is not among the peers.
func Records(knows func(service string) bool, dial func(service string) (*rpc.Conn, error)) (auditv1connect.AuditServiceClient, error) {
	return rpc.Peer("audit", knows, dial, auditv1connect.NewAuditServiceClient)
}
