// Package identity knows tenants, people, groups, roles and agents, signs people in and says whose a token is.
package identity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/record"
	"headgate.dev/libs/resourcestore"
	"headgate.dev/libs/rpc"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/token"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	"headgate.dev/proto/gen/headgate/identity/v1/identityv1connect"
	"headgate.dev/services/identity/internal/access"
	"headgate.dev/services/identity/internal/directory"
	"headgate.dev/services/identity/internal/keys"
	"headgate.dev/services/identity/internal/oauth"
	handlers "headgate.dev/services/identity/internal/rpc"
)

// Client is an OAuth client that people can sign in to.
type Client = oauth.Client

// Config is what an operator sets.
type Config struct {
	Database sqlstore.Config `yaml:"database"`
	// KeyFile seals the signing keys in the database. It is made with mode 0600 when the database is new, and refused when others can reach it.
	KeyFile string `yaml:"keyFile"`
	// Issuer is this service's own URL as clients see it, without a path.
	Issuer string `yaml:"issuer"`
	// APIAudience and MCPAudience are the URLs that tokens can be good for, with everything below them: Headgate's API and the MCP endpoints.
	APIAudience []string `yaml:"apiAudience"`
	MCPAudience []string `yaml:"mcpAudience"`
	// Clients are the OAuth clients that people can sign in to.
	Clients []Client `yaml:"clients"`
	// BootstrapTokenFile gets, at each start, a fresh access token of the bootstrap administrator, good for 24 hours, with mode 0600. Empty: none.
	// It is the way in while nobody else can sign in; whoever can read it administers every tenant.
	BootstrapTokenFile string `yaml:"bootstrapTokenFile"`
	// AllowIssue serves IssueToken: an administrator gets tokens for others. For headgate dev.
	AllowIssue bool `yaml:"allowIssue"`
	// DemoLogin serves a sign-in page that asks for no password. For headgate dev.
	DemoLogin bool `yaml:"demoLogin"`
}

// Deps is what the service is given.
type Deps struct {
	Journal record.Sink // where its audit records go
	Log     *slog.Logger
	Now     clock.Now
}

// Identity is the service.
type Identity struct {
	db        *sqlstore.DB
	directory *directory.Directory
	desk      *access.Desk
	handler   *handlers.Handler
	oauth     *oauth.Server
}

// New checks the configuration, opens the database and makes sure that the first administrator exists. It starts nothing.
func New(cfg Config, deps Deps) (*Identity, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if deps.Journal == nil || deps.Log == nil || deps.Now == nil {
		return nil, errors.New("identity: Journal, Log and Now are needed")
	}
	ctx := context.Background()
	db, err := sqlstore.Open(ctx, cfg.Database, resourcestore.Migrations(), directory.Migrations())
	if err != nil {
		return nil, err
	}
	i, err := open(ctx, cfg, deps, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return i, nil
}

func open(ctx context.Context, cfg Config, deps Deps, db *sqlstore.DB) (*Identity, error) {
	exist, err := keys.Exist(ctx, db)
	if err != nil {
		return nil, err
	}
	seal, err := keys.OpenSeal(cfg.KeyFile, !exist)
	if err != nil {
		return nil, err
	}
	d, err := directory.Open(ctx, db, seal, deps.Log, deps.Now)
	if err != nil {
		return nil, err
	}
	desk := access.New(access.Config{Issuer: cfg.Issuer, API: cfg.APIAudience, MCP: cfg.MCPAudience}, d, deps.Journal, deps.Now)
	if err := d.Bootstrap(ctx, desk.Recorder(record.Itself("identity"))); err != nil {
		return nil, err
	}
	if err := letIn(desk, cfg.BootstrapTokenFile); err != nil {
		return nil, err
	}
	server := oauth.New(oauth.Config{Issuer: cfg.Issuer, Clients: cfg.Clients, DemoLogin: cfg.DemoLogin}, d, desk, deps.Log, deps.Now)
	return &Identity{
		db: db, directory: d, desk: desk, oauth: server, handler: &handlers.Handler{Directory: d, Desk: desk, AllowIssue: cfg.AllowIssue},
	}, nil
}

// letIn writes the bootstrap administrator's token to a file, whole or not at all.
func letIn(desk *access.Desk, path string) error {
	if path == "" {
		return nil
	}
	grant := access.Grant{Tenant: directory.SystemTenant, Person: directory.SystemPerson, ClientID: "headgate", TTL: directory.LongestToken}
	raw, _, err := desk.Issue(grant, record.Itself("identity"))
	if err != nil {
		return err
	}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fault.Invalid("bootstrapTokenFile: %s cannot be written", path).Because(err)
	}
	file, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fault.Invalid("bootstrapTokenFile: %s cannot be written", path).Because(err)
	}
	_, err = file.WriteString(raw + "\n")
	if err := errors.Join(err, file.Close(), os.Rename(fresh, path)); err != nil {
		return fault.Invalid("bootstrapTokenFile: %s cannot be written", path).Because(err)
	}
	return nil
}

// Check says what is missing or wrong in the configuration.
func (c Config) Check() error {
	if err := c.Database.Check(); err != nil {
		return err
	}
	if c.KeyFile == "" {
		return fault.Invalid("keyFile: is missing; the service needs a file for the key that seals its signing keys")
	}
	if err := oauth.CheckClients(c.Clients); err != nil {
		return err
	}
	u, err := url.Parse(c.Issuer)
	if err != nil || !token.ValidResource(c.Issuer) || u.Path != "" {
		return fault.Invalid("issuer: must be this service's URL as clients see it, without a path, as https://id.example.com, is %q", c.Issuer)
	}
	for name, list := range map[string][]string{"apiAudience": c.APIAudience, "mcpAudience": c.MCPAudience} {
		if len(list) == 0 {
			return fault.Invalid("%s: is missing; name at least one URL that tokens are good for", name)
		}
		for n, audience := range list {
			if !token.ValidResource(audience) || strings.HasSuffix(audience, "/") {
				return fault.Invalid("%s[%d]: must be an http or https URL without query, fragment or slash at its end, is %q", name, n, audience)
			}
		}
	}
	return nil
}

// Register serves the methods of the service, the OAuth endpoints below /oauth2/ and the issuer's metadata.
func (i *Identity) Register(mux *rpc.Mux) {
	rpc.Handle[identityv1connect.IdentityServiceHandler](mux, identityv1connect.NewIdentityServiceHandler, i.handler)
	for _, pattern := range oauth.Patterns() {
		mux.HandlePlain(pattern, i.oauth)
	}
}

// Run follows the database until ctx ends and then closes it.
func (i *Identity) Run(ctx context.Context) error {
	if err := errors.Join(i.directory.Run(ctx), i.db.Close()); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return nil
}

// Ready reports whether the database answers and memory follows it.
func (i *Identity) Ready(ctx context.Context) error {
	if err := i.directory.Ping(ctx); err != nil {
		return err
	}
	return i.directory.Fresh()
}

// Authenticate says whose token this is, for this service's own mux. The token must be good for the API.
func (i *Identity) Authenticate(_ context.Context, raw string) (*identityv1.Caller, error) {
	return i.desk.Authenticate(raw, "")
}
