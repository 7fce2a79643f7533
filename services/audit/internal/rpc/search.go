// Package rpc answers the methods of the audit service.
package rpc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	base "headgate.dev/libs/ledger"
	"headgate.dev/libs/record"
	"headgate.dev/libs/rpc"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/ledger"
	"headgate.dev/services/audit/internal/retention"
)

const (
	defaultSince = 24 * time.Hour
	defaultPage  = 100
	largestPage  = 10_000
)

// Handler implements the audit service.
type Handler struct {
	Index  index.Index
	Ledger *ledger.Ledger
	Keys   Keys
	// Retention is how long records are kept, and what is held.
	Retention *retention.Store
	Journal   record.Sink // of who reads what
	Now       clock.Now
}

var _ auditv1connect.AuditServiceHandler = (*Handler)(nil)

// Search finds records, newest first.
func (h *Handler) Search(ctx context.Context, in *connect.Request[auditv1.SearchRequest]) (*connect.Response[auditv1.SearchResponse], error) {
	q, err := h.query(ctx, in.Msg)
	if err != nil {
		return nil, err
	}
	rpc.Note(ctx, paged(q, in.Msg.GetPageToken())+described(q.Filter))
	token := tokens{search: fingerprint(q, in.Msg)}
	if q.After, err = token.open(in.Msg.GetPageToken()); err != nil {
		return nil, err
	}
	page, err := h.Index.Search(ctx, q)
	if err != nil {
		return nil, err
	}
	if err := h.across(ctx, q.Filter, "search found %d", page.Events); err != nil {
		return nil, err
	}
	return connect.NewResponse(&auditv1.SearchResponse{Events: page.Events, NextPageToken: token.make(page.Next), AllTenants: q.Tenant == ""}), nil
}

// query is the request with what the caller may not see taken out and what they left open filled in.
func (h *Handler) query(ctx context.Context, r *auditv1.SearchRequest) (index.Query, error) {
	f, err := h.filter(ctx, r.GetTenant(), &auditv1.Filter{
		Person: r.GetPerson(), Agent: r.GetAgent(), Server: r.GetServer(), Tool: r.GetTool(), Effect: r.GetEffect(), Action: r.GetAction(), Text: r.GetText(),
		Since: r.GetSince(), Until: r.GetUntil(), Outcome: r.GetOutcome(), Rule: r.GetRule(), Code: r.GetCode(), CallId: r.GetCallId(), TraceId: r.GetTraceId(),
	})
	if err != nil {
		return index.Query{}, err
	}
	now := h.Now()
	if r.GetSince() == nil {
		f.Since = now.Add(-defaultSince)
	}
	if r.GetUntil() == nil {
		f.Until = now
	}
	q := index.Query{Filter: f, Started: r.GetStarted(), Alerts: r.GetAlerts(), Limit: min(int(r.GetPageSize()), largestPage)}
	if q.Limit <= 0 {
		q.Limit = defaultPage
	}
	return q, nil
}

// paged says which page of which kinds of records is searched for.
func paged(q index.Query, token string) string {
	text := fmt.Sprintf("page of %d", q.Limit)
	if token != "" {
		text += fmt.Sprintf(" at %q", token)
	}
	if q.Alerts {
		text += ", alerts alone"
	}
	if q.Started {
		text += ", with the starts of calls"
	}
	return text + ", "
}

// reads reports whether the caller may read others' records: who does holds a right that says so.
func reads(c rpc.Caller) bool {
	readers := []optionsv1.Role{optionsv1.Role_ROLE_AUDITOR, optionsv1.Role_ROLE_SECURITY, optionsv1.Role_ROLE_ADMIN, optionsv1.Role_ROLE_PLATFORM}
	return c.Person == nil || slices.ContainsFunc(readers, c.Has)
}

// narrow leaves of the records that are wanted those that the caller may read: their own, and for an agent what it did itself.
func narrow(c rpc.Caller, wanted base.Filter) (base.Filter, error) {
	if reads(c) {
		return wanted, nil
	}
	own, agent := c.Person.GetName(), c.Person.GetAgent()
	switch {
	case own == "":
		return base.Filter{}, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token names no person, so no records are theirs. Sign in again.")
	case agent != "" && wanted.Agent != "" && wanted.Agent != agent:
		return base.Filter{}, fault.New(faultv1.Reason_REASON_ROLE_REQUIRED, "The agent %q may read the records of what it did itself only. Leave the agent out.", agent).With("agent", wanted.Agent)
	case wanted.Person != "" && wanted.Person != own:
		return base.Filter{}, fault.New(faultv1.Reason_REASON_ROLE_REQUIRED,
			"You may read your own records only, not those of %q. Leave the person out, or ask for the role auditor, security or admin.",
			wanted.Person).With("person", wanted.Person)
	}
	wanted.Person, wanted.Own = own, true
	if agent != "" {
		wanted.Agent = agent
	}
	return wanted, nil
}

// tokens makes page tokens that are good for one search only: with other filters the place in it means nothing.
type tokens struct{ search string }

const version = "1"

// fingerprint names a search. What was left open may move on between two pages.
func fingerprint(q index.Query, r *auditv1.SearchRequest) string {
	fields := q.Filter
	fields.Since, fields.Until = r.GetSince().AsTime(), r.GetUntil().AsTime()
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %t %t", fields.Map(), q.Started, q.Alerts))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

func (t tokens) make(next string) string {
	if next == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(version + " " + t.search + " " + next))
}

func (t tokens) open(token string) (string, error) {
	if token == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	parts := strings.SplitN(string(raw), " ", 3)
	if err != nil || len(parts) != 3 || parts[0] != version || parts[1] != t.search {
		return "", fault.Invalid("pageToken: is not one that this search returned; begin again without it, or leave the filters as they were")
	}
	return parts[2], nil
}
