// Package access issues access tokens, says whose a token is and ends tokens, and writes each of these to the journal before it answers.
package access

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	"headgate.dev/libs/token"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/services/identity/internal/directory"
)

// Config is what tokens are made for.
type Config struct {
	Issuer string
	// API and MCP are the resources that tokens can be good for, URLs, with everything below them.
	API, MCP []string
}

// Desk issues and checks tokens. Safe for concurrent use.
type Desk struct {
	cfg       Config
	directory *directory.Directory
	verifier  *token.Verifier
	journal   record.Sink
	now       clock.Now
}

// New returns a desk.
func New(cfg Config, d *directory.Directory, sink record.Sink, now clock.Now) *Desk {
	return &Desk{cfg: cfg, directory: d, verifier: token.NewVerifier(cfg.Issuer, d.Public, now), journal: sink, now: now}
}

// Grant is what a token is to say.
type Grant struct {
	ID                              string // empty makes one
	Tenant, Person, Agent, ClientID string
	// Audience is checked by Resources; empty means the MCP endpoints and the API.
	Audience []string
	TTL      time.Duration
	// AuthTime is when the person signed in for it; zero where nobody did.
	AuthTime time.Time
}

// Issue makes a token for a person who may sign in. by is who asked for it, for the record.
func (d *Desk) Issue(g Grant, by record.By) (raw string, claims *token.Claims, err error) {
	caller, err := d.directory.Caller(g.Tenant, g.Person)
	if err != nil {
		return "", nil, err
	}
	if g.Agent != "" {
		if err := d.directory.Agent(g.Tenant, g.Agent); err != nil {
			return "", nil, err
		}
	}
	audience, err := d.Resources(g.Audience)
	if err != nil {
		return "", nil, err
	}
	issued := d.now()
	if floor := d.directory.Revoked().Floor(g.Tenant, g.Person); floor.After(issued) {
		issued = floor
	}
	if g.ID == "" {
		g.ID = ids.New()
	}
	claims = &token.Claims{
		Issuer: d.cfg.Issuer, Subject: g.Person, Tenant: g.Tenant, Agent: g.Agent, ClientID: g.ClientID, ID: g.ID, Audience: audience,
		IssuedAt: issued, Expires: issued.Add(g.TTL), AuthTime: g.AuthTime,
	}
	if raw, err = token.Sign(d.directory.Signing(), *claims); err != nil {
		return "", nil, fmt.Errorf("signing a token: %w", err)
	}
	if by.Principal == nil {
		by.Principal = record.Person(caller)
	}
	return raw, claims, d.record("token-issued", g.Tenant, by, &eventsv1.Change{
		Kind: "Token", Name: claims.ID, Action: "issued", Reason: reason(g, audience),
	})
}

func reason(g Grant, audience []string) string {
	text := "for " + g.Person
	if g.Agent != "" {
		text += " through agent " + g.Agent
	}
	if g.ClientID != "" {
		text += " at client " + g.ClientID
	}
	return text + ", good at " + strings.Join(audience, " ") + " for " + g.TTL.String()
}

// Resources checks the resources that a token is asked for (RFC 8707): each is one of those that tokens can be good for, or below one.
func (d *Desk) Resources(asked []string) ([]string, error) {
	served := slices.Concat(d.cfg.MCP, d.cfg.API)
	if len(asked) == 0 {
		return served, nil
	}
	for _, resource := range asked {
		if !slices.ContainsFunc(served, func(s string) bool { return token.Covers(s, resource) }) {
			return nil, fault.Invalid("Tokens are not made for the resource %q. Ask for one of %s, or for something below it.", resource, strings.Join(served, ", ")).
				With("resource", resource)
		}
	}
	return asked, nil
}

// Authenticate says whose token it is, by the state of this moment. audience is the resource that the token must be good for; empty means the API.
func (d *Desk) Authenticate(raw, audience string) (*identityv1.Caller, error) {
	claims, err := d.Claims(raw)
	if err != nil {
		return nil, err
	}
	wanted := []string{audience}
	if audience == "" {
		wanted = d.cfg.API
	}
	if !slices.ContainsFunc(wanted, claims.GoodFor) {
		return nil, refuse("it is not made for %s", strings.Join(wanted, " or "))
	}
	caller, err := d.directory.Caller(claims.Tenant, claims.Subject)
	if err != nil {
		return nil, err
	}
	if claims.Agent != "" {
		if err := d.directory.Agent(claims.Tenant, claims.Agent); err != nil {
			return nil, err
		}
		// An agent acts at servers. What the person may administer is not handed to it.
		caller.Rights = []optionsv1.Role{optionsv1.Role_ROLE_MEMBER}
	}
	caller.Agent, caller.ClientId, caller.TokenId = claims.Agent, claims.ClientID, claims.ID
	caller.ExpiresAt = timestamppb.New(claims.Expires)
	return caller, nil
}

// Claims is what a token says, when it is genuine, has not expired and is not revoked.
func (d *Desk) Claims(raw string) (*token.Claims, error) {
	if err := d.directory.Fresh(); err != nil {
		return nil, err
	}
	claims, err := d.verifier.Verify(raw)
	if err != nil {
		return nil, err
	}
	if d.directory.Revoked().Revoked(claims) {
		return nil, refuse("it was revoked")
	}
	return claims, nil
}

// RevokeToken ends a token by its id.
func (d *Desk) RevokeToken(ctx context.Context, tenant, id string, by record.By, why string) (int64, error) {
	return d.directory.RevokeToken(ctx, tenant, id, func() error {
		return d.record("token-revoked", tenant, by, &eventsv1.Change{Kind: "Token", Name: id, Action: "revoked", Reason: why})
	})
}

// RevokePerson ends every token of a person that was issued until now.
func (d *Desk) RevokePerson(ctx context.Context, tenant, person string, by record.By) (int64, error) {
	return d.directory.RevokePerson(ctx, tenant, person, func() error {
		return d.record("token-revoked", tenant, by, &eventsv1.Change{Kind: "Person", Name: person, Action: "revoked", Reason: "every token issued until now"})
	})
}

// SignedIn records that a person signed in at a client, from where.
func (d *Desk) SignedIn(tenant, person, client string, from *eventsv1.Source) error {
	by := &eventsv1.Principal{Person: person, ClientId: client}
	return d.journal.Append(&eventsv1.Event{
		Action: record.SignIn, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Time: timestamppb.New(d.now()), Tenant: tenant, Principal: by,
		Source: from, Decision: &eventsv1.Decision{Effect: record.Allow, Stage: "sign-in", Sentence: person + " signed in at client " + client},
	}, journal.Strict)
}

// SignInRefused records that somebody could not sign in at a client. As whom is their word.
func (d *Desk) SignInRefused(tenant, person, client string, from *eventsv1.Source, why error) error {
	return d.journal.Append(&eventsv1.Event{
		Action: record.SignIn, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_FAILURE, Time: timestamppb.New(d.now()), Tenant: tenant,
		Principal: &eventsv1.Principal{Person: person, ClientId: client}, Source: from, Decision: record.Refused(why),
	}, journal.Strict)
}

// Rotate makes a new signing key.
func (d *Desk) Rotate(ctx context.Context, by record.By) (string, error) {
	return d.directory.Rotate(ctx, func(id string) error {
		return d.record("key-rotated", directory.SystemTenant, by, &eventsv1.Change{Kind: "SigningKey", Name: id, Action: "created"})
	})
}

// Recorder writes changes of resources to the journal.
func (d *Desk) Recorder(by record.By) directory.Record {
	return func(c directory.Changed) error {
		m := c.Object.GetMetadata()
		tenant := m.GetTenant()
		if tenant == "" {
			tenant = m.GetName() // a tenant's own
		}
		action := "resource-applied"
		if c.Action == "deleted" {
			action = "resource-deleted"
		}
		ev := d.event(action, tenant, by, &eventsv1.Change{
			Kind: c.Object.GetKind(), Name: m.GetName(), Action: c.Action, Version: m.GetVersion(), OldHash: c.OldHash, NewHash: c.NewHash,
		})
		if c.Action == "deleted" {
			named(ev, c.Object, nil)
		} else {
			named(ev, c.Before, c.Object)
		}
		return d.journal.Append(ev, journal.Strict)
	}
}

func (d *Desk) record(action, tenant string, by record.By, change *eventsv1.Change) error {
	return d.journal.Append(d.event(action, tenant, by, change), journal.Strict)
}

func (d *Desk) event(action, tenant string, by record.By, change *eventsv1.Change) *eventsv1.Event {
	return by.Sign(&eventsv1.Event{
		Action: action, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Time: timestamppb.New(d.now()), Tenant: tenant,
		Change: change,
	})
}

func refuse(format string, args ...any) error {
	return fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token was refused: "+format+". Sign in again.", args...)
}
