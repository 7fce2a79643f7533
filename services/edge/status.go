package edge

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"headgate.dev/libs/journal"
	edgev1 "headgate.dev/proto/gen/headgate/edge/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/peers"
	"headgate.dev/services/edge/internal/replicas"
)

const unavailable = faultv1.Reason_REASON_UNAVAILABLE

// status answers EdgeService.
type status struct {
	replicas *replicas.Replicas
	journal  *journal.Writer
	guard    *guard.Guard
}

// Status implements edgev1connect.EdgeServiceHandler.
func (s *status) Status(context.Context, *connect.Request[edgev1.StatusRequest]) (*connect.Response[edgev1.StatusResponse], error) {
	stands := s.journal.Status()
	answer := &edgev1.StatusResponse{Journal: &edgev1.JournalStatus{Writer: stands.Writer, Written: stands.Written, Shipped: stands.Shipped}}
	for _, r := range s.replicas.Status() {
		answer.Replicas = append(answer.Replicas, &edgev1.ReplicaStatus{
			Name: r.Name, Revision: r.Revision, Age: durationpb.New(r.Age), Stale: r.Stale, DirectoryRevision: r.Directory,
		})
	}
	return connect.NewResponse(answer), nil
}

// Relay implements edgev1connect.EdgeServiceHandler.
func (s *status) Relay(ctx context.Context, r *connect.Request[edgev1.RelayRequest], to *connect.ServerStream[edgev1.RelayResponse]) error {
	return peers.Serve(ctx, s.guard, r.Msg, to.Send)
}
