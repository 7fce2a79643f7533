package authz_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	"headgate.dev/proto/gen/headgate/audit/v1/auditv1connect"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
)

// records is the service audit with the uses of a test. It counts what it is asked.
type records struct {
	auditv1connect.UnimplementedAuditServiceHandler

	mu     sync.Mutex
	oldest time.Time
	uses   []*auditv1.Use
	asked  []string
}

func (r *records) ListUses(_ context.Context, in *connect.Request[auditv1.ListUsesRequest], out *connect.ServerStream[auditv1.ListUsesResponse]) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, in.Msg.GetTenant())
	first := &auditv1.ListUsesResponse{}
	if !r.oldest.IsZero() {
		first.Oldest = timestamppb.New(r.oldest)
	}
	if err := out.Send(first); err != nil {
		return err
	}
	for _, u := range r.uses {
		if u.GetLast().AsTime().Before(in.Msg.GetSince().AsTime()) {
			continue
		}
		if err := out.Send(&auditv1.ListUsesResponse{Uses: []*auditv1.Use{u}}); err != nil {
			return err
		}
	}
	return nil
}

func (r *records) client(t testing.TB) auditv1connect.AuditServiceClient {
	t.Helper()
	mux := rpc.NewMux(rpc.MuxConfig{Self: optionsv1.Service_SERVICE_AUDIT})
	rpc.Handle[auditv1connect.AuditServiceHandler](mux, auditv1connect.NewAuditServiceHandler, r)
	return rpc.Client(rpc.InProcess(mux, optionsv1.Service_SERVICE_AUTHZ), auditv1connect.NewAuditServiceClient)
}

func used(person, agent, server, tool string, ago time.Duration) *auditv1.Use {
	return &auditv1.Use{Person: person, Agent: agent, Server: server, Tool: tool, Calls: 1, Last: timestamppb.New(time.Now().Add(-ago))}
}

// unusedGrants are the lines of the report, and its period.
func unusedGrants(t *testing.T, h *harness, tenant, as string, days int32) (lines []string, period *authzv1.UsePeriod, err error) {
	t.Helper()
	stream, err := h.as(tenant, "root", as).ListUnusedGrants(t.Context(), connect.NewRequest(&authzv1.ListUnusedGrantsRequest{Days: days}))
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		if p := stream.Msg().GetPeriod(); p != nil {
			period = p
		}
		for _, g := range stream.Msg().GetGrants() {
			lines = append(lines, fmt.Sprintf("%s %s: %s (%d)", g.GetKind(), g.GetName(), g.GetVia(), g.GetPeople()))
		}
	}
	return lines, period, stream.Err()
}

func unusedOfAcme() []string {
	return []string{
		"role idle: role idle → tool sql.query (0)",
		"role support: role support → tool crm.read_customer (2)",
		"group care: group care → role support → server tickets (1)",
		"group care: group care → role support → tool crm.read_customer (1)",
		"person ana: ana → role support → tool crm.read_customer (1)",
		"person ben: ben → group care → role support → tool crm.read_customer (1)",
		"person ben: ben → group care → role support → server tickets (1)",
		"agent scout: agent scout → tool tickets.close_ticket (3)",
	}
}

func TestGrantsThatNobodyUsesAreReported(t *testing.T) {
	const day = 24 * time.Hour
	audit := &records{oldest: time.Now().Add(-100 * day), uses: []*auditv1.Use{
		used("ana", "", "tickets", "close_ticket", day),                    // covers tickets/* of ana and of the role, not of ben
		used("ben", "client:x", "crm", "read_customer", 50*day),            // before the period
		used("ana", "triage", "tickets", "get_ticket", day),                // the agent's
		used("ana", "", "crm", "", day), used("gus", "", "other", "", day), // no tool, and nobody of acme
	}}
	h := recorded(t, newIdentity(), audit)
	h.settled(h.identity.apply(t, acme+`---
apiVersion: headgate/v1
kind: Role
metadata: {name: idle, tenant: acme}
spec: {grants: [{server: sql, tools: [query], can: call}, {server: sql, tools: [look], can: see}, {server: sql, tools: [old], can: call, until: 2020-01-01T00:00:00Z}]}
`))
	lines, period, err := unusedGrants(t, h, "acme", "security", 30)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "unused", lines, unusedOfAcme()...)
	if !period.GetComplete() || period.GetUntil().AsTime().Sub(period.GetSince().AsTime()) != 30*day {
		t.Errorf("period %v", period)
	}
	lines, period, err = unusedGrants(t, h, "acme", "security", 60)
	if err != nil || len(lines) != len(unusedOfAcme())-3 || !period.GetComplete() {
		t.Errorf("in 60 days, in which ben read a customer: %q, %v (%v)", lines, period, err)
	}
	if _, period, err = unusedGrants(t, h, "acme", "security", 365); err != nil || period.GetComplete() || !period.GetOldestRecord().AsTime().Equal(audit.oldest) {
		t.Errorf("records of 100 days know of a year: %v (%v)", period, err)
	}
	audit.mu.Lock()
	if len(audit.asked) != 3 || audit.asked[0] != "acme" {
		t.Errorf("audit was asked %q for three reports", audit.asked)
	}
	audit.mu.Unlock()
	if _, _, err = unusedGrants(t, h, "acme", "app", 30); !fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) {
		t.Errorf("an application reads the report: %v", err)
	}
	if _, _, err = unusedGrants(t, start(t, newAcme(t)), "acme", "security", 30); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
		t.Errorf("without audit: %v", err)
	}
}
