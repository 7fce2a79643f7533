// Package lease gets the managed credential of a server that is looked at, and keeps it for most of its life, so that a look every half minute does
// not lease every half minute.
package lease

import (
	"context"
	"sync"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/clock"
	"headgate.dev/proto/gen/headgate/credentials/v1/credentialsv1connect"

	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
)

// useFor is how long a lease without a credential, or a short one, is believed: a connection that is declared now is used soon.
const useFor = 5 * time.Second

// Use is what one lease is for.
type Use struct{ Tenant, Server, Host string }

// Credential is what a lease gave; empty when the server needs none.
type Credential struct {
	Headers []*credentialsv1.Header
	Secrets []string
}

// Lender leases. Safe for concurrent use.
type Lender struct {
	credentials credentialsv1connect.CredentialsServiceClient
	now         clock.Now

	mu   sync.Mutex
	kept map[Use]kept
}

type kept struct {
	credential Credential
	until      time.Time
}

// New returns a lender that asks the credentials service.
func New(credentials credentialsv1connect.CredentialsServiceClient, now clock.Now) *Lender {
	return &Lender{credentials: credentials, now: now, kept: map[Use]kept{}}
}

// Lease returns the credential for one use.
func (l *Lender) Lease(ctx context.Context, use Use) (Credential, error) {
	now := l.now()
	l.mu.Lock()
	have, found := l.kept[use]
	l.mu.Unlock()
	if found && now.Before(have.until) {
		return have.credential, nil
	}
	res, err := l.credentials.Lease(ctx, connect.NewRequest(&credentialsv1.LeaseRequest{Tenant: use.Tenant, Server: use.Server, Host: use.Host}))
	if err != nil {
		return Credential{}, err
	}
	have = kept{credential: Credential{Headers: res.Msg.GetHeaders(), Secrets: res.Msg.GetSecrets()}, until: now.Add(useFor)}
	if res.Msg.GetLeaseId() != "" {
		// A fifth of its life is left for the looks that begin with it.
		if late := now.Add(res.Msg.GetExpiresAt().AsTime().Sub(now) * 4 / 5); late.After(have.until) {
			have.until = late
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept[use] = have
	return have.credential, nil
}

// Forget drops what is kept for a use: the server did not take it, or is not there any more.
func (l *Lender) Forget(use Use) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.kept, use)
}
