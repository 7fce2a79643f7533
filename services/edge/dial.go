package edge

import (
	"headgate.dev/libs/rpc"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	"headgate.dev/proto/gen/headgate/edge/v1/edgev1connect"
	"headgate.dev/services/edge/internal/keep"
)

// Others is the way to other edges, for Deps.Edge.
func Others(dial func(service, url string) (*rpc.Conn, error)) func(url string) (edgev1connect.EdgeServiceClient, error) {
	return func(url string) (edgev1connect.EdgeServiceClient, error) {
		conn, err := dial("edge", url)
		if err != nil {
			return nil, err
		}
		return rpc.Client(conn, edgev1connect.NewEdgeServiceClient), nil
	}
}

// Keys is the way to audit, for Deps.Audit; nil where it is not among the peers.
func Keys(knows func(service string) bool, dial func(service string) (*rpc.Conn, error)) (keep.Subjects, error) {
	return rpc.Peer("audit", knows, dial, auditv1connect.NewAuditServiceClient)
}
