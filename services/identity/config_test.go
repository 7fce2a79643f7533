package identity_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/sqlstore"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/identity"
)

type configuration = identity.Config

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	h := start(t, nil)
	h.stop()
	dir := t.TempDir()
	open := filepath.Join(dir, "open.key")
	if err := os.WriteFile(open, []byte("AAAA"), 0o644); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(dir, "wrong.key")
	if err := os.WriteFile(wrong, []byte(strings.Repeat("A", 43)+"="), 0o600); err != nil {
		t.Fatal(err)
	}
	client := func(c identity.Client) func(*configuration) {
		return func(cfg *configuration) { cfg.Clients = []identity.Client{c} }
	}
	tests := map[string]struct {
		change func(*configuration)
		want   string
	}{
		"no key file":           {func(c *configuration) { c.KeyFile = "" }, "keyFile: is missing"},
		"key file for all":      {func(c *configuration) { c.KeyFile = open }, "Run chmod 600"},
		"another key file":      {func(c *configuration) { c.KeyFile = wrong }, "it does not open signing key"},
		"a lost key file":       {func(c *configuration) { c.KeyFile = filepath.Join(dir, "none.key") }, "Bring the file back"},
		"no issuer":             {func(c *configuration) { c.Issuer = "" }, "issuer: must be"},
		"issuer with a path":    {func(c *configuration) { c.Issuer += "/id" }, "issuer: must be"},
		"issuer with a slash":   {func(c *configuration) { c.Issuer += "/" }, "issuer: must be"},
		"no API audience":       {func(c *configuration) { c.APIAudience = nil }, "apiAudience: is missing"},
		"no MCP audience":       {func(c *configuration) { c.MCPAudience = nil }, "mcpAudience: is missing"},
		"audience with a slash": {func(c *configuration) { c.MCPAudience = []string{mcp + "/"} }, "mcpAudience[0]: must be"},
		"no database":           {func(c *configuration) { c.Database = sqlstore.Config{} }, "database.path: is missing"},
		"client without id":     {client(identity.Client{RedirectURIs: []string{"https://x.example/"}}), "clients[0].id"},
		"client without uri":    {client(identity.Client{ID: "x"}), "clients[0].redirectURIs"},
		"client on plain http":  {client(identity.Client{ID: "x", RedirectURIs: []string{"http://x.example/"}}), "clients[0].redirectURIs[0]"},
		"client on javascript":  {client(identity.Client{ID: "x", RedirectURIs: []string{"javascript:alert(1)"}}), "clients[0].redirectURIs[0]"},
		"client with fragment":  {client(identity.Client{ID: "x", RedirectURIs: []string{"https://x.example/#a"}}), "clients[0].redirectURIs[0]"},
		"token file nowhere":    {func(c *configuration) { c.BootstrapTokenFile = "/dev/null/x" }, "bootstrapTokenFile"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := h.cfg
			test.change(&cfg)
			_, err := identity.New(cfg, identity.Deps{Journal: h.journal, Log: slog.New(slog.DiscardHandler), Now: clock.System})
			if err == nil || reason(err) != faultv1.Reason_REASON_INVALID || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestPrivateKeysAreSealedInTheDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sealed.db")
	h := start(t, func(cfg *configuration) { cfg.Database = sqlstore.Config{Path: file} })
	h.stop()
	for _, path := range []string{h.cfg.KeyFile, h.cfg.BootstrapTokenFile, file} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(content), `"d":"`) {
		t.Error("a private key is in the database in clear")
	}
}
