package rpc

import (
	"context"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/trust/internal/pin"
	"headgate.dev/services/trust/internal/probe"
	"headgate.dev/services/trust/internal/registry"
	"headgate.dev/services/trust/internal/review"
	"headgate.dev/services/trust/internal/store"
)

// Show implements TrustServiceHandler.
func (h *Handler) Show(ctx context.Context, req *connect.Request[trustv1.ShowRequest]) (*connect.Response[trustv1.ShowResponse], error) {
	at, err := key(ctx, req.Msg.GetTenant(), req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	state, err := h.Registry.Show(at)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&trustv1.ShowResponse{Server: state}), nil
}

// Refresh implements TrustServiceHandler. A server that cannot be looked at is an answer: its note says why.
func (h *Handler) Refresh(ctx context.Context, req *connect.Request[trustv1.RefreshRequest]) (*connect.Response[trustv1.RefreshResponse], error) {
	at, err := key(ctx, req.Msg.GetTenant(), req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	if err := h.look(ctx, at); err != nil && ctx.Err() != nil {
		return nil, err
	}
	state, err := h.Registry.Show(at)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&trustv1.RefreshResponse{Server: state}), nil
}

// Approve implements TrustServiceHandler. It looks first: what is pinned is what the server shows now, and the guard is held against that.
func (h *Handler) Approve(ctx context.Context, req *connect.Request[trustv1.ApproveRequest]) (*connect.Response[trustv1.ApproveResponse], error) {
	if err := h.mayAct(ctx); err != nil {
		return nil, err
	}
	at, err := key(ctx, req.Msg.GetTenant(), req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	if err := h.look(ctx, at); err != nil {
		return nil, err
	}
	state, err := h.Registry.Approve(ctx, at, pin.Request{Tools: req.Msg.GetTools(), Seen: req.Msg.GetSeen()}, actor(ctx))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&trustv1.ApproveResponse{Server: state}), nil
}

func (h *Handler) look(ctx context.Context, at store.Key) error {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	return h.Looker.Look(ctx, at)
}

// Quarantine implements TrustServiceHandler.
func (h *Handler) Quarantine(ctx context.Context, req *connect.Request[trustv1.QuarantineRequest]) (*connect.Response[trustv1.QuarantineResponse], error) {
	if err := h.mayAct(ctx); err != nil {
		return nil, err
	}
	at, err := key(ctx, req.Msg.GetTenant(), req.Msg.GetName())
	if err != nil {
		return nil, err
	}
	state, err := h.Registry.Quarantine(ctx, at, req.Msg.GetReason(), actor(ctx))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&trustv1.QuarantineResponse{Server: state}), nil
}

// Kill implements TrustServiceHandler.
func (h *Handler) Kill(ctx context.Context, req *connect.Request[trustv1.KillRequest]) (*connect.Response[trustv1.KillResponse], error) {
	if err := h.mayAct(ctx); err != nil {
		return nil, err
	}
	target, err := target(ctx, req.Msg.GetTenant(), req.Msg.GetTarget())
	if err != nil {
		return nil, err
	}
	revision, err := h.Registry.Kill(ctx, target, req.Msg.GetReason(), actor(ctx))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&trustv1.KillResponse{Revision: revision}), nil
}

// Revive implements TrustServiceHandler.
func (h *Handler) Revive(ctx context.Context, req *connect.Request[trustv1.ReviveRequest]) (*connect.Response[trustv1.ReviveResponse], error) {
	if err := h.mayAct(ctx); err != nil {
		return nil, err
	}
	target, err := target(ctx, req.Msg.GetTenant(), req.Msg.GetTarget())
	if err != nil {
		return nil, err
	}
	revision, err := h.Registry.Revive(ctx, target, actor(ctx))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&trustv1.ReviveResponse{Revision: revision}), nil
}

func target(ctx context.Context, tenant string, t *trustv1.Target) (store.Target, error) {
	own, err := rpc.Tenant(ctx, tenant)
	return store.Target{Tenant: own, Kind: t.GetKind(), Name: t.GetName()}, err
}

// Report implements TrustServiceHandler.
func (h *Handler) Report(ctx context.Context, req *connect.Request[trustv1.ReportRequest]) (*connect.Response[trustv1.ReportResponse], error) {
	at, err := key(ctx, req.Msg.GetTenant(), req.Msg.GetServer())
	if err != nil {
		return nil, err
	}
	tools, err := review.Reported(req.Msg.GetTools())
	if err != nil {
		return nil, err
	}
	report := registry.Report{Listing: pin.Listing{Tools: tools}}
	if about := req.Msg.GetAbout(); about != nil {
		report.About = &store.About{Versions: probe.Versions(about.GetProtocolVersions()), ServerInfo: about.GetServerInfo(), Capabilities: about.GetCapabilities()}
		report.Listing.Instructions = about.GetInstructions()
		report.Listing.InstructionsProblem = review.Instructions(about.GetInstructions())
	}
	revision, err := h.Registry.Reported(ctx, at, report)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&trustv1.ReportResponse{Revision: revision}), nil
}

// mayAct refuses what a stopped person, or a person through a stopped agent, would change here: nobody takes back a kill of themselves.
// The platform's administrator cannot be stopped by a tenant.
func (h *Handler) mayAct(ctx context.Context) error {
	caller := rpc.CallerFrom(ctx)
	if caller.Person == nil || caller.Has(optionsv1.Role_ROLE_PLATFORM) {
		return nil
	}
	for kind, name := range map[string]string{"person": caller.Person.GetName(), "agent": caller.Person.GetAgent()} {
		if name != "" && h.Registry.Killed(store.Target{Tenant: caller.Person.GetTenant(), Kind: kind, Name: name}) {
			return fault.New(faultv1.Reason_REASON_KILLED, "The %s %s is stopped and may change nothing here. Another security officer can revive them.", kind, name)
		}
	}
	return nil
}
