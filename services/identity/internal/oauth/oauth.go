// Package oauth signs people in: an OpenID provider (authorization code with PKCE, public clients, resource indicators) on zitadel/oidc. The library reads
// and answers requests; the access tokens are made by access, so that they are the same as all others.
package oauth

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rs/cors"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"headgate.dev/libs/clock"
	"headgate.dev/services/identity/internal/access"
	"headgate.dev/services/identity/internal/directory"
)

const (
	pathAuthorize = "/oauth2/authorize"
	pathToken     = "/oauth2/token"
	pathRevoke    = "/oauth2/revoke"
	pathUserinfo  = "/oauth2/userinfo"
	pathKeys      = "/oauth2/keys"
	pathLogin     = "/oauth2/login"
	pathOpenID    = oidc.DiscoveryEndpoint
	pathMetadata  = "/.well-known/oauth-authorization-server" // RFC 8414

	tokenTTL = time.Hour
	maxBody  = 64 << 10
)

// Config is what the provider is.
type Config struct {
	Issuer    string
	Clients   []Client
	DemoLogin bool
}

// Server is the provider. Safe for concurrent use.
type Server struct {
	op.UnimplementedServer
	cfg       Config
	clients   map[string]*Client
	requests  *requests
	directory *directory.Directory
	desk      *access.Desk
	log       *slog.Logger
	now       clock.Now
	library   http.Handler
}

// New returns the provider. The clients have passed CheckClients.
func New(cfg Config, d *directory.Directory, desk *access.Desk, log *slog.Logger, now clock.Now) *Server {
	s := &Server{
		cfg: cfg, clients: map[string]*Client{}, directory: d, desk: desk, log: log, now: now, requests: &requests{db: d.DB(), now: now},
	}
	for _, c := range cfg.Clients {
		s.clients[c.ID] = &c
	}
	endpoints := op.Endpoints{
		Authorization: op.NewEndpoint(pathAuthorize), Token: op.NewEndpoint(pathToken), Revocation: op.NewEndpoint(pathRevoke),
		Userinfo: op.NewEndpoint(pathUserinfo), JwksURI: op.NewEndpoint(pathKeys),
	}
	s.library = op.RegisterServer(s, endpoints,
		op.WithFallbackLogger(slog.New(quiet{log.Handler()})),
		op.WithServerCORSOptions(&cors.Options{ // browsers may ask from any page, but never with cookies
			AllowedOrigins: []string{"*"}, AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost},
			AllowedHeaders: []string{"Authorization", "Content-Type", "Mcp-Protocol-Version"},
		}))
	return s
}

// Patterns are the paths that the server answers, as http.ServeMux patterns.
func Patterns() []string { return []string{"/oauth2/", pathOpenID, pathMetadata} }

// ServeHTTP answers one request after checks that the library leaves to its user.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if allowed := methods(r.URL.Path); !slices.Contains(allowed, r.Method) {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		http.Error(w, "This address does not take this method.", http.StatusMethodNotAllowed)
		return
	}
	if problem := s.parameters(r); problem != nil {
		op.WriteError(w, r, problem, slog.New(quiet{s.log.Handler()}))
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch r.URL.Path {
	case pathToken, pathRevoke, pathUserinfo, pathAuthorize, pathLogin:
		w.Header().Set("Cache-Control", "no-store")
	}
	switch r.URL.Path {
	case pathLogin:
		s.login(w, r)
	case pathMetadata:
		r = r.Clone(r.Context())
		r.URL.Path = pathOpenID
		s.library.ServeHTTP(w, r)
	default:
		s.library.ServeHTTP(w, r)
	}
}

// methods are what an address takes; the library takes any.
func methods(path string) []string {
	switch path {
	case pathToken, pathRevoke:
		return []string{http.MethodPost, http.MethodOptions}
	case pathAuthorize, pathLogin:
		return []string{http.MethodGet, http.MethodPost}
	case pathUserinfo:
		return []string{http.MethodGet, http.MethodPost, http.MethodOptions}
	}
	return []string{http.MethodGet, http.MethodHead, http.MethodOptions}
}

// parameters refuses what has two readings: a parameter that is there twice (RFC 6749, 3.1 and 3.2; resource may be, RFC 8707), and a secret in a URL.
func (s *Server) parameters(r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return op.NewStatusError(oidc.ErrInvalidRequest().WithDescription("the body is larger than %d bytes", maxBody), http.StatusRequestEntityTooLarge)
		}
		return oidc.ErrInvalidRequest().WithDescription("the parameters cannot be read")
	}
	for name, values := range r.Form {
		if len(values) > 1 && name != "resource" {
			return oidc.ErrInvalidRequest().WithDescription("a parameter is there more than once")
		}
	}
	if r.URL.RawQuery != "" && (r.URL.Path == pathToken || r.URL.Path == pathRevoke || r.URL.Path == pathUserinfo) {
		return oidc.ErrInvalidRequest().WithDescription("parameters belong in the body here, never in the URL")
	}
	return nil
}

// broken hides the cause of a failure from the client and logs it.
func (s *Server) broken(what string, err error) error {
	s.log.Error("sign-in failed", "at", what, "cause", err)
	return oidc.ErrServerError().WithDescription("Something failed inside. Try again; the log has the cause.")
}
