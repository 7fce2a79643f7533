package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sealed"
	"headgate.dev/libs/sqlstore"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/custody"
	"headgate.dev/services/audit/internal/retention"
)

// kindPerson is the kind of subjects that are people of the directory.
const kindPerson = "person"

// Keys are the private keys of sealed records.
type Keys interface {
	// IDs are the ids of all keys that the subject ever had, also of those that were erased.
	IDs(ctx context.Context, tenant, kind, name string) ([]string, error)
	// Key answers a subject's key, and makes it where there is none.
	Key(ctx context.Context, tenant, kind, name string) (custody.Key, error)
	// Open opens a sealed document. It returns fault.NotFound for one whose key was erased.
	Open(ctx context.Context, b sealed.Binding, box []byte) ([]byte, error)
	// Erase deletes a subject's keys for good and answers their ids; none when there are none. First is done in the same transaction; nothing is deleted when it fails.
	Erase(ctx context.Context, tenant, kind, name string, first func(*sqlstore.Tx) error) ([]string, error)
	// Rotate wraps all keys with a new one and answers how many they are.
	Rotate(ctx context.Context) (int, error)
}

// SubjectKey answers what edges seal with.
func (h *Handler) SubjectKey(ctx context.Context, in *connect.Request[auditv1.SubjectKeyRequest]) (*connect.Response[auditv1.SubjectKeyResponse], error) {
	of := in.Msg.GetSubject()
	key, err := h.Keys.Key(ctx, in.Msg.GetTenant(), of.GetKind(), of.GetName())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&auditv1.SubjectKeyResponse{Id: key.ID, PublicKey: key.Public}), nil
}

// Reveal opens the copies that a record holds. It is recorded before anything is answered, also when they do not open.
func (h *Handler) Reveal(ctx context.Context, in *connect.Request[auditv1.RevealRequest]) (*connect.Response[auditv1.RevealResponse], error) {
	reason, err := why(in.Msg.GetReason())
	if err != nil {
		return nil, err
	}
	ev, err := h.find(ctx, in.Msg.GetTenant(), in.Msg.GetEventId())
	if err != nil {
		return nil, err
	}
	if !copied(ev.GetArguments()) && !copied(ev.GetResult()) {
		return nil, fault.NotFound("The record %s holds keyed hashes alone, no copy that could be opened. The spec.record of its server or tenant says what is copied from now on.", ev.GetId())
	}
	var out auditv1.RevealResponse
	var failed error
	if out.Arguments, failed = h.opened(ctx, ev, sealed.Arguments, ev.GetArguments()); failed == nil {
		out.Result, failed = h.opened(ctx, ev, sealed.Result, ev.GetResult())
	}
	change := &eventsv1.Change{Kind: "record", Name: ev.GetId(), Action: "reveal", Reason: reason}
	if err := h.keep(ctx, ended("audit-reveal", ev.GetTenant(), change, "the sealed copies of a record were opened", failed)); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return connect.NewResponse(&out), nil
}

func copied(p *eventsv1.Payload) bool { return p.GetDocument() != "" || p.GetSealed() != nil }

func (h *Handler) opened(ctx context.Context, ev *eventsv1.Event, part sealed.Part, p *eventsv1.Payload) ([]byte, error) {
	if p.GetSealed() == nil {
		return []byte(p.GetDocument()), nil
	}
	return h.Keys.Open(ctx, sealed.Binding{Tenant: ev.GetTenant(), Key: p.GetSealed().GetKey(), Call: ev.GetCallId(), Part: part}, p.GetSealed().GetBox())
}

// Erase deletes a subject's keys. It is recorded before it happens, and what became of it; by the key's id where the subject's name is nobody's in the directory: the
// record stays.
func (h *Handler) Erase(ctx context.Context, in *connect.Request[auditv1.EraseRequest]) (*connect.Response[auditv1.EraseResponse], error) {
	tenant, reason, err := reasoned(ctx, in.Msg)
	if err != nil {
		return nil, err
	}
	of, e := in.Msg.GetSubject(), erasure{h: h, tenant: tenant, reason: reason}
	began := false
	gone, failed := h.Keys.Erase(ctx, tenant, of.GetKind(), of.GetName(), func(tx *sqlstore.Tx) error {
		if err := h.Retention.MayErase(ctx, tx, tenant, of.GetKind(), of.GetName()); err != nil {
			return err
		}
		err := h.keep(ctx, begun("audit-erase", tenant, e.change(named(of), "erase"), "the keys of a subject's sealed records are about to be erased"))
		began = err == nil
		return err
	})
	for _, id := range gone { // also where the database's files still hold what they were: nothing opens with them
		if err := e.ended(ctx, id, "erased", "the key is gone: what was sealed with it cannot be read any more", nil); err != nil {
			return nil, err
		}
	}
	if failed != nil {
		if began && len(gone) == 0 {
			failed = errors.Join(failed, e.ended(ctx, named(of), "erase", "", failed))
		}
		return nil, failed
	}
	all, err := h.Keys.IDs(ctx, tenant, of.GetKind(), of.GetName())
	if err != nil {
		return nil, err
	}
	if err := e.nothing(ctx, named(of), len(gone), len(all)); err != nil {
		return nil, err
	}
	return connect.NewResponse(&auditv1.EraseResponse{Keys: int32(min(len(gone), 1<<30)), Earlier: int32(min(max(0, len(all)-len(gone)), 1<<30))}), nil
}

// erasure records what becomes of one.
type erasure struct {
	h              *Handler
	tenant, reason string
}

func (e erasure) change(name, action string) *eventsv1.Change {
	return &eventsv1.Change{Kind: "sealing-key", Name: name, Action: action, Reason: e.reason}
}

func (e erasure) ended(ctx context.Context, name, action, sentence string, failed error) error {
	return e.h.keep(ctx, ended("audit-erase", e.tenant, e.change(name, action), sentence, failed))
}

// nothing records that no key went, where none did, of all that the subject ever had.
func (e erasure) nothing(ctx context.Context, name string, gone, all int) error {
	switch {
	case all == 0:
		return e.ended(ctx, name, "not-found", "nothing is erased: the subject has no key, and never had one", nil)
	case gone == 0:
		return e.ended(ctx, name, "erased-before", "nothing is erased: all keys of the subject were erased before", nil)
	default:
		return nil
	}
}

// named is a subject as the record names it: people by their names, others by what they are.
func named(of *auditv1.Subject) string {
	if of.GetKind() == kindPerson {
		return kindPerson + ":" + of.GetName()
	}
	return of.GetKind()
}

// asked is a request that names a tenant and says why.
type asked interface {
	GetTenant() string
	GetReason() string
}

// reasoned is the tenant that the caller may act in, and why they do.
func reasoned(ctx context.Context, in asked) (tenant, reason string, err error) {
	if reason, err = why(in.GetReason()); err != nil {
		return "", "", err
	}
	tenant, err = rpc.Tenant(ctx, in.GetTenant())
	return tenant, reason, err
}

func why(text string) (string, error) {
	text = strings.TrimSpace(text)
	if !retention.Says(text) {
		return "", fault.Invalid("reason: say why, in words that can be read, with three letters or digits at least; it is recorded")
	}
	return text, nil
}

// did records what the caller does with the record itself. Nothing happens when it cannot be recorded.
func (h *Handler) did(ctx context.Context, action, tenant string, change *eventsv1.Change, sentence string) error {
	return h.keep(ctx, did(action, tenant, change, sentence))
}

func did(action, tenant string, change *eventsv1.Change, sentence string) *eventsv1.Event {
	return &eventsv1.Event{
		Action: action, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Tenant: tenant, Change: change,
		Decision: &eventsv1.Decision{Effect: record.Allow, Stage: "access", Sentence: sentence},
	}
}

// begun is did for what is about to happen; ended follows.
func begun(action, tenant string, change *eventsv1.Change, sentence string) *eventsv1.Event {
	ev := did(action, tenant, change, sentence)
	ev.Outcome = eventsv1.Outcome_OUTCOME_UNKNOWN
	return ev
}

// ended is did where nothing failed, and else says what did.
func ended(action, tenant string, change *eventsv1.Change, sentence string, failed error) *eventsv1.Event {
	ev := did(action, tenant, change, sentence)
	if f := fault.From(failed); f != nil {
		ev.Outcome, ev.Decision.Reason, ev.Decision.Sentence = eventsv1.Outcome_OUTCOME_FAILURE, f.Reason, f.Sentence
	}
	return ev
}

func (h *Handler) keep(ctx context.Context, ev *eventsv1.Event) error {
	if err := h.Journal.Append(rpc.By(ctx).Sign(ev), journal.Strict); err != nil {
		return fmt.Errorf("record %s: %w", ev.GetAction(), err)
	}
	return nil
}
