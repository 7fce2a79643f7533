// Package watch looks at every declared server: soon after it is declared, again and again until it answers for the first time, and then at a
// steady pace, so that what a server changes is known without anyone asking.
package watch

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/egress"
	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/trust/internal/declared"
	"headgate.dev/services/trust/internal/lease"
	"headgate.dev/services/trust/internal/pin"
	"headgate.dev/services/trust/internal/probe"
	"headgate.dev/services/trust/internal/review"
	"headgate.dev/services/trust/internal/store"
)

// atOnce is how many servers are looked at at the same time.
const atOnce = 32

// Registry is where servers are declared and what was seen of them is kept.
type Registry interface {
	Declared(key store.Key) (*trustv1.Server, error)
	Seen(ctx context.Context, key store.Key, place string, listing pin.Listing, about store.About) error
	// Failed remembers why a look failed.
	Failed(key store.Key, failure string)
	// Looked reports whether a server was ever seen where it is now.
	Looked(key store.Key) bool
}

// Lender lends the credential of a server.
type Lender interface {
	Lease(ctx context.Context, use lease.Use) (lease.Credential, error)
	Forget(use lease.Use)
}

// Looker looks at one server at a time for each server, so that an older look never overwrites a newer one. Safe for concurrent use.
type Looker struct {
	registry Registry
	lender   Lender
	limits   probe.Limits
	as       egress.Identities
	now      clock.Now
	slots    chan struct{}

	mu    sync.Mutex
	turns map[store.Key]chan struct{}
}

// NewLooker makes a looker that shows itself to servers as they are declared to want it. It starts nothing.
func NewLooker(registry Registry, lender Lender, as egress.Identities, limits probe.Limits, now clock.Now) *Looker {
	return &Looker{registry: registry, lender: lender, as: as, limits: limits, now: now, slots: make(chan struct{}, atOnce), turns: map[store.Key]chan struct{}{}}
}

// Look looks at a server now. When it cannot be looked at, the error says why, and the registry remembers it.
func (l *Looker) Look(ctx context.Context, key store.Key) error {
	turn := l.turn(key)
	for _, wait := range []chan struct{}{turn, l.slots} {
		select {
		case wait <- struct{}{}:
			defer func() { <-wait }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	server, err := l.registry.Declared(key)
	if err != nil {
		return err
	}
	if declared.IsProgram(server.GetSpec()) {
		return l.elsewhere(key)
	}
	look, err := l.probe(ctx, key, server)
	if err != nil {
		return l.failed(ctx, key, err)
	}
	listing := pin.Listing{Instructions: look.Instructions, InstructionsProblem: review.Instructions(look.Instructions)}
	for _, tool := range look.Tools {
		listing.Tools = append(listing.Tools, review.Tool(tool))
	}
	about := store.About{Versions: look.Versions, ServerInfo: look.ServerInfo, Capabilities: look.Capabilities, SeenAt: l.now()}
	if err := l.registry.Seen(ctx, key, declared.Place(server.GetSpec()), listing, about); err != nil {
		return l.failed(ctx, key, err)
	}
	return nil
}

// errElsewhere says that only an edge can look at a server.
var errElsewhere = errors.New("an edge looks at it")

// elsewhere is a look at a program, which trust never starts: what an edge has reported is what there is to see.
func (l *Looker) elsewhere(key store.Key) error {
	if l.registry.Looked(key) {
		return nil
	}
	return fault.New(faultv1.Reason_REASON_CONFLICT,
		"Server %s is a program of an edge's machine, and no edge has reported it yet. An edge starts it when its operator allows the command "+
			"(service.stdio.allow); its log says why it does not.", key.Name).Because(errElsewhere)
}

// failed makes the error of a look the one that people see.
func (l *Looker) failed(ctx context.Context, key store.Key, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // whoever asked went away; that says nothing of the server
	}
	var known *fault.Error
	if !errors.As(err, &known) {
		known = fault.New(faultv1.Reason_REASON_UPSTREAM, "Server %s could not be looked at: %s.", key.Name, err)
	}
	l.registry.Failed(key, known.Sentence)
	return known
}

// probe leases and looks. A credential that is not taken is leased anew once: it may have been replaced.
func (l *Looker) probe(ctx context.Context, key store.Key, server *trustv1.Server) (probe.Look, error) {
	spec := server.GetSpec()
	use := lease.Use{Tenant: key.Tenant, Server: key.Name, Host: declared.Host(spec.GetUrl())}
	for again := false; ; again = true {
		credential, err := l.lender.Lease(ctx, use)
		if err != nil {
			if fault.Is(err, faultv1.Reason_REASON_CREDENTIAL) {
				return probe.Look{}, err
			}
			return probe.Look{}, fmt.Errorf("its credential could not be leased: %w", err)
		}
		if len(credential.Headers) > 0 && !spec.GetInsecure() && !egress.Private(spec.GetUrl()) {
			return probe.Look{}, fault.New(faultv1.Reason_REASON_CREDENTIAL,
				"Server %s was not looked at: its credential is not sent to %s, which is http on another machine, where others can read it on the way. Declare "+
					"https, or spec.insecure: true where the network encrypts by itself, as a service mesh does.", key.Name, use.Host)
		}
		target := probe.Target{
			Tenant: key.Tenant, URL: spec.GetUrl(), CA: spec.GetCa(), Pins: spec.GetPins(), ClientCertificate: spec.GetClientCertificate(),
			Identities: l.as, Secrets: credential.Secrets,
		}
		for _, header := range credential.Headers {
			target.Headers = append(target.Headers, probe.Field{Name: header.GetName(), Value: header.GetValue()})
		}
		look, err := probe.Server(ctx, target, l.limits)
		if !errors.Is(err, probe.ErrUnauthorized) {
			return look, err
		}
		l.lender.Forget(use)
		if again || len(credential.Secrets) == 0 {
			return look, err
		}
	}
}

func (l *Looker) turn(key store.Key) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	turn, found := l.turns[key]
	if !found {
		turn = make(chan struct{}, 1)
		l.turns[key] = turn
	}
	return turn
}
