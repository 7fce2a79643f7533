package rpc

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/services/audit/internal/retention"
)

// AddHold begins a legal hold.
func (h *Handler) AddHold(ctx context.Context, in *connect.Request[auditv1.AddHoldRequest]) (*connect.Response[auditv1.AddHoldResponse], error) {
	tenant, reason, err := reasoned(ctx, in.Msg)
	if err != nil {
		return nil, err
	}
	of := in.Msg.GetSubject()
	what, err := h.held(ctx, tenant, of)
	if err != nil {
		return nil, err
	}
	made, err := h.Retention.Add(ctx, retention.Hold{Tenant: tenant, Kind: of.GetKind(), Name: of.GetName(), Reason: reason, By: rpc.CallerFrom(ctx).Person.GetName()})
	if err != nil {
		return nil, err
	}
	change := &eventsv1.Change{Kind: "legal-hold", Name: made.ID, Action: "add", Reason: reason}
	if err := h.did(ctx, "audit-hold", tenant, change, "a legal hold of "+what+" is made; until it is released nothing of that is dropped or erased"); err != nil {
		return nil, err // it holds all the same: a hold too many loses nothing
	}
	return connect.NewResponse(&auditv1.AddHoldResponse{Hold: hold(made)}), nil
}

// held says for the record what a hold is of: all of the tenant, or a subject by its keys, as the record names it.
func (h *Handler) held(ctx context.Context, tenant string, of *auditv1.Subject) (string, error) {
	if of == nil {
		return "all of the tenant " + tenant, nil
	}
	ids, err := h.Keys.IDs(ctx, tenant, of.GetKind(), of.GetName())
	switch {
	case err != nil:
		return "", err
	case len(ids) == 0:
		return "one " + named(of) + " (without a key so far)", nil
	default:
		return "one " + named(of) + " (keys " + strings.Join(ids, " ") + ")", nil
	}
}

// ListHolds shows those that hold.
func (h *Handler) ListHolds(ctx context.Context, in *connect.Request[auditv1.ListHoldsRequest]) (*connect.Response[auditv1.ListHoldsResponse], error) {
	tenant, err := rpc.Tenant(ctx, in.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	all, err := h.Retention.Holds(ctx, tenant)
	if err != nil {
		return nil, err
	}
	out := &auditv1.ListHoldsResponse{}
	for _, one := range all {
		out.Holds = append(out.Holds, hold(one))
	}
	return connect.NewResponse(out), nil
}

func hold(h retention.Hold) *auditv1.Hold {
	out := &auditv1.Hold{Id: h.ID, Tenant: h.Tenant, Reason: h.Reason, By: h.By, At: timestamppb.New(h.At)}
	if h.Kind != "" {
		out.Subject = &auditv1.Subject{Kind: h.Kind, Name: h.Name}
	}
	return out
}

// ReleaseHold ends one. It is recorded before it ends, and that it ended.
func (h *Handler) ReleaseHold(ctx context.Context, in *connect.Request[auditv1.ReleaseHoldRequest]) (*connect.Response[auditv1.ReleaseHoldResponse], error) {
	tenant, reason, err := reasoned(ctx, in.Msg)
	if err != nil {
		return nil, err
	}
	held, err := h.Retention.Hold(ctx, tenant, in.Msg.GetId())
	if err != nil {
		return nil, err
	}
	what, err := h.held(ctx, tenant, hold(held).GetSubject())
	if err != nil {
		return nil, err
	}
	change := &eventsv1.Change{Kind: "legal-hold", Name: held.ID, Action: "release", Reason: reason}
	if err := h.keep(ctx, begun("audit-hold", tenant, change, "a legal hold of "+what+" is about to be released")); err != nil {
		return nil, err
	}
	failed := h.Retention.Release(ctx, tenant, held.ID, rpc.CallerFrom(ctx).Person.GetName())
	if err := h.keep(ctx, ended("audit-hold", tenant, change, "a legal hold of "+what+" is released", failed)); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return connect.NewResponse(&auditv1.ReleaseHoldResponse{}), nil
}

// GetRetention tells how long records are kept.
func (h *Handler) GetRetention(ctx context.Context, in *connect.Request[auditv1.GetRetentionRequest]) (*connect.Response[auditv1.GetRetentionResponse], error) {
	tenant, err := rpc.Tenant(ctx, in.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	rule, err := h.Retention.Rule(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&auditv1.GetRetentionResponse{Retention: kept(tenant, rule)}), nil
}

// SetRetention changes how long. It is recorded before, with what held until then.
func (h *Handler) SetRetention(ctx context.Context, in *connect.Request[auditv1.SetRetentionRequest]) (*connect.Response[auditv1.SetRetentionResponse], error) {
	tenant, err := rpc.Tenant(ctx, in.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	caller := rpc.CallerFrom(ctx)
	wanted := retention.Change{
		Add: in.Msg.GetClasses(), Drop: in.Msg.GetDropClasses(), Days: int(in.Msg.GetDays()), By: caller.Person.GetName(), Operator: caller.Has(optionsv1.Role_ROLE_PLATFORM),
		Reason: strings.TrimSpace(in.Msg.GetReason()),
	}
	rule, err := h.Retention.Set(ctx, tenant, wanted, func(before, next retention.Rule) error {
		ev := did("audit-retention", tenant, &eventsv1.Change{Kind: "retention", Name: tenant, Action: "set", Reason: changed(before, next, wanted)}, "how long records are kept is changed")
		ev.Alert = wanted.Operator && before.Lowers(next)
		return h.keep(ctx, ev)
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&auditv1.SetRetentionResponse{Retention: kept(tenant, rule)}), nil
}

// changed says in words what held, what holds from now on, what was taken away, and why.
func changed(before, next retention.Rule, c retention.Change) string {
	text := said(before) + " until now; " + said(next) + " from now on"
	if len(c.Drop) > 0 {
		text += "; taken away: " + strings.Join(c.Drop, ", ")
	}
	if c.Reason != "" {
		text += "; because: " + c.Reason
	}
	return text
}

func said(r retention.Rule) string {
	return fmt.Sprintf("%s; %d days", strings.Join(r.Classes, ", "), r.Days)
}

func kept(tenant string, r retention.Rule) *auditv1.Retention {
	floor, class := r.Floor()
	return &auditv1.Retention{Tenant: tenant, Classes: r.Classes, Days: int32(min(r.Days, 1<<30)), Floor: int32(min(floor, 1<<30)), Rule: class.Rule}
}

// RotateKey replaces a key of the service. It is recorded before.
func (h *Handler) RotateKey(ctx context.Context, in *connect.Request[auditv1.RotateKeyRequest]) (*connect.Response[auditv1.RotateKeyResponse], error) {
	sealing := in.Msg.GetKind() == auditv1.KeyKind_KEY_KIND_SEALING
	change := &eventsv1.Change{Kind: "signing-key", Name: h.Ledger.Signer().Name(), Action: "rotate"}
	if sealing {
		change.Kind, change.Name = "wrapping-key", "custody"
	}
	if err := h.did(ctx, "audit-key-rotated", record.SystemTenant, change, "a key of the audit service is replaced"); err != nil {
		return nil, err
	}
	if sealing {
		n, err := h.Keys.Rotate(ctx)
		return connect.NewResponse(&auditv1.RotateKeyResponse{Wrapped: int32(min(n, 1<<30))}), err
	}
	if err := h.Ledger.Sign(); err != nil { // what is there, with the old key
		return nil, err
	}
	if err := h.Ledger.Rotate(); err != nil {
		return nil, err
	}
	public, _ := h.Ledger.PublicKey()
	return connect.NewResponse(&auditv1.RotateKeyResponse{PublicKey: public}), nil
}
