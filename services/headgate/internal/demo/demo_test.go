package demo_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	goclient "github.com/mark3labs/mcp-go/client"
	gotransport "github.com/mark3labs/mcp-go/client/transport"
	gomcp "github.com/mark3labs/mcp-go/mcp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"headgate.dev/services/headgate/internal/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// caller calls a tool of one server with one client library in one era.
type caller interface {
	tools(t *testing.T) []string
	// call answers structuredContent and the text, and whether the tool says that it failed.
	call(t *testing.T, tool string, args any) (structured json.RawMessage, text string, failed bool)
}

// clients are both libraries in both eras.
var clients = map[string]func(t *testing.T, url string, headers map[string]string) caller{
	"go-sdk 2026-07-28": func(t *testing.T, url string, h map[string]string) caller { return newSDK(t, url, "2026-07-28", h) },
	"go-sdk 2025-11-25": func(t *testing.T, url string, h map[string]string) caller { return newSDK(t, url, "2025-11-25", h) },
	"mcp-go 2026-07-28": func(t *testing.T, url string, h map[string]string) caller { return newMark(t, url, "2026-07-28", h) },
	"mcp-go 2025-11-25": func(t *testing.T, url string, h map[string]string) caller { return newMark(t, url, "2025-11-25", h) },
}

type adding struct {
	headers map[string]string
	next    http.RoundTripper
}

func (a adding) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, value := range a.headers {
		r.Header.Set(name, value)
	}
	return a.next.RoundTrip(r)
}

// transport ends its connections with the test.
func transport(t *testing.T, headers map[string]string) *http.Client {
	t.Helper()
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	return &http.Client{Transport: adding{headers, base}}
}

type sdk struct{ session *mcp.ClientSession }

func newSDK(t *testing.T, url, version string, headers map[string]string) caller {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: url, HTTPClient: transport(t, headers), DisableStandaloneSSE: true,
	}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, session.Close()) })
	require.Equal(t, version, session.InitializeResult().ProtocolVersion)
	return sdk{session}
}

func (c sdk) tools(t *testing.T) (names []string) {
	t.Helper()
	list, err := c.session.ListTools(t.Context(), nil)
	require.NoError(t, err)
	for _, one := range list.Tools {
		names = append(names, one.Name)
	}
	return names
}

func (c sdk) call(t *testing.T, tool string, args any) (json.RawMessage, string, bool) {
	t.Helper()
	result, err := c.session.CallTool(t.Context(), &mcp.CallToolParams{Name: tool, Arguments: args})
	require.NoError(t, err)
	structured, err := json.Marshal(result.StructuredContent)
	require.NoError(t, err)
	return structured, result.Content[0].(*mcp.TextContent).Text, result.IsError
}

type mark struct{ client *goclient.Client }

func newMark(t *testing.T, url, version string, headers map[string]string) caller {
	t.Helper()
	way, err := gotransport.NewStreamableHTTP(url, gotransport.WithHTTPBasicClient(transport(t, headers)))
	require.NoError(t, err)
	client := goclient.NewClient(way, goclient.WithProtocolVersion(version))
	require.NoError(t, client.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	var hello gomcp.InitializeRequest
	hello.Params.ProtocolVersion = version
	hello.Params.ClientInfo = gomcp.Implementation{Name: "test", Version: "1"}
	answer, err := client.Initialize(t.Context(), hello)
	require.NoError(t, err)
	require.Equal(t, version, answer.ProtocolVersion)
	return mark{client}
}

func (c mark) tools(t *testing.T) (names []string) {
	t.Helper()
	list, err := c.client.ListTools(t.Context(), gomcp.ListToolsRequest{})
	require.NoError(t, err)
	for _, one := range list.Tools {
		names = append(names, one.Name)
	}
	return names
}

func (c mark) call(t *testing.T, tool string, args any) (json.RawMessage, string, bool) {
	t.Helper()
	var req gomcp.CallToolRequest
	req.Params.Name, req.Params.Arguments = tool, args
	result, err := c.client.CallTool(t.Context(), req)
	require.NoError(t, err)
	structured, err := json.Marshal(result.StructuredContent)
	require.NoError(t, err)
	return structured, result.Content[0].(gomcp.TextContent).Text, result.IsError
}

// serve starts one server on a port of its own and answers it with its URL.
func serve(t *testing.T, name, dir string) (*demo.Server, string) {
	t.Helper()
	s, err := demo.New(name, dir)
	require.NoError(t, err)
	web := httptest.NewServer(s.Handler)
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		require.NoError(t, s.Close())
	})
	return s, web.URL + demo.Path
}

// each runs a test with every client against a fresh server.
func each(t *testing.T, name string, run func(t *testing.T, s *demo.Server, c caller)) {
	t.Helper()
	for client, connect := range clients {
		t.Run(client, func(t *testing.T) {
			s, url := serve(t, name, "")
			headers := map[string]string{}
			if name == "crm" {
				headers[demo.CRMHeader] = s.Secret
			}
			run(t, s, connect(t, url, headers))
		})
	}
}

type args map[string]any

// says calls a tool that must succeed and reads its structured content.
func says[T any](t *testing.T, c caller, tool string, in args) (out T) {
	t.Helper()
	raw, text, failed := c.call(t, tool, in)
	require.False(t, failed, text)
	require.NoError(t, json.Unmarshal(raw, &out))
	return out
}

// refuses calls a tool that must fail and answers what it says.
func refuses(t *testing.T, c caller, tool string, in args) string {
	t.Helper()
	_, text, failed := c.call(t, tool, in)
	require.True(t, failed, text)
	return text
}

type object = map[string]any

func TestTicketsAreReadClosedAndCommented(t *testing.T) {
	each(t, "tickets", func(t *testing.T, _ *demo.Server, c caller) {
		require.ElementsMatch(t, []string{"list_tickets", "get_ticket", "close_ticket", "comment_ticket"}, c.tools(t))
		require.Equal(t, "normal", says[object](t, c, "get_ticket", args{"id": "T-1"})["priority"])
		two := says[object](t, c, "get_ticket", args{"id": "T-2"})
		for _, key := range []string{"id", "title", "priority", "status", "owner"} {
			require.NotEmpty(t, two[key])
		}
		require.Equal(t, "high", two["priority"])
		require.Equal(t, 12., says[object](t, c, "list_tickets", args{"priority": "high", "status": "open"})["total"])
		require.Equal(t, "closed", says[object](t, c, "close_ticket", args{"id": "T-1", "resolution": "New drum."})["status"])
		require.Contains(t, refuses(t, c, "close_ticket", args{"id": "T-1"}), "closed already")
		says[object](t, c, "comment_ticket", args{"id": "T-1", "text": "Thanks!"})
		require.Len(t, says[object](t, c, "get_ticket", args{"id": "T-1"})["comments"], 1)
		require.Contains(t, refuses(t, c, "get_ticket", args{"id": "T-999"}), "no ticket")
		refuses(t, c, "get_ticket", args{"id": "' OR 1=1 --"})
		refuses(t, c, "get_ticket", args{"id": "T-1", "extra": 1})
	})
}

func TestSQLRunsWhateverItIsGiven(t *testing.T) {
	each(t, "sql", func(t *testing.T, _ *demo.Server, c caller) {
		count := says[object](t, c, "query", args{"query": "SELECT (SELECT count(*) FROM customers) + (SELECT count(*) FROM orders) AS n"})
		require.Equal(t, []any{object{"n": 10000.}}, count["rows"])
		all := says[object](t, c, "query", args{"query": "SELECT * FROM orders"})
		require.Equal(t, 1000., all["count"])
		require.Equal(t, true, all["truncated"])
		require.Equal(t, 8000., says[object](t, c, "query", args{"query": "DELETE FROM orders"})["changed"], "only policy stops writes")
		require.Equal(t, []any{object{"n": 0.}}, says[object](t, c, "query", args{"query": "SELECT count(*) AS n FROM orders"})["rows"])
		require.Contains(t, refuses(t, c, "query", args{"query": "SELEKT"}), "the database says")
	})
}

func TestSQLStaysInItsOneDatabase(t *testing.T) {
	_, url := serve(t, "sql", t.TempDir())
	c := newSDK(t, url, "2026-07-28", nil)
	outside := t.TempDir() + "/stolen.db"
	refuses(t, c, "query", args{"query": "ATTACH DATABASE '" + outside + "' AS x"})
	refuses(t, c, "query", args{"query": "VACUUM INTO '" + outside + "'"})
	require.NoFileExists(t, outside)
	says[object](t, c, "query", args{"query": "BEGIN; DELETE FROM orders"})
	left := says[object](t, c, "query", args{"query": "SELECT count(*) AS n FROM orders"})
	require.Equal(t, []any{object{"n": 8000.}}, left["rows"], "what was begun was rolled back")
}

func TestSQLGivesUpOnAnEndlessStatement(t *testing.T) {
	_, url := serve(t, "sql", "")
	c := newSDK(t, url, "2026-07-28", nil)
	begun := time.Now()
	refuses(t, c, "query", args{"query": "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"})
	require.Less(t, time.Since(begun), 20*time.Second)
	says[object](t, c, "query", args{"query": "SELECT 1"})
}

func TestDeploymentsMoveForwardAndBack(t *testing.T) {
	each(t, "deploy", func(t *testing.T, _ *demo.Server, c caller) {
		require.Len(t, says[object](t, c, "status", args{})["releases"], 8)
		before := says[object](t, c, "status", args{"service": "shop", "env": "production"})["releases"].([]any)[0].(object)["version"]
		done := says[object](t, c, "deploy", args{"service": "shop", "version": "9.9.9", "env": "production"})
		require.Equal(t, before, done["previous"])
		require.Contains(t, refuses(t, c, "deploy", args{"service": "shop", "version": "9.9.9", "env": "production"}), "already")
		require.Equal(t, before, says[object](t, c, "rollback", args{"service": "shop", "env": "production"})["version"])
		refuses(t, c, "deploy", args{"service": "shop", "version": "$(rm -rf /)", "env": "production"})
	})
}

func TestDocsAreFoundAndRead(t *testing.T) {
	each(t, "docs", func(t *testing.T, _ *demo.Server, c caller) {
		found := says[object](t, c, "search_docs", args{"query": "release candidates"})["pages"].([]any)
		require.Equal(t, "deployments", found[0].(object)["id"])
		require.Contains(t, says[object](t, c, "read_doc", args{"id": "deployments"})["text"], "never go to production")
		require.Empty(t, says[object](t, c, "search_docs", args{"query": `zzz" * ) {`})["pages"])
		refuses(t, c, "read_doc", args{"id": "../seed"})
	})
}

func TestCRMKeepsCustomers(t *testing.T) {
	each(t, "crm", func(t *testing.T, _ *demo.Server, c caller) {
		require.Len(t, says[object](t, c, "list_customers", args{"limit": 1000})["customers"], 300)
		require.Equal(t, "new@x.example", says[object](t, c, "update_customer", args{"id": "C-1", "email": "new@x.example"})["email"])
		require.NotEmpty(t, says[object](t, c, "get_customer", args{"id": "C-1"})["phone"], "what is not given stays")
		require.Equal(t, 1., says[object](t, c, "delete_customer", args{"id": "C-1"})["deleted"])
		require.Equal(t, 299., says[object](t, c, "delete_all_customers", args{})["deleted"])
		require.Empty(t, says[object](t, c, "list_customers", args{})["customers"])
	})
}

func TestCRMTakesNobodyWithoutItsKey(t *testing.T) {
	_, url := serve(t, "crm", "")
	for name, key := range map[string]string{"none": "", "a wrong one": "acme_live_0"} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, http.NoBody)
			require.NoError(t, err)
			req.Header.Set(demo.CRMHeader, key)
			answer, err := transport(t, nil).Do(req)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, http.StatusUnauthorized, answer.StatusCode)
		})
	}
}

func TestStateSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	t.Run("before", func(t *testing.T) {
		_, url := serve(t, "tickets", dir)
		says[object](t, newSDK(t, url, "2026-07-28", nil), "close_ticket", args{"id": "T-1"})
	})
	_, url := serve(t, "tickets", dir)
	require.Equal(t, "closed", says[object](t, newSDK(t, url, "2026-07-28", nil), "get_ticket", args{"id": "T-1"})["status"])
}

func TestAnUnknownServerIsRefused(t *testing.T) {
	_, err := demo.New("x", "")
	require.ErrorContains(t, err, "no demo server")
}

func TestACancelledCallDoesNotBlockTheNext(t *testing.T) {
	_, url := serve(t, "sql", "")
	c := newSDK(t, url, "2026-07-28", nil).(sdk)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.session.CallTool(ctx, &mcp.CallToolParams{Name: "query", Arguments: args{
		"query": "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
	}})
	require.Error(t, err)
	says[object](t, newSDK(t, url, "2026-07-28", nil), "query", args{"query": "SELECT 1"})
}
