package token_test

import (
	"net/url"
	"strings"
	"testing"

	"headgate.dev/libs/token"
)

// FuzzCovers wants that what an audience covers is surely at its host and below its path, however the resource is written.
func FuzzCovers(f *testing.F) {
	const audience = "https://gate.example/mcp"
	for _, resource := range []string{audience, audience + "/echo", "https://gate.example:443/mcp/", "https://gate.example/mcp/../api", "//gate.example/mcp"} {
		f.Add(resource)
	}
	f.Fuzz(func(t *testing.T, resource string) {
		if !token.Covers(audience, resource) {
			return
		}
		u, err := url.Parse(resource)
		if err != nil {
			t.Fatalf("%q is no URL", resource)
		}
		host, port, path := strings.ToLower(u.Hostname()), u.Port(), u.JoinPath().Path
		if host != "gate.example" || port != "" && port != "443" || u.User != nil || path != "/mcp" && !strings.HasPrefix(path, "/mcp/") {
			t.Fatalf("%q is covered", resource)
		}
		if !token.Covers(resource, resource) || !token.ValidResource(resource) {
			t.Fatalf("%q does not cover itself", resource)
		}
	})
}
