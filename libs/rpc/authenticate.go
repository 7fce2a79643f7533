package rpc

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
)

const (
	// goodFor is how long a good answer is believed: what a revocation may take to reach every service.
	goodFor = time.Second
	// mostGood bounds the answers that are kept.
	mostGood = 10_000
)

// IdentityAuthenticator asks identity whose token it is. A good answer is kept for at most a second and never longer than the token holds; a bad
// one is never kept. When identity does not answer, people are refused.
func IdentityAuthenticator(c identityv1connect.IdentityServiceClient, now clock.Now) func(ctx context.Context, token string) (*identityv1.Caller, error) {
	a := &authenticator{identity: c, now: now, good: map[[sha256.Size]byte]answer{}}
	return a.authenticate
}

type authenticator struct {
	identity identityv1connect.IdentityServiceClient
	now      clock.Now

	mu   sync.Mutex
	good map[[sha256.Size]byte]answer
}

type answer struct {
	caller *identityv1.Caller
	until  time.Time
}

func (a *authenticator) authenticate(ctx context.Context, token string) (*identityv1.Caller, error) {
	key := sha256.Sum256([]byte(token))
	asked := a.now()
	if kept := a.kept(key, asked); kept != nil {
		return kept, nil
	}
	response, err := a.identity.Authenticate(ctx, connect.NewRequest(&identityv1.AuthenticateRequest{Token: token}))
	if err != nil {
		if fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED) || fault.Is(err, faultv1.Reason_REASON_CANCELLED) {
			return nil, err
		}
		return nil, fault.New(faultv1.Reason_REASON_UNAVAILABLE, "Who you are cannot be checked now, so the call is refused: identity does not answer. Try again.").
			Because(err)
	}
	caller := response.Msg.GetCaller()
	if caller == nil {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token belongs to nobody. Sign in again.")
	}
	a.keep(key, caller, asked)
	return caller, nil
}

func (a *authenticator) kept(key [sha256.Size]byte, now time.Time) *identityv1.Caller {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, ok := a.good[key]
	if !ok {
		return nil
	}
	if !now.Before(found.until) {
		delete(a.good, key)
		return nil
	}
	return proto.CloneOf(found.caller)
}

// keep counts from when the question was asked: the answer may be as old as that.
func (a *authenticator) keep(key [sha256.Size]byte, caller *identityv1.Caller, asked time.Time) {
	until := asked.Add(goodFor)
	if expires := caller.GetExpiresAt(); expires != nil && expires.AsTime().Before(until) {
		until = expires.AsTime()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.good) >= mostGood {
		clear(a.good)
	}
	a.good[key] = answer{caller: proto.CloneOf(caller), until: until}
}
