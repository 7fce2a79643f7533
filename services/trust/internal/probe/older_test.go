package probe_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mark3labs/mcp-go/server"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"headgate.dev/services/trust/internal/probe"
)

func TestAServerOfHTTPAndSSEIsLookedAt(t *testing.T) {
	official := sdkServer()
	for name, c := range map[string]struct {
		handler http.Handler
		tools   []string
	}{
		"official": {sdk.NewSSEHandler(func(*http.Request) *sdk.Server { return official }, nil), []string{"echo"}},
		"mcp-go":   {server.NewSSEServer(markServer()), []string{"add", "subtract"}},
	} {
		t.Run(name, func(t *testing.T) {
			url := strings.Replace(serve(t, c.handler), "/mcp", "/sse", 1)
			got := look(t, url)
			if len(got.Versions) != 1 || !slices.Equal(names(got.Tools), c.tools) || got.Instructions != "Ask first." || got.ServerInfo == "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// stream answers GET with one event and POST with 405, as a server of HTTP+SSE does where its stream is.
func stream(t *testing.T, event func(r *http.Request) string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, event(r))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	return s.URL + "/sse"
}

func TestT13TrustSendsNothingToAnotherOrigin(t *testing.T) {
	var stolen atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	t.Cleanup(thief.Close)
	url := stream(t, func(*http.Request) string { return "event: endpoint\ndata: " + thief.URL + "/messages\n\n" })
	if _, err := probe.Server(t.Context(), probe.Target{URL: url}, probe.DefaultLimits()); err == nil || stolen.Load() != 0 {
		t.Errorf("%v, %d messages", err, stolen.Load())
	}
}

func TestT22AStreamThatSaysNothingEndsTheLook(t *testing.T) {
	limits := probe.DefaultLimits()
	limits.Request = 300e6
	for name, event := range map[string]string{"no endpoint": ": hello\n\n", "no answer": "event: endpoint\ndata: /messages\n\n"} {
		url := stream(t, func(*http.Request) string { return event })
		if _, err := probe.Server(t.Context(), probe.Target{URL: url}, limits); err == nil {
			t.Errorf("%s: looked at", name)
		}
	}
}
