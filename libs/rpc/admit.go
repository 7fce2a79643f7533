package rpc

import (
	"context"
	"crypto/x509"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"

	"headgate.dev/libs/fault"
)

// spiffePrefix starts the URI by which a certificate names a service.
const spiffePrefix = "spiffe://headgate/service/"

// maxToken is the most bytes that an access token may have.
const maxToken = 16 << 10

// admit is the one point of authorisation: it runs before a request's message is read, on every procedure, unary or streaming. A certificate or a
// token that is presented and does not hold refuses the call, whatever else is presented with it.
func (m *Mux) admit(ctx context.Context, spec connect.Spec, _ connect.Peer, header http.Header) (context.Context, error) {
	c := callFrom(ctx)
	if err := m.authorise(ctx, c, spec.Procedure, header); err != nil {
		return nil, m.turnAway(ctx, c, spec.Procedure, err)
	}
	c.admitted = true
	return WithCaller(ctx, c.caller), nil
}

func (m *Mux) authorise(ctx context.Context, c *call, procedure string, header http.Header) error {
	if c.method = m.method(procedure); c.method == nil {
		return fault.New(faultv1.Reason_REASON_METHOD, "%s does not say who may call it, so nobody may.", procedure)
	}
	if c.stranger != nil {
		return c.stranger
	}
	caller, err := m.identify(ctx, c, header)
	if err != nil {
		return err
	}
	c.caller = caller
	if refused := c.method.judge(caller); refused != nil {
		return refused
	}
	return nil
}

// identify says who makes a call of a known method.
func (m *Mux) identify(ctx context.Context, c *call, header http.Header) (Caller, error) {
	person, err := m.person(ctx, header)
	if err != nil {
		return Caller{}, err
	}
	service := Caller{Service: c.service}
	switch {
	case c.service != optionsv1.Service_SERVICE_UNSPECIFIED && (person == nil || c.method.judge(service) == nil):
		return service, nil
	case person != nil: // also where a service asks for a person, and has no right of its own here
		return Caller{Person: person}, nil
	default:
		return Caller{}, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The request names no caller. Send an access token as Authorization: Bearer.")
	}
}

// admitServices admits services and nobody else, to what is no method of Headgate.
func (m *Mux) admitServices(ctx context.Context, spec connect.Spec, _ connect.Peer, _ http.Header) (context.Context, error) {
	c := callFrom(ctx)
	err := c.stranger
	if err == nil && c.service == optionsv1.Service_SERVICE_UNSPECIFIED {
		err = fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "%s is for the services of Headgate alone, known by their certificates.", spec.Procedure)
	}
	if err != nil {
		return nil, m.turnAway(ctx, c, spec.Procedure, err)
	}
	c.admitted = true
	return ctx, nil
}

// turnAway is the way out of a call that is not admitted: recorded or counted when its method is audited, reported, and put in the wire's form.
func (m *Mux) turnAway(ctx context.Context, c *call, procedure string, err error) error {
	refused := faultOf(err)
	if c.method != nil && c.method.access.GetAudited() && c.service == optionsv1.Service_SERVICE_UNSPECIFIED && !m.counts(c, refused) {
		if recordErr := m.recordFinal(c, "", 0, refused); recordErr != nil {
			refused = faultOf(recordErr)
		}
	}
	m.report(ctx, c, procedure, refused)
	return toWire(refused, c.id)
}

// person is who the request's access token belongs to; nil when it carries none.
func (m *Mux) person(ctx context.Context, header http.Header) (*identityv1.Caller, error) {
	token, err := bearer(header)
	if err != nil || token == "" {
		return nil, err
	}
	if m.cfg.Authenticate == nil {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "This service takes no access tokens: it cannot check them.")
	}
	p, err := m.cfg.Authenticate(ctx, token)
	if err != nil {
		return nil, err
	}
	if p.GetTenant() == "" || p.GetName() == "" {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token belongs to nobody. Sign in again.")
	}
	if p.GetExpiresAt() != nil && !m.cfg.Now().Before(p.GetExpiresAt().AsTime()) {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token has expired. Sign in again.")
	}
	return p, nil
}

// bearer takes the token from the header, read strictly; empty when there is no header.
func bearer(header http.Header) (string, error) {
	values := header.Values("Authorization")
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, found := strings.Cut(values[0], " ")
	if len(values) > 1 || !found || !strings.EqualFold(scheme, "bearer") || token == "" || len(token) > maxToken ||
		strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fault.New(faultv1.Reason_REASON_UNAUTHENTICATED,
			"The Authorization header is not one bearer token. Send it once, as: Authorization: Bearer TOKEN.")
	}
	return token, nil
}

type inProcessKey struct{}

// serviceOf is the service that a request comes from, by the in-process transport or by its certificate, which the listener verified against the
// installation's own authority. A certificate that names no service of Headgate is an error, not nobody.
func serviceOf(r *http.Request) (optionsv1.Service, error) {
	if s, ok := r.Context().Value(inProcessKey{}).(optionsv1.Service); ok {
		return s, nil
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return optionsv1.Service_SERVICE_UNSPECIFIED, nil
	}
	if len(r.TLS.VerifiedChains) == 0 {
		return optionsv1.Service_SERVICE_UNSPECIFIED, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The client certificate is not verified.")
	}
	s := serviceIn(r.TLS.PeerCertificates[0])
	if s == optionsv1.Service_SERVICE_UNSPECIFIED {
		return s, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED,
			"The client certificate names no service of Headgate. Its only URI must be %sNAME; people send an access token and no certificate.", spiffePrefix)
	}
	return s, nil
}

// serviceIn is the service that a certificate names: exactly one URI, as SPIFFE asks.
func serviceIn(cert *x509.Certificate) optionsv1.Service {
	if len(cert.URIs) != 1 {
		return optionsv1.Service_SERVICE_UNSPECIFIED
	}
	name, ok := strings.CutPrefix(cert.URIs[0].String(), spiffePrefix)
	if !ok {
		return optionsv1.Service_SERVICE_UNSPECIFIED
	}
	return ServiceByName(name)
}
