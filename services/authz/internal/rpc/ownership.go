package rpc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/authz/internal/directory"
	"headgate.dev/services/authz/internal/ownership"
)

// PutRelations implements AuthzServiceHandler.
func (h *Handler) PutRelations(ctx context.Context, req *connect.Request[authzv1.PutRelationsRequest]) (*connect.Response[authzv1.PutRelationsResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	state, err := h.Tenants.Get(tenant)
	if err != nil {
		return nil, err
	}
	put := make([]ownership.Relation, len(req.Msg.GetRelations()))
	for i, r := range req.Msg.GetRelations() {
		put[i] = ownership.Relation{Key: key(r)}
		if r.GetUntil() != nil {
			put[i].Until = r.GetUntil().AsTime()
		}
		if err := h.sensible(state.Directory, put[i]); err != nil {
			return nil, err
		}
	}
	by := rpc.By(ctx)
	changed, err := h.Ownership.Put(ctx, tenant, rpc.CallerFrom(ctx).Author(tenant), put, func(all []ownership.Relation) error {
		return h.append(h.owned(tenant, "put", by, all))
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, relatedWithin)
	defer cancel()
	_, unsettled := h.settled(ctx, tenant)
	return connect.NewResponse(&authzv1.PutRelationsResponse{Changed: int32(changed), InForce: unsettled == nil}), nil
}

// sensible refuses a relation that would give nobody anything: it is most likely a mistake, and would give it to whoever gets the name later.
func (h *Handler) sensible(t *directory.Tenant, r ownership.Relation) error {
	kind, name, _ := strings.Cut(r.Subject, ":")
	switch {
	case kind != "role" && !t.Declared(kind, name):
		return fault.Invalid("There is no %s %s in tenant %s, so it cannot be %s of %s. Nothing was put.", kind, name, t.Name(), r.Relation, r.Object)
	case !r.Until.IsZero() && !h.Now().Before(r.Until):
		return fault.Invalid("%s of %s for %s would have ended at %s already. Nothing was put.", r.Relation, r.Object, r.Subject, r.Until.UTC().Format(time.RFC3339))
	}
	return nil
}

// ListRelations implements AuthzServiceHandler.
func (h *Handler) ListRelations(ctx context.Context, req *connect.Request[authzv1.ListRelationsRequest]) (*connect.Response[authzv1.ListRelationsResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	size := int(req.Msg.GetPageSize())
	if size == 0 {
		size = usualPage
	}
	filter := ownership.Filter{Object: req.Msg.GetObject(), Subject: req.Msg.GetSubject(), Most: size + 1}
	after, err := readToken(req.Msg.GetPageToken())
	if err != nil {
		return nil, err
	}
	if after[0] != "" {
		relation, subject, _ := strings.Cut(after[1], "@")
		filter.After = ownership.Key{Object: after[0], Relation: relation, Subject: subject}
	}
	found, err := h.Ownership.List(ctx, tenant, filter)
	if err != nil {
		return nil, err
	}
	answer := &authzv1.ListRelationsResponse{}
	for i, one := range found {
		if i == size {
			last := found[size-1]
			answer.NextPageToken = writeToken(last.Object, last.Relation+"@"+last.Subject)
			break
		}
		answer.Relations = append(answer.Relations, resourceRelation(one))
	}
	return connect.NewResponse(answer), nil
}

// RemoveRelations implements AuthzServiceHandler. What it takes back counts no more when it answers, whether OpenFGA has heard of it or not.
func (h *Handler) RemoveRelations(
	ctx context.Context, req *connect.Request[authzv1.RemoveRelationsRequest],
) (*connect.Response[authzv1.RemoveRelationsResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	if len(req.Msg.GetRelations())+len(req.Msg.GetObjects()) == 0 {
		return nil, fault.Invalid("The request names no relation and no resource to remove. Name one.")
	}
	var keys []ownership.Key
	for _, r := range req.Msg.GetRelations() {
		keys = append(keys, key(r))
	}
	removed, err := h.Ownership.Remove(ctx, tenant, keys, req.Msg.GetObjects(), h.ended(tenant, "removed", rpc.By(ctx)))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.RemoveRelationsResponse{Removed: int32(removed)}), nil
}

// EndRelations takes out what a subject, or a whole tenant, had until a moment: it is gone from the directory.
func (h *Handler) EndRelations(ctx context.Context, tenant, subject string, until time.Time) error {
	ended := h.ended(tenant, "ended", record.Itself("authz"))
	if subject == "" {
		return h.Ownership.Clear(ctx, tenant, until, ended)
	}
	return h.Ownership.End(ctx, tenant, subject, until, ended)
}

// ExpireRelations takes out what has ended by itself.
func (h *Handler) ExpireRelations(ctx context.Context, tenant string) error {
	return h.Ownership.Expire(ctx, tenant, h.Now(), h.ended(tenant, "ended", record.Itself("authz")))
}

func (h *Handler) ended(tenant, action string, by record.By) ownership.Record {
	return func(all []ownership.Relation) error { return h.append(h.owned(tenant, action, by, all)) }
}

// owned is the record of a change of relations to resources.
func (h *Handler) owned(tenant, action string, by record.By, all []ownership.Relation) *eventsv1.Event {
	notes := []string{fmt.Sprintf("%d relations to resources were %s", len(all), action)}
	for _, one := range all[:min(len(all), mostNoted)] {
		text := one.Object + "#" + one.Relation + "@" + one.Subject
		if !one.Until.IsZero() {
			text += " until " + one.Until.UTC().Format(time.RFC3339)
		}
		notes = append(notes, text)
	}
	return by.Sign(&eventsv1.Event{
		Action: record.ResourceRelations, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Time: timestamppb.New(h.Now()), Tenant: tenant,
		Change: &eventsv1.Change{Kind: "ResourceRelations", Name: tenant, Action: action}, Findings: &eventsv1.Findings{Notes: notes},
	})
}

func key(r *authzv1.ResourceRelation) ownership.Key {
	return ownership.Key{Object: r.GetObject(), Relation: r.GetRelation(), Subject: r.GetSubject()}
}

func resourceRelation(one ownership.Relation) *authzv1.ResourceRelation {
	out := &authzv1.ResourceRelation{
		Object: one.Object, Relation: one.Relation, Subject: one.Subject, Author: one.Author, Written: timestamppb.New(one.Written),
	}
	if !one.Until.IsZero() {
		out.Until = timestamppb.New(one.Until)
	}
	return out
}
