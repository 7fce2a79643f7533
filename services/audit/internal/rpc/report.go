package rpc

import (
	"context"
	"strings"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/export"
)

// Report answers one question of a regulation from the ledger as it was last signed.
func (h *Handler) Report(ctx context.Context, in *connect.Request[auditv1.ReportRequest], stream *connect.ServerStream[auditv1.ReportResponse]) error {
	r := in.Msg
	f, err := h.filter(ctx, r.GetTenant(), r.GetFilter())
	if err != nil {
		return err
	}
	if r.GetAsOf() != nil {
		return h.review(ctx, f, r, stream)
	}
	report, known := reports()[r.GetKind()]
	switch {
	case !known:
		return fault.Invalid("kind: must be person, record, approvals, denied, policies or access")
	case r.GetKind() == auditv1.ReportKind_REPORT_KIND_PERSON && f.Person == "":
		return fault.Invalid("filter.person: a report on a person names the person")
	case r.GetKind() == auditv1.ReportKind_REPORT_KIND_RECORD && f.Text == "" && r.GetSubject() == nil:
		return fault.Invalid("filter.text: a report on a record names the record, as its id stands in calls, or the subject that its calls are about")
	case r.GetKind() != auditv1.ReportKind_REPORT_KIND_RECORD && r.GetSubject() != nil:
		return fault.Invalid("subject: only a report on a record is about a subject")
	}
	keys, err := h.about(ctx, f.Tenant, r.GetSubject())
	if err != nil {
		return err
	}
	words := "report " + strings.ToLower(report.Title)
	if r.GetSubject() != nil {
		report, words = report.About(r.GetSubject().GetKind()+" "+r.GetSubject().GetName(), keys), words+", of a subject"
		if reads(rpc.CallerFrom(ctx)) { // by its keys, not its name: what is recorded stays when the subject is erased. Who reads their own alone would learn whether there are any
			words = strings.TrimSpace(words + " by its keys " + strings.Join(keys, " "))
		}
	}
	if err := h.note(ctx, "audit-report", f, words); err != nil {
		return err
	}
	if err := h.Ledger.Sign(); err != nil {
		return err
	}
	at, _ := h.Ledger.Signed()
	cover := export.Cover{Report: report, Filter: f, Made: h.Now(), By: rpc.CallerFrom(ctx).Person.GetName(), Origin: at.Origin, Size: at.Size, Checkpoint: at.Note}
	out := &parcels{send: func(part []byte, _ int64) error { return stream.Send(&auditv1.ReportResponse{Part: part}) }}
	if err := h.render(ctx, cover, layout(r), h.given(ctx, "audit-report", f, words), out.add); err != nil {
		return err
	}
	return out.flush()
}

// about are the ids of the keys of whom a report is about.
func (h *Handler) about(ctx context.Context, tenant string, of *auditv1.Subject) ([]string, error) {
	switch {
	case of == nil:
		return nil, nil
	case tenant == "":
		return nil, fault.Invalid("tenant: whom a report is about is known in one tenant: name it")
	}
	return h.Keys.IDs(ctx, tenant, of.GetKind(), of.GetName())
}

func reports() map[auditv1.ReportKind]export.Report {
	return map[auditv1.ReportKind]export.Report{
		auditv1.ReportKind_REPORT_KIND_PERSON: export.ByPerson(), auditv1.ReportKind_REPORT_KIND_RECORD: export.ByRecord(), auditv1.ReportKind_REPORT_KIND_APPROVALS: export.Approvals(),
		auditv1.ReportKind_REPORT_KIND_DENIED: export.Denied(), auditv1.ReportKind_REPORT_KIND_POLICIES: export.Policies(), auditv1.ReportKind_REPORT_KIND_ACCESS: export.Access(),
	}
}

func layout(r *auditv1.ReportRequest) export.Layout {
	if r.GetTable() {
		return export.Table()
	}
	return export.Page()
}

// putting emits what was made without an error.
func putting(emit export.Emit) func(text []byte, err error) error {
	return func(text []byte, err error) error {
		if err != nil {
			return err
		}
		return emit(text)
	}
}

// render writes a report as it reads.
func (h *Handler) render(ctx context.Context, c export.Cover, layout export.Layout, given taker, emit export.Emit) error {
	put := putting(emit)
	if err := put(layout.Head(c)); err != nil {
		return err
	}
	view, err := h.Ledger.View(c.Size)
	if err != nil {
		return err
	}
	var count export.Count
	err = export.Plain(ctx, view, c.Filter, 0, c.Size, func(_ int64, ev *eventsv1.Event) error {
		if ev.GetPhase() == eventsv1.Phase_PHASE_STARTED || !c.Report.Wants(ev) {
			return nil
		}
		if err := given(ev); err != nil {
			return err
		}
		count.Add(ev)
		return put(layout.Line(ev))
	})
	if err != nil {
		return err
	}
	return put(layout.End(c, count))
}
