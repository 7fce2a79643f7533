package rpc

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/rpc"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/export"
	"headgate.dev/services/audit/internal/index"
)

// beat is how long a tail may say nothing.
const beat = 15 * time.Second

// tailBatch is how many records one message of a tail carries.
const tailBatch = 500

// Prove shows that a record is in the ledger. One that the caller may not read is as one that is not there.
func (h *Handler) Prove(ctx context.Context, in *connect.Request[auditv1.ProveRequest]) (*connect.Response[auditv1.ProveResponse], error) {
	rpc.Note(ctx, fmt.Sprintf("of event %q", in.Msg.GetEventId()))
	ev, err := h.find(ctx, in.Msg.GetTenant(), in.Msg.GetEventId())
	if err != nil {
		return nil, err
	}
	if err := h.Ledger.Sign(); err != nil {
		return nil, err
	}
	at, _ := h.Ledger.Signed()
	view, err := h.Ledger.View(at.Size)
	if err != nil {
		return nil, err
	}
	place, err := view.Find(ev.GetWriter(), ev.GetSequence())
	if err != nil || place < 0 {
		return nil, fault.NotFound("The index has event %s and the ledger does not: it was added to the index alone. Tell the platform's operators.", ev.GetId()).Because(err)
	}
	data, err := view.Record(place)
	if err != nil {
		return nil, err
	}
	head, kept, err := base.HeadOf(data)
	if err != nil {
		return nil, err
	}
	if kept.GetId() != ev.GetId() {
		return nil, fault.NotFound("The index has event %s and the ledger has another record in its place: the index was changed. Tell the platform's operators.", ev.GetId())
	}
	proof, err := view.Prove(place)
	if err != nil {
		return nil, err
	}
	_, handovers := h.Ledger.PublicKey()
	line, err := base.ProofLine(place, head, kept, data, proof, at.Note, handovers)
	if err != nil {
		return nil, err
	}
	read := base.Filter{Text: ev.GetId()}
	if err := h.across(ctx, read, "proof of %d", []*eventsv1.Event{ev}); err != nil {
		return nil, err
	}
	return connect.NewResponse(&auditv1.ProveResponse{Proof: line}), nil
}

// find is the event of that id, if the caller may read it.
func (h *Handler) find(ctx context.Context, tenant, id string) (*eventsv1.Event, error) {
	tenant, err := rpc.TenantFilter(ctx, tenant)
	if err != nil {
		return nil, err
	}
	mine, err := narrow(rpc.CallerFrom(ctx), base.Filter{Tenant: tenant, Text: id, Since: time.Unix(0, 0), Until: h.Now().Add(defaultSince)})
	if err != nil {
		return nil, err
	}
	q := index.Query{Filter: mine, Started: true, Limit: defaultPage}
	for {
		page, err := h.Index.Search(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, ev := range page.Events {
			if ev.GetId() == id {
				return ev, nil
			}
		}
		if q.After = page.Next; page.Next == "" {
			return nil, fault.NotFound("No event %s is among the records that you may read. Take the id from `headgate audit search`, field event.id.", id)
		}
	}
}

// GetLog tells how the ledger is signed.
func (h *Handler) GetLog(context.Context, *connect.Request[auditv1.GetLogRequest]) (*connect.Response[auditv1.GetLogResponse], error) {
	public, handovers := h.Ledger.PublicKey()
	out := &auditv1.GetLogResponse{Origin: h.Ledger.Signer().Name(), PublicKey: public, Handovers: handovers}
	if at, ok := h.Ledger.Signed(); ok {
		out.Checkpoint = at.Note
	}
	return connect.NewResponse(out), nil
}

// Tail sends what reaches the ledger from now on.
func (h *Handler) Tail(ctx context.Context, in *connect.Request[auditv1.TailRequest], stream *connect.ServerStream[auditv1.TailResponse]) error {
	f, err := h.filter(ctx, in.Msg.GetTenant(), in.Msg.GetFilter())
	if err != nil {
		return err
	}
	if err := h.note(ctx, "audit-tail", f, "tail"); err != nil {
		return err
	}
	given := h.given(ctx, "audit-tail", f, "tail")
	at, err := h.since(f.Since)
	if err != nil {
		return err
	}
	if err := stream.Send(&auditv1.TailResponse{AllTenants: f.Tenant == ""}); err != nil { // so that the reader knows from when on
		return err
	}
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if err := stream.Send(&auditv1.TailResponse{}); err != nil {
				return err
			}
		case <-h.Ledger.Grown(at):
			if at, err = h.follow(ctx, f, at, given, stream.Send); err != nil {
				return err
			}
		}
	}
}

// since is where a tail begins: with the records since an instant, or behind the last one when there is no instant.
func (h *Handler) since(instant time.Time) (int64, error) {
	size := h.Ledger.Size()
	if instant.IsZero() {
		return size, nil
	}
	view, err := h.Ledger.View(size)
	if err != nil {
		return 0, err
	}
	return view.Since(instant)
}

// follow sends the records from an index on, and returns how far it came.
func (h *Handler) follow(ctx context.Context, f base.Filter, at int64, given taker, send func(*auditv1.TailResponse) error) (int64, error) {
	view, err := h.Ledger.View(h.Ledger.Size())
	if err != nil {
		return at, err
	}
	out := &auditv1.TailResponse{}
	err = export.Plain(ctx, view, f, at, view.Size, func(_ int64, ev *eventsv1.Event) error {
		if err := given(ev); err != nil {
			return err
		}
		out.Events = append(out.Events, ev)
		if len(out.GetEvents()) < tailBatch {
			return nil
		}
		full := out
		out = &auditv1.TailResponse{}
		return send(full)
	})
	if err == nil && len(out.GetEvents()) > 0 {
		err = send(out)
	}
	return view.Size, err
}
