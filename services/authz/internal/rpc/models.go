package rpc

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/authz/internal/entitlement"
	"headgate.dev/services/authz/internal/openfga"
	"headgate.dev/services/authz/internal/tenants"
	"headgate.dev/services/authz/internal/upkeep"
)

const (
	// mostCompared is how many people and agents another model is tried on.
	mostCompared = 500
	// mostTold is how many differences an answer has.
	mostTold = 100
	// mostRecorded is how many of those that were accepted a record has.
	mostRecorded = 20
)

// ListModels implements AuthzServiceHandler.
func (h *Handler) ListModels(ctx context.Context, req *connect.Request[authzv1.ListModelsRequest]) (*connect.Response[authzv1.ListModelsResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	state, err := h.Tenants.Mending(tenant)
	if err != nil {
		return nil, err
	}
	models, err := state.Store.Models(ctx)
	if err != nil {
		return nil, err
	}
	pins, err := h.Pins.All(ctx)
	if err != nil {
		return nil, err
	}
	answer := &authzv1.ListModelsResponse{}
	for _, m := range models {
		answer.Models = append(answer.Models, &authzv1.RelationModel{
			Id: m.ID, Written: timestamppb.New(m.Written), Own: m.Own, InUse: m.ID == state.Store.Model(), Previous: m.ID == pins[tenant].Previous,
		})
	}
	return connect.NewResponse(answer), nil
}

// UseModel implements AuthzServiceHandler.
func (h *Handler) UseModel(ctx context.Context, req *connect.Request[authzv1.UseModelRequest]) (*connect.Response[authzv1.UseModelResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	state, err := h.Tenants.Mending(tenant)
	if err != nil {
		return nil, err
	}
	now := state.Store.Model()
	answer := &authzv1.UseModelResponse{Model: req.Msg.GetModel(), Previous: now}
	if req.Msg.GetModel() == now {
		return connect.NewResponse(answer), nil
	}
	candidate, err := h.tried(ctx, state, req.Msg.GetModel(), answer)
	if err != nil {
		return nil, err
	}
	if len(answer.GetDifferences()) > 0 && !req.Msg.GetAcceptDifferences() && !req.Msg.GetDryRun() {
		return nil, fault.Invalid("By the model %s rights would differ, or may: %s. Nothing was changed; look at all of it with a dry run, and accept the differences if they are meant.",
			req.Msg.GetModel(), strings.Join(answer.GetDifferences()[:min(3, len(answer.GetDifferences()))], "; "))
	}
	if req.Msg.GetDryRun() {
		return connect.NewResponse(answer), nil
	}
	if err := h.pin(ctx, tenant, candidate, now, answer.GetDifferences()); err != nil {
		return nil, err
	}
	return connect.NewResponse(answer), nil
}

// tried opens a tenant's store by another model and says whose rights that would change, and whose may because the model in use does not answer.
func (h *Handler) tried(ctx context.Context, state tenants.Snapshot, model string, answer *authzv1.UseModelResponse) (*openfga.Store, error) {
	candidate, err := state.Store.With(ctx, model)
	if err != nil {
		return nil, err
	}
	compared, differences, err := entitlement.Compare(ctx, state, candidate, mostCompared, h.Now())
	if err != nil {
		return nil, err
	}
	answer.Compared, answer.Differences = int32(compared), differences[:min(mostTold, len(differences))]
	return candidate, nil
}

// Abandoned records, as an alert, that a pinned model cannot be used and the program's own is.
func (h *Handler) Abandoned(tenant, pinned, own string) error {
	return h.append(&eventsv1.Event{
		Action: record.RelationsModel, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Time: timestamppb.New(h.Now()), Tenant: tenant,
		Principal: record.Service("authz"), Alert: true,
		Change: &eventsv1.Change{Kind: "RelationsModel", Name: tenant, Action: "abandoned", OldHash: pinned, NewHash: own},
	})
}

// pin records the choice and what was accepted with it, keeps it for every process and puts it in use here. What is in use already stays in use if that fails.
func (h *Handler) pin(ctx context.Context, tenant string, to *openfga.Store, from string, accepted []string) error {
	by := rpc.CallerFrom(ctx)
	pins, err := h.Pins.All(ctx)
	if err != nil {
		return err
	}
	before, chosen := pins[tenant]
	if err := h.pinned(ctx, tenant, eventsv1.Outcome_OUTCOME_SUCCESS, &eventsv1.Change{Action: "pinned", OldHash: from, NewHash: to.Model()}, accepted...); err != nil {
		return err
	}
	undone := &eventsv1.Change{Action: "undone", OldHash: to.Model(), NewHash: from}
	if err := h.Pins.Set(ctx, tenant, upkeep.Pin{Model: to.Model(), Previous: from}, by.Author(tenant)); err != nil {
		return errors.Join(err, h.pinned(ctx, tenant, eventsv1.Outcome_OUTCOME_FAILURE, undone))
	}
	if err := h.Tenants.Use(ctx, tenant, to); err != nil {
		if !chosen {
			before = upkeep.Pin{Model: from}
		}
		if again := h.Pins.Set(context.WithoutCancel(ctx), tenant, before, by.Author(tenant)); again != nil {
			return fault.From(again)
		}
		return errors.Join(err, h.pinned(ctx, tenant, eventsv1.Outcome_OUTCOME_FAILURE, undone))
	}
	return nil
}

// pinned records what became of a choice.
func (h *Handler) pinned(ctx context.Context, tenant string, outcome eventsv1.Outcome, change *eventsv1.Change, accepted ...string) error {
	change.Kind, change.Name = "RelationsModel", tenant
	ev := &eventsv1.Event{
		Action: record.RelationsModel, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: outcome, Time: timestamppb.New(h.Now()), Tenant: tenant, Change: change,
	}
	if len(accepted) > 0 {
		ev.Findings = &eventsv1.Findings{Notes: accepted[:min(mostRecorded, len(accepted))]}
	}
	return h.append(rpc.By(ctx).Sign(ev))
}
