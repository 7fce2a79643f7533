package rpc

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/rpc"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/export"
)

// review is a report on who had which right at an instant, from the ledger as it was last signed.
func (h *Handler) review(ctx context.Context, f base.Filter, r *auditv1.ReportRequest, stream *connect.ServerStream[auditv1.ReportResponse]) error {
	asOf := r.GetAsOf().AsTime()
	if err := h.reviewable(ctx, f, r); err != nil {
		return err
	}
	if err := h.note(ctx, "audit-report", f, "report access as of "+asOf.Format(time.RFC3339Nano)); err != nil {
		return err
	}
	if err := h.Ledger.Sign(); err != nil {
		return err
	}
	at, _ := h.Ledger.Signed()
	view, err := h.Ledger.View(at.Size)
	if err != nil {
		return err
	}
	var found export.Review
	err = export.Plain(ctx, view, base.Filter{Tenant: f.Tenant, Until: asOf}, 0, at.Size, func(_ int64, ev *eventsv1.Event) error {
		found.Add(ev)
		return nil
	})
	if err != nil {
		return err
	}
	held, unsure := found.Rights(asOf, f.Person)
	if h.Now().Sub(asOf) < settle {
		unsure = append(unsure, "Records of the last minutes before this instant may have been on their way to the log when this was made. Make it again in five minutes.")
	}
	cover := export.Cover{
		Report: export.AccessAsOf(), Filter: f, Made: h.Now(), By: rpc.CallerFrom(ctx).Person.GetName(), Origin: at.Origin, Size: at.Size, Checkpoint: at.Note,
		AsOf: asOf, First: found.Since(), Unsure: unsure,
	}
	out := &parcels{send: func(part []byte, _ int64) error { return stream.Send(&auditv1.ReportResponse{Part: part}) }}
	if err := list(cover, layout(r), held, out.add); err != nil {
		return err
	}
	return out.flush()
}

// reviewable refuses what a review cannot answer.
func (h *Handler) reviewable(ctx context.Context, f base.Filter, r *auditv1.ReportRequest) error {
	rest := f
	rest.Tenant, rest.Person = "", ""
	switch {
	case !reads(rpc.CallerFrom(ctx)):
		return fault.New(faultv1.Reason_REASON_ROLE_REQUIRED, "Who had which right is for those who may read all records of the tenant. Ask for the role auditor, security or admin.")
	case r.GetKind() != auditv1.ReportKind_REPORT_KIND_ACCESS:
		return fault.Invalid("asOf: only a report on access is as of an instant")
	case r.GetSubject() != nil || rest != base.Filter{}:
		return fault.Invalid("filter: a report on access as of an instant is narrowed by the person alone")
	case f.Tenant == "":
		return fault.Invalid("tenant: who had which right is told of one tenant: name it")
	case r.GetAsOf().AsTime().After(h.Now()):
		return fault.Invalid("asOf: has not come yet; take an instant until now. A day ends at midnight UTC")
	default:
		return nil
	}
}

// list writes a review.
func list(c export.Cover, layout export.Layout, held []export.Held, emit export.Emit) error {
	put := putting(emit)
	if err := put(layout.Head(c)); err != nil {
		return err
	}
	for _, one := range held {
		if err := put(layout.Right(one)); err != nil {
			return err
		}
	}
	return put(layout.End(c, export.Count{Records: int64(len(held))}))
}
