// Package lend borrows credentials for calls and keeps each for most of its short life, per person, agent and server.
package lend

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret/forms"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/flight"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/stdio"
)

const (
	// patience bounds one question to the credentials service.
	patience = 5 * time.Second
	// without is how long it is believed that a server needs no credential.
	without = 2 * time.Second
	// longest bounds the use of a lease, so that a rotated or deleted credential is not used for long.
	longest = 5 * time.Second
	// kept is how many leases are remembered.
	kept = 50_000
)

// Credentials is what the lender asks of the credentials service.
type Credentials interface {
	Lease(ctx context.Context, r *connect.Request[credentialsv1.LeaseRequest]) (*connect.Response[credentialsv1.LeaseResponse], error)
}

// Lender lends and remembers. Safe for concurrent use.
type Lender struct {
	credentials Credentials
	lookup      stdio.Lookup
	now         clock.Now
	asking      flight.Group[key, *held]

	mu     sync.RWMutex
	leases map[key]*held
}

type key struct {
	tenant, person, agent, server, address, program string
	private                                         bool
}

type held struct {
	lease *guard.Lease
	until time.Time
}

// New makes a lender with nothing in hand. Lookup finds the edge's own variables, of which programs inherit some.
func New(credentials Credentials, lookup stdio.Lookup, now clock.Now) *Lender {
	return &Lender{credentials: credentials, lookup: lookup, now: now, leases: map[key]*held{}}
}

// Lease implements guard.Lender. A refusal has REASON_CREDENTIAL.
func (l *Lender) Lease(ctx context.Context, r guard.LeaseRequest) (*guard.Lease, error) {
	at := keyOf(r)
	l.mu.RLock()
	mine := l.leases[at]
	l.mu.RUnlock()
	if mine != nil && l.now().Before(mine.until) {
		return mine.lease, nil
	}
	mine, err := l.asking.Do(ctx, at, patience, func(ctx context.Context) (*held, error) { return l.ask(ctx, at, r) })
	if err != nil {
		return nil, err
	}
	return mine.lease, nil
}

// Close ends the questions to credentials that are under way and returns when they have ended. It is for after the last request.
func (l *Lender) Close() { l.asking.Close() }

// Forget implements guard.Lender.
func (l *Lender) Forget(r guard.LeaseRequest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.leases, keyOf(r))
}

func keyOf(r guard.LeaseRequest) key {
	at := key{tenant: r.Server.Tenant, server: r.Server.Name, address: r.Server.Address, program: r.Server.Stdio.Key(), private: r.Server.Private}
	if r.Caller != nil {
		at.person, at.agent = r.Caller.Person, r.Caller.Agent
	}
	return at
}

func (l *Lender) ask(ctx context.Context, at key, r guard.LeaseRequest) (*held, error) {
	now := l.now()
	answer, err := l.credentials.Lease(ctx, connect.NewRequest(&credentialsv1.LeaseRequest{
		Tenant: at.tenant, Person: at.person, Agent: at.agent, Server: at.server, Tool: r.Tool, Host: at.address, CallId: r.CallID,
	}))
	if r.Server.Stdio != nil && (fault.Is(err, faultv1.Reason_REASON_CREDENTIAL) || err == nil && answer.Msg.GetLeaseId() != "") {
		return nil, fault.New(faultv1.Reason_REASON_CREDENTIAL,
			"The server %s speaks on its standard input, where the credential of its connection cannot go. An administrator must delete the connection and "+
				"give the server what it needs with spec.stdio.inherit.", at.server).Because(err)
	}
	if err != nil {
		why := fault.From(err)
		return nil, fault.New(faultv1.Reason_REASON_CREDENTIAL, "The credential for the server %s could not be had: %s", at.server, why.Sentence).Because(err)
	}
	lent := answer.Msg
	if lent.GetLeaseId() != "" && !allowed(at.address, lent.GetAllowHosts()) {
		return nil, fault.New(faultv1.Reason_REASON_CREDENTIAL,
			"The credential of the server %s may not be sent to %s: its connection does not allow that host. An administrator can change "+
				"allowHosts.", at.server, at.address)
	}
	if lent.GetLeaseId() != "" && r.Server.Stdio == nil && !r.Server.Private {
		return nil, fault.New(faultv1.Reason_REASON_CREDENTIAL,
			"The credential of the server %s was not sent to %s: its address is http on another machine, where others can read it on the way. An administrator can "+
				"declare https, or spec.insecure: true where the network encrypts by itself, as a service mesh does.", at.server, at.address)
	}
	mine := &held{lease: &guard.Lease{ID: lent.GetLeaseId(), Connection: lent.GetConnection()}, until: now.Add(without)}
	var values []string
	for _, h := range lent.GetHeaders() {
		if !sendable(h.GetName(), h.GetValue()) {
			return nil, fault.New(faultv1.Reason_REASON_CREDENTIAL,
				"The credential of the server %s does not fit into a header. An administrator must enter it again.", at.server)
		}
		mine.lease.Headers = append(mine.lease.Headers, guard.LeasedHeader{Name: h.GetName(), Value: h.GetValue()})
		values = append(values, h.GetValue())
	}
	mine.lease.Forms = forms.Of(lent.GetSecrets(), values...)
	if r.Server.Stdio != nil { // what it inherits is a secret of the edge's as well
		mine.lease.Forms = forms.Of(stdio.Inherited(r.Server.Stdio.Inherit, l.lookup))
	}
	if lent.GetLeaseId() != "" {
		life := lent.GetExpiresAt().AsTime().Sub(now)
		if life <= 0 {
			return nil, fault.New(faultv1.Reason_REASON_CREDENTIAL, "The credential of the server %s has expired. Try again.", at.server)
		}
		mine.until = now.Add(min(life*8/10, longest))
	}
	l.mu.Lock()
	if len(l.leases) >= kept {
		clear(l.leases)
	}
	l.leases[at] = mine
	l.mu.Unlock()
	return mine, nil
}

// allowed reports whether a host, always with its port, is one of those; an entry without a port holds for every port of that name.
func allowed(address string, hosts []string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	for _, one := range hosts {
		name, _, err := net.SplitHostPort(one)
		if err == nil && name != "" {
			if strings.EqualFold(one, address) {
				return true
			}
			continue
		}
		if strings.EqualFold(strings.Trim(one, "[]"), host) {
			return true
		}
	}
	return false
}

// sendable reports whether a header can be written without becoming another, or one of those that the edge itself writes.
func sendable(name, value string) bool {
	if name == "" || value == "" || strings.ContainsAny(value, "\r\n\x00") {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	switch strings.ToLower(name) {
	case "host", "content-length", "content-type", "transfer-encoding", "connection", "accept", "te", "upgrade", "trailer", "mcp-session-id",
		"mcp-protocol-version", "mcp-method", "mcp-name":
		return false
	}
	return true
}
