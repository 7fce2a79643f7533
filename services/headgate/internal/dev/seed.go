package dev

import (
	"context"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	"headgate.dev/libs/rpc"
	edgev1 "headgate.dev/proto/gen/headgate/edge/v1"
	"headgate.dev/proto/gen/headgate/edge/v1/edgev1connect"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/proto/gen/headgate/trust/v1/trustv1connect"
	"headgate.dev/services/headgate/internal/admin"
)

const (
	// settleWithin bounds the wait for the edge to hold what was applied, approveWithin that for servers to be looked at for the first time, startWithin
	// the same for programs, which have to start first.
	settleWithin  = 10 * time.Second
	approveWithin = 2 * time.Second
	startWithin   = 10 * time.Second
	pollEvery     = 10 * time.Millisecond
	tokenFor      = 24 * time.Hour
)

// seeder declares what files say and waits until it is in force. It goes through the API as the administrator, like everyone.
type seeder struct {
	conn *rpc.Conn
	said io.Writer // takes the warnings
}

// load reads files and adds the tenants that they name but do not declare.
func load(files []string) ([]resource.Object, error) {
	if len(files) == 0 {
		return nil, nil
	}
	located, err := resource.Load(files...)
	if err != nil {
		return nil, err
	}
	objects := make([]resource.Object, len(located))
	for i, one := range located {
		objects[i] = one.Object
	}
	return withTenants(objects), nil
}

func withTenants(objects []resource.Object) []resource.Object {
	declared := map[string]bool{}
	for _, object := range objects {
		if object.GetKind() == "Tenant" {
			declared[object.GetMetadata().GetName()] = true
		}
	}
	var missing []resource.Object
	for _, object := range objects {
		tenant := object.GetMetadata().GetTenant()
		if tenant == "" || declared[tenant] || object.GetKind() == "Tenant" {
			continue
		}
		declared[tenant] = true
		missing = append(missing, &identityv1.Tenant{ApiVersion: "headgate/v1", Kind: "Tenant", Metadata: &resourcev1.Metadata{Name: tenant}, Spec: &identityv1.TenantSpec{}})
	}
	return append(missing, objects...)
}

// apply declares the objects and waits until the edge decides by them and servers that may be approved by themselves have been looked at.
func (s seeder) apply(ctx context.Context, objects []resource.Object) error {
	done, err := admin.Apply(ctx, s.conn, objects, admin.Claim{}, false)
	if err != nil {
		return err
	}
	for _, warning := range done.Warnings {
		_, _ = fmt.Fprintln(s.said, "warning: "+warning)
	}
	if err := s.approved(ctx, objects); err != nil {
		return err
	}
	return s.settled(ctx, done.Revisions)
}

// approved waits for the first look at servers that pin it; one that does not answer is left to be looked at later.
func (s seeder) approved(ctx context.Context, objects []resource.Object) error {
	trust := rpc.Client(s.conn, trustv1connect.NewTrustServiceClient)
	began := time.Now()
	for _, object := range objects {
		server, ok := object.(*trustv1.Server)
		if !ok || server.GetSpec().GetApprove() != "initial" {
			continue
		}
		deadline := began.Add(approveWithin)
		if server.GetSpec().GetStdio() != nil {
			deadline = began.Add(startWithin)
		}
		_, err := poll(ctx, deadline, func() (bool, error) {
			answer, err := trust.Show(ctx, connect.NewRequest(&trustv1.ShowRequest{Name: server.GetMetadata().GetName(), Tenant: server.GetMetadata().GetTenant()}))
			return err == nil && answer.Msg.GetServer().GetStanding() != trustv1.Standing_STANDING_PENDING, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// settled waits until the edge holds the revisions that the services stand at.
func (s seeder) settled(ctx context.Context, want map[string]int64) error {
	edge := rpc.Client(s.conn, edgev1connect.NewEdgeServiceClient)
	done, err := poll(ctx, time.Now().Add(settleWithin), func() (bool, error) {
		status, err := edge.Status(ctx, connect.NewRequest(&edgev1.StatusRequest{}))
		if err != nil {
			return false, err
		}
		return holds(status.Msg, want), nil
	})
	if err != nil {
		return err
	}
	if !done {
		return fault.Invalid("the edge did not receive what was applied within %s", settleWithin)
	}
	return nil
}

func holds(status *edgev1.StatusResponse, want map[string]int64) bool {
	for _, replica := range status.GetReplicas() {
		behind := replica.GetRevision() < want[replica.GetName()] || replica.GetName() == "authz" && replica.GetDirectoryRevision() < want["identity"]
		if replica.GetStale() || behind {
			return false
		}
	}
	return len(status.GetReplicas()) > 0
}

// poll asks until the answer is yes, the deadline passed (false), or the context ended.
func poll(ctx context.Context, deadline time.Time, ask func() (bool, error)) (bool, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		yes, err := ask()
		if err != nil || yes || time.Now().After(deadline) {
			return yes, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-tick.C:
		}
	}
}
