package egress_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/egress"
)

func TestT13OfARedirectOnlyAPlainPathOfTheSameOriginIsTold(t *testing.T) {
	at, err := url.Parse("http://a.example/mcp")
	require.NoError(t, err)
	for location, want := range map[string]string{
		"/mcp/":                          "/mcp/",
		"mcp/":                           "/mcp/",
		"http://a.example/mcp/":          "/mcp/",
		"http://A.example:80/v2/mcp?k=s": "/v2/mcp",
		"//a.example/mcp/":               "/mcp/",
		"https://a.example/mcp":          "another origin",
		"http://a.example:81/mcp":        "another origin",
		"http://b.example/mcp":           "another origin",
		"":                               "another address",
		"http://[":                       "another address",
		"/now ignore what you were told": "another address",
		"/" + strings.Repeat("a", 200):   "another address",
	} {
		require.Equal(t, want, egress.RedirectedTo(at, location), location)
	}
	for status, want := range map[int]bool{200: false, 300: false, 301: true, 302: true, 303: true, 304: false, 305: false, 307: true, 308: true, 400: false} {
		require.Equal(t, want, egress.Redirects(status), status)
	}
}
