package trust_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	mark3 "github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/egress"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/sqlstore"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/trust"
)

func TestAServerThatCannotBeIsRefused(t *testing.T) {
	h := start(t, t.TempDir())
	of := func(label string) map[string]*trustv1.Labels {
		return map[string]*trustv1.Labels{"b": {Labels: []string{label}}}
	}
	for name, change := range map[string]func(*trustv1.ServerSpec){
		"no host":            func(s *trustv1.ServerSpec) { s.Url = "http:///mcp" },
		"another scheme":     func(s *trustv1.ServerSpec) { s.Url = "ftp://a.example/mcp" },
		"a password":         func(s *trustv1.ServerSpec) { s.Url = "https://me:secret@a.example/mcp" },
		"a fragment":         func(s *trustv1.ServerSpec) { s.Url = "https://a.example/mcp#x" },
		"port 0":             func(s *trustv1.ServerSpec) { s.Url = "https://a.example:0/mcp" },
		"an endless timeout": func(s *trustv1.ServerSpec) { s.Timeout = "9999m" },
		"no timeout":         func(s *trustv1.ServerSpec) { s.Timeout = "0s" },
		"a CA without TLS":   func(s *trustv1.ServerSpec) { s.Ca = "-----BEGIN CERTIFICATE-----" },
		"a CA that is none":  func(s *trustv1.ServerSpec) { s.Url, s.Ca = "https://a.example", "trust me" },
		"a pin that is none": func(s *trustv1.ServerSpec) { s.Pins = []string{"sha256/abc"} },
		"pins without TLS": func(s *trustv1.ServerSpec) {
			s.Url, s.Pins = "http://a.example", []string{"sha256/" + strings.Repeat("A", 43) + "="}
		},
		"a client certificate without TLS": func(s *trustv1.ServerSpec) { s.Url, s.ClientCertificate = "http://a.example", "core" },
		"insecure with TLS":                func(s *trustv1.ServerSpec) { s.Insecure = true },
		"a label with a blank":             func(s *trustv1.ServerSpec) { s.Labels = []string{"reads private"} },
		"another approval":                 func(s *trustv1.ServerSpec) { s.Approve = "always" },
		"a tool that is none":              func(s *trustv1.ServerSpec) { s.ToolLabels = map[string]*trustv1.Labels{"a b": {}} },
		"a place of no class":              func(s *trustv1.ServerSpec) { s.ToolLabels = of("data:@/a") },
		"a place that is no pointer":       func(s *trustv1.ServerSpec) { s.ToolLabels = of("data:health@a") },
		"a place of a class with a blank":  func(s *trustv1.ServerSpec) { s.ToolLabels = of("data:he alth@/a") },
		"a place with a line's end":        func(s *trustv1.ServerSpec) { s.ToolLabels = of("data:health@/a\nb") },
		"a place that is too long":         func(s *trustv1.ServerSpec) { s.ToolLabels = of("data:health@/" + strings.Repeat("a", 256)) },
		"a place of every tool":            func(s *trustv1.ServerSpec) { s.Labels = []string{"data:health@/a"} },
	} {
		err := h.apply(echo("https://a.example/mcp", func(s *trustv1.Server) { change(s.GetSpec()) }))
		if !fault.Is(err, faultv1.Reason_REASON_INVALID) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := h.apply(echo("https://a.example/mcp", func(s *trustv1.Server) { s.Metadata.Name = "a.b" })); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("a dot in the name, which would make two servers' tools one: %v", err)
	}
	if n := len(h.journal.of("resource-applied")); n != 0 {
		t.Errorf("%d records of what was not applied", n)
	}
}

func TestT13AnAddressOfThePlatformsOwnSecretsCannotBeDeclared(t *testing.T) {
	h := start(t, t.TempDir())
	for _, url := range []string{
		"http://169.254.169.254/latest/meta-data", "https://169.254.169.254/mcp", "http://[fd00:ec2::254]/mcp", "http://[::ffff:169.254.169.254]/mcp",
		"http://[64:ff9b::a9fe:a9fe]:8080/mcp", "http://0.0.0.0:8080/mcp", "http://[::]/mcp", "http://168.63.129.16/mcp", "http://[fe80::1]/mcp",
	} {
		if err := h.apply(echo(url)); !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), "spec.url is at") {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"http://10.0.0.1/mcp", "http://127.0.0.1:9/mcp", "http://[fd12::1]/mcp"} {
		if err := h.apply(echo(url)); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestADryRunChangesNothing(t *testing.T) {
	h := start(t, t.TempDir())
	req := &trustv1.ApplyRequest{DryRun: true, Resources: []*trustv1.Resource{{Kind: &trustv1.Resource_Server{Server: echo("http://127.0.0.1:9/mcp")}}}}
	res, err := h.as("acme/adam").Apply(t.Context(), connect.NewRequest(req))
	if err != nil || res.Msg.GetChanges()[0].GetAction() != resourcev1.Action_ACTION_CREATED {
		t.Fatal(res, err)
	}
	get := connect.NewRequest(&trustv1.GetRequest{Kind: "Server", Name: "echo"})
	if _, err := h.as("acme/adam").Get(t.Context(), get); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("%v", err)
	}
	if n := len(h.journal.of("resource-applied")); n != 0 {
		t.Errorf("%d records", n)
	}
}

func TestLabelsOfAToolAreItsServersAndItsOwn(t *testing.T) {
	h := start(t, t.TempDir())
	u := serve(t, tool("a", "one"), tool("b", "two"))
	h.mustApply(echo(u.url, initial, func(s *trustv1.Server) {
		s.Spec.Labels, s.Spec.ToolLabels = []string{"reads-private"}, map[string]*trustv1.Labels{"b": {Labels: []string{"egress", "reads-private", "data:health@?/structuredContent/a~1B"}}}
	}))
	h.edge.knows("approved: a:approved b:approved")
	h.edge.mu.Lock()
	defer h.edge.mu.Unlock()
	d := h.edge.servers["acme/echo"].GetDefinitions()
	if strings.Join(d[0].GetLabels(), " ") != "reads-private" || strings.Join(d[1].GetLabels(), " ") != "data:health@?/structuredContent/a~1B egress reads-private" {
		t.Errorf("%v", d)
	}
}

func TestRealServersOfBothErasAndLibrariesArePinned(t *testing.T) {
	official := sdk.NewServer(&sdk.Implementation{Name: "official", Version: "1"}, nil)
	official.AddTool(&sdk.Tool{Name: "echo", Description: "Says it again.", InputSchema: map[string]any{"type": "object"}}, nil)
	mark := server.NewMCPServer("mark", "1", server.WithToolCapabilities(true))
	mark.AddTool(mark3.NewTool("echo", mark3.WithDescription("Says it again.")), nil)
	for name, handler := range map[string]http.Handler{
		"official, legacy": sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return official }, nil),
		"official, modern": sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return official }, &sdk.StreamableHTTPOptions{Stateless: true}),
		"mcp-go":           server.NewStreamableHTTPServer(mark),
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(handler)
			t.Cleanup(s.Close)
			h := start(t, t.TempDir())
			h.mustApply(echo(s.URL+"/mcp", initial))
			h.edge.knows("approved: echo:approved")
			if shown := h.show(); len(shown.GetProtocolVersions()) == 0 || shown.GetServerInfo() == "" || shown.GetNote() != "" {
				t.Errorf("shown: %v", shown)
			}
		})
	}
}

func TestOnlyEdgesAndAuthzWatch(t *testing.T) {
	h := start(t, t.TempDir())
	for s, good := range map[optionsv1.Service]bool{
		optionsv1.Service_SERVICE_EDGE: true, optionsv1.Service_SERVICE_AUTHZ: true,
		optionsv1.Service_SERVICE_AUDIT: false, optionsv1.Service_SERVICE_IDENTITY: false,
	} {
		stream, err := h.service(s).Watch(t.Context(), connect.NewRequest(&trustv1.WatchRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.Receive(); got != good {
			t.Errorf("%s: %v, %v", s, got, stream.Err())
		}
		_ = stream.Close() // it is cut off in the middle
	}
}

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	deps := trust.Deps{Credentials: &lender{}, Journal: &recorder{}, Log: slog.New(slog.DiscardHandler), Now: clock.System}
	database := sqlstore.Config{Path: filepath.Join(t.TempDir(), "trust.db")}
	for name, cfg := range map[string]trust.Config{
		"no database": {}, "a negative pace": {Database: database, PollEvery: -1}, "an endless look": {Database: database, LookTimeout: 1 << 50},
		"half of a client certificate":         {Database: database, ClientCertificates: egress.Certificates{"core": {Certificate: "/a.pem"}}},
		"a client certificate that is no file": {Database: database, ClientCertificates: egress.Certificates{"core": {Certificate: "/a.pem", Key: "/b.pem"}}},
	} {
		if _, err := trust.New(cfg, deps); err == nil {
			t.Error(name)
		}
	}
	if _, err := trust.New(trust.Config{Database: database}, trust.Deps{}); err == nil {
		t.Error("nothing to work with")
	}
}
