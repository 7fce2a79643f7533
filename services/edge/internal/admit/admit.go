// Package admit knows who calls: it checks host, origin and media types of a request, its token against the directory as it is now, and how
// often the caller comes. A verified token is remembered by its hash; what may change is checked again on every request.
package admit

import (
	"crypto/sha256"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/token"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/directory"
	"headgate.dev/services/edge/internal/guard"
)

// maxTokens is how many verified tokens are remembered; beyond it all are forgotten and verified anew.
const maxTokens = 100_000

// maxEndpoints is how many endpoints are remembered of one token.
const maxEndpoints = 64

// Config says what the endpoint is called and how often one caller may come.
type Config struct {
	// Base is the public URL without a path.
	Base   string
	Issuer string
	// Hosts are the values of Host that are served; Origins those of Origin.
	Hosts, Origins []string
	// Rate is calls a second of one principal, Burst how many at once.
	Rate, Burst float64
}

// Admitter checks requests. Safe for concurrent use.
type Admitter struct {
	cfg       Config
	directory *directory.Directory
	verifier  *token.Verifier
	now       clock.Now
	buckets   buckets

	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]*verified
}

// verified is a token whose signature, issuer and form are in order, and its caller as of a generation of the directory.
type verified struct {
	claims *token.Claims
	as     atomic.Pointer[standing]
}

// standing is what the directory said of a token at one generation. It does not change.
type standing struct {
	at     int64
	caller *guard.Caller
	good   []string // endpoints that the token is for
}

// New makes an admitter over a directory.
func New(cfg Config, d *directory.Directory, now clock.Now) *Admitter {
	return &Admitter{
		cfg: cfg, directory: d, verifier: token.NewVerifier(cfg.Issuer, d.Keys, now), now: now,
		buckets: buckets{rate: cfg.Rate, burst: cfg.Burst}, tokens: map[[sha256.Size]byte]*verified{},
	}
}

// Admit implements guard.Admitter.
func (a *Admitter) Admit(in *guard.Inbound) (*guard.Caller, error) {
	if in.Unfit != nil {
		return nil, in.Unfit
	}
	if err := a.where(in); err != nil {
		return nil, err
	}
	now := a.now()
	caller, err := a.who(in, now)
	if err != nil {
		return nil, a.challenge(in, err)
	}
	if wait := a.buckets.take(caller, now); wait > 0 {
		refused := guard.AtHTTP(http.StatusTooManyRequests, faultv1.Reason_REASON_RATE_LIMITED,
			"Too many requests from this caller. Wait %s and try again.", wait.Round(time.Millisecond))
		refused.RetryAfter = wait
		return caller, refused
	}
	if in.Verb == http.MethodPost {
		return caller, media(in)
	}
	return caller, nil
}

// where refuses requests that a web page of another origin could make, or that were sent to another name (DNS rebinding).
func (a *Admitter) where(in *guard.Inbound) error {
	if !slices.Contains(a.cfg.Hosts, in.Host) && !slices.Contains(a.cfg.Hosts, strings.ToLower(in.Host)) {
		return guard.AtHTTP(http.StatusForbidden, faultv1.Reason_REASON_FORBIDDEN_ORIGIN,
			"This endpoint is not served under the host name of the request. Use %s.", a.cfg.Base)
	}
	if len(in.Origins) > 1 || len(in.Origins) == 1 && !slices.Contains(a.cfg.Origins, strings.ToLower(in.Origins[0])) {
		return guard.AtHTTP(http.StatusForbidden, faultv1.Reason_REASON_FORBIDDEN_ORIGIN,
			"Pages of this origin may not use this endpoint. An administrator can allow it in the edge's configuration.")
	}
	return nil
}

func media(in *guard.Inbound) error {
	if in.Encoded {
		return guard.AtHTTP(http.StatusUnsupportedMediaType, faultv1.Reason_REASON_INVALID, "The body must not be compressed or otherwise encoded. Send it plain.")
	}
	if in.ContentType != "application/json" {
		if kind, params, err := mime.ParseMediaType(in.ContentType); err != nil || kind != "application/json" || !utf8Only(params) {
			return guard.AtHTTP(http.StatusUnsupportedMediaType, faultv1.Reason_REASON_INVALID, "The body must be application/json in UTF-8.")
		}
	}
	if !accepts(in.Accept) {
		return guard.AtHTTP(http.StatusNotAcceptable, faultv1.Reason_REASON_INVALID,
			"The answer can be application/json, with or without a stream, so the request's Accept must take application/json or */*.")
	}
	return nil
}

func utf8Only(params map[string]string) bool {
	for name, value := range params {
		if name != "charset" || !strings.EqualFold(value, "utf-8") {
			return false
		}
	}
	return true
}

func accepts(accept string) bool {
	if accept == "" {
		return true
	}
	for part := range strings.SplitSeq(accept, ",") {
		kind, params, _ := strings.Cut(part, ";")
		if strings.Contains(strings.ReplaceAll(params, " ", "")+";", "q=0;") {
			continue
		}
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "application/json", "application/*", "*/*":
			return true
		}
	}
	return false
}

// who finds the caller of the token.
func (a *Admitter) who(in *guard.Inbound, now time.Time) (*guard.Caller, error) {
	if in.Bearer == "" {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "This endpoint needs an access token. Send it as: Authorization: Bearer TOKEN.")
	}
	known, err := a.verified(in.Bearer, now)
	if err != nil {
		return nil, err
	}
	return a.current(known, in.Endpoint)
}

// Knows reports whether a token is one of this edge's issuer that has neither expired nor been revoked, whatever it is for: who has none is not
// given much room before it is refused.
func (a *Admitter) Knows(bearer string) bool {
	if bearer == "" {
		return false
	}
	known, err := a.verified(bearer, a.now())
	if err == nil {
		_, err = a.holds(known.claims)
	}
	return err == nil
}

// verified finds a token that was verified before, or verifies it.
func (a *Admitter) verified(bearer string, now time.Time) (*verified, error) {
	var room [2048]byte // a token's usual length; a longer one takes its own
	sum := sha256.Sum256(append(room[:0], bearer...))
	a.mu.RLock()
	known := a.tokens[sum]
	a.mu.RUnlock()
	if known == nil {
		claims, err := a.verifier.Verify(bearer)
		if err != nil {
			return nil, err
		}
		known = &verified{claims: claims}
		a.mu.Lock()
		if len(a.tokens) >= maxTokens {
			clear(a.tokens)
		}
		a.tokens[sum] = known
		a.mu.Unlock()
	}
	if !now.Before(known.claims.Expires) {
		a.mu.Lock()
		delete(a.tokens, sum)
		a.mu.Unlock()
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token has expired. Sign in again.")
	}
	return known, nil
}

// current holds a verified token to the directory as it is now. A revocation or a change of the person makes a new generation.
func (a *Admitter) current(v *verified, endpoint string) (*guard.Caller, error) {
	generation := a.directory.Generation() // before the rest is looked up: what changes meanwhile makes a new one
	last := v.as.Load()
	if last != nil && last.at == generation && slices.Contains(last.good, endpoint) {
		return last.caller, nil
	}
	if !v.claims.GoodFor(a.cfg.Base + endpoint) {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token was issued for another resource. Ask for one for %s.", a.cfg.Base+endpoint)
	}
	person, err := a.holds(v.claims)
	if err != nil {
		return nil, err
	}
	next := &standing{at: generation, good: []string{endpoint}}
	if last != nil && last.at == generation {
		next.caller = last.caller
		if len(last.good) < maxEndpoints {
			next.good = append(next.good, last.good...)
		}
	} else {
		next.caller = callerOf(v.claims, person, generation)
	}
	v.as.Store(next)
	return next.caller, nil
}

// holds finds the person of a token that was not ended before its time.
func (a *Admitter) holds(claims *token.Claims) (directory.Person, error) {
	if a.directory.Revoked(claims) {
		return directory.Person{}, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token was revoked. Sign in again.")
	}
	person, ok := a.directory.Person(claims.Tenant, claims.Subject)
	if !ok || person.Disabled {
		return person, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The person of this access token is disabled or does not exist any more.")
	}
	return person, nil
}

// Still implements guard.Admitter.
func (a *Admitter) Still(in *guard.Inbound, caller *guard.Caller) error {
	if a.directory.Generation() == caller.Mark {
		return nil
	}
	if _, err := a.holds(caller.Claims); err != nil {
		return a.challenge(in, err)
	}
	return nil
}

// Current implements guard.Admitter.
func (a *Admitter) Current(in *guard.Inbound, caller *guard.Caller) (*guard.Caller, error) {
	generation := a.directory.Generation()
	if !a.now().Before(caller.Claims.Expires) {
		return nil, a.challenge(in, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "The access token has expired. Sign in again."))
	}
	if generation == caller.Mark {
		return caller, nil
	}
	person, err := a.holds(caller.Claims)
	if err != nil {
		return nil, a.challenge(in, err)
	}
	return callerOf(caller.Claims, person, generation), nil
}

func callerOf(claims *token.Claims, person directory.Person, generation int64) *guard.Caller {
	return &guard.Caller{
		Tenant: claims.Tenant, Person: claims.Subject, Email: person.Email, DisplayName: person.DisplayName,
		Agent: claims.Agent, ClientID: claims.ClientID, TokenID: claims.ID, Principal: person.Principal,
		Claims: claims, Mark: generation,
	}
}

// Metadata implements guard.Admitter.
func (a *Admitter) Metadata(in *guard.Inbound) string {
	return a.cfg.Base + "/.well-known/oauth-protected-resource" + in.Endpoint
}

// challenge says where a token can be had (RFC 6750, RFC 9728).
func (a *Admitter) challenge(in *guard.Inbound, err error) error {
	why := fault.From(err)
	if why.Reason != faultv1.Reason_REASON_UNAUTHENTICATED {
		return err
	}
	said := `Bearer resource_metadata="` + a.Metadata(in) + `"`
	if in.Bearer != "" {
		said += `, error="invalid_token", error_description="` + guard.Quotable(why.Sentence) + `"`
	}
	return &guard.Refusal{Fault: why, Status: http.StatusUnauthorized, Challenge: said}
}
