//go:build external

package conformance_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"headgate.dev/tools/e2e/conformance"
)

// polling is the scenario of a stream that its server closes in the middle of a call and that the client takes up again. The official fixture cannot pass it, because it
// keeps nothing of its streams, so resumable stands in for it there.
const polling = "server-sse-polling"

// resumable is a server of the official SDK with sessions that keeps the events of its streams. Its tool is the one that the scenario calls. It returns its URL.
func resumable(t *testing.T) string {
	t.Helper()
	server := mcp.NewServer(&mcp.Implementation{Name: "resumable", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "test_reconnection", Description: "Closes its stream and answers once the client is back."},
		func(_ context.Context, call *mcp.CallToolRequest, _ struct{}) (*mcp.CallToolResult, any, error) {
			call.Extra.CloseSSEStream(mcp.CloseSSEStreamArgs{RetryAfter: 50 * time.Millisecond})
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "taken up again"}}}, nil, nil
		})
	serve := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server },
		&mcp.StreamableHTTPOptions{EventStore: mcp.NewMemoryEventStore(nil)}))
	t.Cleanup(serve.Close)
	return serve.URL
}

// polls puts the outcome of the scenario against the server at the URL into a report, in place of what the official fixture could do there.
func polls(ctx context.Context, t *testing.T, s conformance.Suite, report conformance.Report, url string) {
	t.Helper()
	one, err := s.ServerScenario(ctx, url, conformance.Legacy, polling)
	if err != nil {
		t.Fatal(err)
	}
	if o := one[polling]; !o.Passed() {
		t.Errorf("%s does not pass at %s: %+v", polling, url, o.Checks)
	}
	for _, check := range []string{"server-sse-priming-event", "server-sse-retry-field", "server-sse-disconnect-resume"} {
		if !one[polling].Succeeded(check) {
			t.Errorf("%s of %s does not succeed at %s: %+v", check, polling, url, one[polling].Checks)
		}
	}
	report[polling] = one[polling]
}
