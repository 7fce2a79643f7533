package openfga

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	sdk "github.com/openfga/go-sdk"
	"github.com/openfga/go-sdk/client"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
)

// Server is an OpenFGA that answers. Safe for concurrent use.
type Server struct {
	cfg   Config
	model sdk.WriteAuthorizationModelRequest
	http  *http.Client
	url   string
	token secret.String
	own   *Embedded // nil when a server is reached by URL
}

const (
	// A question that takes longer has no answer.
	callTimeout = 10 * time.Second
	connections = 64
)

// Start runs the linked-in OpenFGA or prepares to reach the configured one. Close ends it.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Server, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	m, err := model()
	if err != nil {
		return nil, err
	}
	key, err := cfg.key()
	if err != nil {
		return nil, err
	}
	trusted, err := cfg.trusted()
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, model: m, url: cfg.URL, token: key, http: &http.Client{
		Timeout:   callTimeout,
		Transport: &http.Transport{MaxIdleConns: connections, MaxIdleConnsPerHost: connections, IdleConnTimeout: time.Minute, TLSClientConfig: trusted},
		// The key must not follow a redirect to somewhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if cfg.Dir != "" {
		if s.own, err = Embed(ctx, cfg.Dir, log); err != nil {
			return nil, err
		}
		s.url, s.token = s.own.url, s.own.token
	}
	return s, nil
}

// Close ends the linked-in server and all connections.
func (s *Server) Close() {
	s.http.CloseIdleConnections()
	if s.own != nil {
		s.own.Close()
	}
}

// Store opens a tenant's store, asked by the model that this program carries. Store and model are made when they are not there.
func (s *Server) Store(ctx context.Context, tenant string) (*Store, error) {
	c, err := s.connect("", "")
	if err != nil {
		return nil, err
	}
	store, err := s.findOrCreate(ctx, c, s.storeName(tenant))
	if err != nil {
		return nil, unavailable(err)
	}
	if c, err = s.connect(store, ""); err != nil {
		return nil, err
	}
	opened := &Store{id: store, types: s.model.TypeDefinitions, own: s.model, fga: c, connect: s.connect}
	if opened.model, err = s.ownModel(ctx, opened); err != nil {
		return nil, err
	}
	if opened.fga, err = s.connect(store, opened.model); err != nil {
		return nil, err
	}
	return opened, nil
}

// Ping reports whether OpenFGA answers.
func (s *Server) Ping(ctx context.Context) error {
	c, err := s.connect("", "")
	if err != nil {
		return err
	}
	if _, err := c.ListStores(ctx).Options(client.ClientListStoresOptions{PageSize: sdk.PtrInt32(1)}).Execute(); err != nil {
		return unavailable(err)
	}
	return nil
}

func (s *Server) storeName(tenant string) string { return s.cfg.namespace() + "/" + tenant }

func (s *Server) connect(store, model string) (*client.OpenFgaClient, error) {
	c, err := client.NewSdkClient(&client.ClientConfiguration{
		ApiUrl: s.url, StoreId: store, AuthorizationModelId: model, HTTPClient: s.http,
		// The SDK leaves its credentials out when it is given an HTTP client, so the header is set here.
		DefaultHeaders: map[string]string{"Authorization": "Bearer " + s.token.Reveal()},
		// Who asks decides whether to ask again.
		RetryParams: &sdk.RetryParams{MaxRetry: 0, MinWaitInMs: 1},
	})
	if err != nil {
		return nil, fmt.Errorf("openfga: make a client: %w", err)
	}
	return c, nil
}

func (s *Server) findOrCreate(ctx context.Context, c *client.OpenFgaClient, name string) (string, error) {
	if id, err := oldest(ctx, c, name); err != nil || id != "" {
		return id, err
	}
	made, err := c.CreateStore(ctx).Body(client.ClientCreateStoreRequest{Name: name}).Execute()
	if err != nil {
		return "", fmt.Errorf("create store %s: %w", name, err)
	}
	// Another replica may have made one in the same moment: the oldest is everyone's.
	id, err := oldest(ctx, c, name)
	if err != nil {
		return "", err
	}
	if id == "" { // a server may list from a replica that lags behind
		return made.Id, nil
	}
	if id != made.Id {
		if _, err := c.DeleteStore(ctx).Options(client.ClientDeleteStoreOptions{StoreId: &made.Id}).Execute(); err != nil {
			return "", fmt.Errorf("delete the second store %s: %w", name, err)
		}
	}
	return id, nil
}

func oldest(ctx context.Context, c *client.OpenFgaClient, name string) (string, error) {
	page, err := c.ListStores(ctx).Options(client.ClientListStoresOptions{Name: &name}).Execute()
	if err != nil {
		return "", fmt.Errorf("find store %s: %w", name, err)
	}
	// A server that does not know the filter lists every store; its own name is checked again so that no tenant gets another's.
	found := slices.DeleteFunc(page.Stores, func(s sdk.Store) bool { return s.Name != name })
	if len(found) == 0 && page.ContinuationToken != "" {
		return "", fmt.Errorf("find store %s: the server does not filter stores by name; OpenFGA 1.9 or newer is needed", name)
	}
	if len(found) == 0 {
		return "", nil
	}
	return slices.MinFunc(found, func(a, b sdk.Store) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Id, b.Id))
	}).Id, nil
}

// ownModel returns the id of the model that every question names. Models never change; a new one is written only where the store does not have it yet,
// and leaves those before it to the processes that still ask by them.
func (s *Server) ownModel(ctx context.Context, in *Store) (string, error) {
	models, err := in.Models(ctx)
	if err != nil {
		return "", err
	}
	for _, m := range models {
		if m.Own {
			return m.ID, nil
		}
	}
	written, err := in.fga.WriteAuthorizationModel(ctx).Body(s.model).Execute()
	if err != nil {
		return "", unavailable(fmt.Errorf("write the model: %w", err))
	}
	return written.AuthorizationModelId, nil
}

// unavailable is the one answer for an OpenFGA that is down, wrong or confused: nothing is allowed on its account.
func unavailable(cause error) error {
	return fault.New(faultv1.Reason_REASON_UNAVAILABLE,
		"OpenFGA, which holds the relations, does not answer as it should, so nothing can be allowed. Check its health; the log of authz has the cause.").
		Because(cause)
}
