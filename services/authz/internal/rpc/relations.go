package rpc

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/authz/internal/relations"
	"headgate.dev/services/authz/internal/tenants"
)

// mostNoted is how many tuples a record names; it says how many there are beside them.
const mostNoted = 50

// CheckRelations implements AuthzServiceHandler.
func (h *Handler) CheckRelations(
	ctx context.Context, req *connect.Request[authzv1.CheckRelationsRequest],
) (*connect.Response[authzv1.CheckRelationsResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	found, err := h.Tenants.Drift(ctx, tenant)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.CheckRelationsResponse{Drift: drift(found)}), nil
}

// MendRelations implements AuthzServiceHandler. What was found is recorded before it is mended: afterwards nobody could see it.
func (h *Handler) MendRelations(
	ctx context.Context, req *connect.Request[authzv1.MendRelationsRequest],
) (*connect.Response[authzv1.MendRelationsResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	found, err := h.Tenants.Drift(ctx, tenant)
	if err != nil {
		return nil, err
	}
	if found.Found() {
		if err := h.append(drifted(tenant, found.Difference, h.Now(), rpc.By(ctx), &eventsv1.Change{Kind: "Relations", Name: tenant, Action: "mended"})); err != nil {
			return nil, err
		}
		if found.Difference, err = h.Tenants.Mend(ctx, tenant); err != nil {
			return nil, err
		}
	}
	return connect.NewResponse(&authzv1.MendRelationsResponse{Drift: drift(found)}), nil
}

// Inspect looks whether a tenant's store holds what the directory says, and records what it finds. It changes nothing: what somebody wrote there past
// Headgate gives nobody anything, and whoever looks into it must find it.
func (h *Handler) Inspect(ctx context.Context, tenant string) error {
	found, err := h.Tenants.Drift(ctx, tenant)
	if err != nil {
		return h.Alarm.Raise(tenant, err)
	}
	ev := drifted(tenant, found.Difference, h.Now(), record.Itself("authz"), nil)
	if !found.Found() {
		ev.Findings.Notes = []string{fmt.Sprintf("OpenFGA holds the %d tuples that the directory says, and no other", found.Tuples)}
	}
	return h.Journal.Append(ev, journal.Spool)
}

// Drifted records what was mended by itself, because somebody's question showed that it was missing.
func (h *Handler) Drifted(tenant string, diff relations.Difference) error {
	change := &eventsv1.Change{Kind: "Relations", Name: tenant, Action: "mended"}
	return h.Journal.Append(drifted(tenant, diff, h.Now(), record.Itself("authz"), change), journal.Spool)
}

// drifted is the record of a check: an alert, where there is a difference.
func drifted(tenant string, diff relations.Difference, now time.Time, by record.By, change *eventsv1.Change) *eventsv1.Event {
	ev := by.Sign(&eventsv1.Event{
		Action: record.RelationsCheck, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Time: timestamppb.New(now),
		Tenant: tenant, Change: change, Findings: &eventsv1.Findings{},
	})
	if len(diff.Gone)+len(diff.Come) == 0 {
		return ev
	}
	ev.Alert = true
	notes := []string{fmt.Sprintf("OpenFGA holds %d tuples that the directory does not say, and not %d that it says", len(diff.Gone), len(diff.Come))}
	for _, part := range []struct {
		what   string
		tuples []relations.Tuple
	}{{"planted", diff.Gone}, {"missing", diff.Come}} {
		for _, t := range part.tuples {
			if len(notes) > mostNoted {
				break
			}
			notes = append(notes, part.what+": "+t.String())
		}
	}
	ev.Findings.Notes = notes
	if change != nil {
		ev.Grants = mended(diff)
	}
	return ev
}

// mended are the relations that a mending takes away and gives back.
func mended(diff relations.Difference) []*eventsv1.Grant {
	var out []*eventsv1.Grant
	for _, part := range []struct {
		what   string
		tuples []relations.Tuple
	}{{record.GrantTaken, diff.Gone}, {record.GrantGiven, diff.Come}} {
		for _, t := range part.tuples {
			if len(out) == mostNoted {
				return out
			}
			g := &eventsv1.Grant{What: part.what, Holder: t.User, Right: t.Relation + " of " + t.Object}
			if !t.Until.IsZero() {
				g.Until = timestamppb.New(t.Until)
			}
			out = append(out, g)
		}
	}
	return out
}

func drift(d tenants.Drift) *authzv1.Drift {
	return &authzv1.Drift{Planted: tuples(d.Gone), Missing: tuples(d.Come), Tuples: int32(d.Tuples)}
}

func tuples(of []relations.Tuple) []*authzv1.RelationTuple {
	var out []*authzv1.RelationTuple
	for _, t := range of {
		one := &authzv1.RelationTuple{Object: t.Object, Relation: t.Relation, User: t.User}
		if !t.Until.IsZero() {
			one.Until = timestamppb.New(t.Until)
		}
		out = append(out, one)
	}
	return out
}
