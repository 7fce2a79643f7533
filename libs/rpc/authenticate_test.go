package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/rpc"
)

func TestAGoodAnswerOfIdentityIsBelievedForASecondAndABadOneNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var refuse error
		var expires time.Time
		service := &identity{authenticate: func(_ context.Context, token string) (*identityv1.Caller, error) {
			asked++
			if refuse != nil {
				return nil, refuse
			}
			c := &identityv1.Caller{Tenant: "acme", Name: token}
			if !expires.IsZero() {
				c.ExpiresAt = timestamppb.New(expires)
			}
			return c, nil
		}}
		check := rpc.IdentityAuthenticator(asService(service.serve(rpc.MuxConfig{}), optionsv1.Service_SERVICE_TRUST), time.Now)
		ask := func(token string, want int, reason faultv1.Reason) {
			t.Helper()
			p, err := check(t.Context(), token)
			if asked != want || reasonOf(err) != reason || err == nil && p.GetName() != token {
				t.Errorf("%s: asked %d times, %v, %v", token, asked, p, err)
			}
		}
		ask("ana", 1, 0)
		ask("ana", 1, 0)
		ask("ben", 2, 0)
		changed, err := check(t.Context(), "ana")
		if err != nil {
			t.Fatal(err)
		}
		changed.Name = "root" // what a handler does to its caller stays its own
		<-time.After(999 * time.Millisecond)
		ask("ana", 2, 0)
		<-time.After(time.Millisecond)
		ask("ana", 3, 0)

		refuse = fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The token is revoked.")
		ask("cem", 4, faultv1.Reason_REASON_UNAUTHENTICATED)
		ask("cem", 5, faultv1.Reason_REASON_UNAUTHENTICATED)
		refuse = errors.New("the database is gone")
		ask("cem", 6, faultv1.Reason_REASON_UNAVAILABLE)
		refuse = fault.New(faultv1.Reason_REASON_ROLE_REQUIRED, "Not you.")
		ask("cem", 7, faultv1.Reason_REASON_UNAVAILABLE)
		refuse = nil
		ask("cem", 8, 0)

		expires = time.Now().Add(100 * time.Millisecond)
		ask("dan", 9, 0)
		<-time.After(100 * time.Millisecond)
		ask("dan", 10, 0)
	})
}

func TestTheMemoryForAnswersIsBounded(t *testing.T) {
	asked := 0
	service := &identity{authenticate: func(context.Context, string) (*identityv1.Caller, error) {
		asked++
		return &identityv1.Caller{Tenant: "acme", Name: "ana"}, nil
	}}
	now := time.Unix(1_000, 0)
	check := rpc.IdentityAuthenticator(asService(service.serve(rpc.MuxConfig{}), optionsv1.Service_SERVICE_TRUST), func() time.Time { return now })
	for i := range 10_001 {
		if _, err := check(t.Context(), fmt.Sprint("token", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := check(t.Context(), "token0"); err != nil || asked != 10_002 {
		t.Errorf("asked %d times, %v: the first of 10,001 answers is still kept", asked, err)
	}
}

func TestNoAnswerAtAllRefuses(t *testing.T) {
	service := &identity{authenticate: func(context.Context, string) (*identityv1.Caller, error) {
		var nobody *identityv1.Caller
		return nobody, nil
	}}
	check := rpc.IdentityAuthenticator(asService(service.serve(rpc.MuxConfig{}), optionsv1.Service_SERVICE_TRUST), time.Now)
	if p, err := check(t.Context(), "t"); !fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED) {
		t.Errorf("%v, %v", p, err)
	}
}
