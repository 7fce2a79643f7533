package rpc

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/export"
)

const (
	// settle is how long a record may be on its way before a verifier calls it missing.
	settle = 5 * time.Minute
	// parcel is about how many bytes of lines one message carries.
	parcel = 64 << 10
)

// Export hands out what the ledger has. That it was asked for is recorded, with its filter, before the first line leaves.
func (h *Handler) Export(ctx context.Context, in *connect.Request[auditv1.ExportRequest], stream *connect.ServerStream[auditv1.ExportResponse]) error {
	r := in.Msg
	f, err := h.filter(ctx, r.GetTenant(), r.GetFilter())
	if err != nil {
		return err
	}
	if len(r.GetBegan()) > 0 && !maps.Equal(r.GetBegan(), f.Map()) {
		return fault.New(faultv1.Reason_REASON_CONFLICT, "The export was begun by who might read other records than you may now, so it cannot be continued. Remove it to make the export anew.")
	}
	form := strings.ToLower(strings.TrimPrefix(r.GetFormat().String(), "FORMAT_"))
	if err := h.note(ctx, "audit-export", f, form); err != nil {
		return err
	}
	given := h.given(ctx, "audit-export", f, form)
	if r.GetFormat() != auditv1.Format_FORMAT_JSONL {
		return h.plain(ctx, f, r, given, stream.Send)
	}
	out := &parcels{send: func(lines []byte, _ int64) error { return stream.Send(&auditv1.ExportResponse{Lines: lines}) }}
	if err := h.proved(ctx, f, r.GetSize(), r.GetNextIndex(), given, out.add); err != nil {
		return err
	}
	return out.flush()
}

// filter is what the caller asks for with what they may not see taken out. What they ask for is noted, also where it is refused.
func (h *Handler) filter(ctx context.Context, tenant string, f *auditv1.Filter) (base.Filter, error) {
	out := base.Filter{
		Tenant: tenant, Person: f.GetPerson(), Agent: f.GetAgent(), Server: f.GetServer(), Tool: f.GetTool(), Effect: f.GetEffect(), Action: f.GetAction(),
		Text: strings.TrimSpace(f.GetText()), Outcome: f.GetOutcome(), Rule: f.GetRule(), Code: f.GetCode(), Call: f.GetCallId(), Trace: f.GetTraceId(),
	}
	if f.GetSince() != nil {
		out.Since = f.GetSince().AsTime()
	}
	if f.GetUntil() != nil {
		out.Until = f.GetUntil().AsTime()
	}
	rpc.Note(ctx, described(out))
	var err error
	if out.Tenant, err = rpc.TenantFilter(ctx, tenant); err != nil {
		return base.Filter{}, err
	}
	if f.GetSince() != nil && f.GetUntil() != nil && !out.Since.Before(out.Until) {
		return base.Filter{}, fault.Invalid("since: must be before until")
	}
	if out.Text != "" && len(record.Phrases(out.Text)) == 0 {
		return base.Filter{}, fault.Invalid("text: has no letter or number to search for")
	}
	return narrow(rpc.CallerFrom(ctx), out)
}

// note records that the caller reads the record, and which part of it.
func (h *Handler) note(ctx context.Context, action string, f base.Filter, form string) error {
	tenant := f.Tenant
	if tenant == "" {
		tenant = rpc.CallerFrom(ctx).Person.GetTenant()
	}
	return h.Journal.Append(rpc.By(ctx).Sign(&eventsv1.Event{
		Action: action, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Tenant: tenant,
		Decision: &eventsv1.Decision{Effect: record.Allow, Stage: "access", Sentence: strings.TrimSpace(form + " " + described(f))},
	}), journal.Spool)
}

// taker is told of each record that is given out, before it leaves.
type taker = func(ev *eventsv1.Event) error

// given records a reading of the records of all tenants in each tenant whose records are given out, once: who may read that tenant's record finds who else did.
func (h *Handler) given(ctx context.Context, action string, f base.Filter, form string) taker {
	if f.Tenant != "" {
		return func(*eventsv1.Event) error { return nil }
	}
	told := map[string]bool{"": true, rpc.CallerFrom(ctx).Person.GetTenant(): true}
	return func(ev *eventsv1.Event) error {
		if told[ev.GetTenant()] {
			return nil
		}
		told[ev.GetTenant()] = true
		one := f
		one.Tenant = ev.GetTenant()
		return h.note(ctx, action, one, form)
	}
}

// across records that one answer has records of other tenants than the caller's, in each of them, with how many. The caller's own tenant has the record of the call.
// What says no more than that the caller read is not counted: else each look over all tenants would leave more to look at.
func (h *Handler) across(ctx context.Context, f base.Filter, form string, events []*eventsv1.Event) error {
	caller := rpc.CallerFrom(ctx).Person
	counts := map[string]int{}
	for _, ev := range events {
		if ev.GetAction() != record.AuditRead || ev.GetPrincipal().GetTenant() != caller.GetTenant() || ev.GetPrincipal().GetPerson() != caller.GetName() {
			counts[ev.GetTenant()]++
		}
	}
	delete(counts, "")
	delete(counts, caller.GetTenant())
	for _, tenant := range slices.Sorted(maps.Keys(counts)) {
		one := f
		one.Tenant = tenant
		if err := h.note(ctx, record.AuditRead, one, fmt.Sprintf(form, counts[tenant])); err != nil {
			return err
		}
	}
	return nil
}

// described says which records a filter is for.
func described(f base.Filter) string {
	parts := []string{}
	narrowed := f.Map()
	for _, name := range slices.Sorted(maps.Keys(narrowed)) {
		parts = append(parts, fmt.Sprintf("%s=%q", name, narrowed[name]))
	}
	return "of the records where " + strings.Join(parts, ", ")
}

// proved writes an export with proofs of the log as it was last signed, or of the size that an earlier one had.
func (h *Handler) proved(ctx context.Context, f base.Filter, size, next int64, given taker, emit export.Emit) error {
	if err := h.Ledger.Sign(); err != nil {
		return err
	}
	at, ok := h.Ledger.Signed()
	if size > 0 {
		at, ok = h.Ledger.At(size)
	}
	switch {
	case !ok && size > 0:
		return fault.Invalid("size: the ledger was never signed at %d records; begin the export anew", size)
	case next > size:
		return fault.Invalid("nextIndex: must not be beyond the size of the export that is continued")
	}
	view, err := h.Ledger.View(at.Size)
	if err != nil {
		return err
	}
	_, handovers := h.Ledger.PublicKey()
	return export.Proved{
		View: view, Filter: f, Checkpoint: at.Note, Handovers: handovers, Signer: h.Ledger.Signer(), Next: next, Given: given,
		Statement: base.Statement{Origin: at.Origin, Size: at.Size, Settled: h.Ledger.Settled(at.At.Add(-settle)), Made: h.Now().UTC(), By: rpc.CallerFrom(ctx).Person.GetName()},
	}.Write(ctx, emit)
}

// plain writes an export without proofs: of the ledger as it is, or as it was when what is continued began.
func (h *Handler) plain(ctx context.Context, f base.Filter, r *auditv1.ExportRequest, given taker, send func(*auditv1.ExportResponse) error) error {
	form, known := map[auditv1.Format]export.Format{
		auditv1.Format_FORMAT_CSV: export.CSV(), auditv1.Format_FORMAT_OCSF: export.OCSF(), auditv1.Format_FORMAT_CEF: export.CEF(),
	}[r.GetFormat()]
	size, next := h.Ledger.Size(), r.GetNextIndex()
	if r.GetSize() > 0 {
		size = r.GetSize()
	}
	switch {
	case !known:
		return fault.Invalid("format: must be jsonl, csv, ocsf or cef")
	case size > h.Ledger.Size():
		return fault.Invalid("size: the ledger has no %d records; begin the export anew", size)
	case next > r.GetSize():
		return fault.Invalid("nextIndex: must not be beyond the size of the export that is continued")
	}
	view, err := h.Ledger.View(size)
	if err != nil {
		return err
	}
	out := &parcels{send: func(lines []byte, next int64) error {
		return send(&auditv1.ExportResponse{Lines: lines, Size: size, NextIndex: next})
	}}
	if form.Head != nil && next == 0 {
		head, err := form.Head()
		if err != nil {
			return err
		}
		out.some = head
	}
	err = export.Plain(ctx, view, f, next, size, func(index int64, ev *eventsv1.Event) error {
		if err := given(ev); err != nil {
			return err
		}
		text, err := form.Line(ev)
		if err != nil {
			return err
		}
		out.next = index + 1
		return out.add(text)
	})
	if err != nil {
		return err
	}
	return out.flush()
}

// parcels gathers lines into messages. Next is the index that follows the last record among them, where somebody sets it.
type parcels struct {
	send func(lines []byte, next int64) error
	some []byte
	next int64
}

func (p *parcels) add(lines []byte) error {
	p.some = append(p.some, lines...)
	if len(p.some) < parcel {
		return nil
	}
	return p.flush()
}

func (p *parcels) flush() error {
	if len(p.some) == 0 {
		return nil
	}
	lines := bytes.Clone(p.some)
	p.some = p.some[:0]
	return p.send(lines, p.next)
}
