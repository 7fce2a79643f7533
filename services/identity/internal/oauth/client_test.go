package oauth

import (
	"net/url"
	"testing"
)

func TestACodeGoesOnlyToAddressesWithOneReading(t *testing.T) {
	for uri, want := range map[string]bool{
		"https://app.example/callback":       true,
		"https://app.example/callback?x=y":   true,
		"http://127.0.0.1/callback":          true,
		"http://127.0.0.1:7777/callback":     true,
		"http://localhost/callback":          true,
		"http://[::1]/callback":              true,
		"com.example.app:/callback":          true,
		"":                                   false,
		"/callback":                          false,
		"http://app.example/callback":        false,
		"http://127.0.0.1.evil.example/":     false,
		"http://localhost.evil.example/":     false,
		"http://evil.example@127.0.0.1/":     false,
		"http://evil.example%40127.0.0.1/":   false,
		"http://evil.example\\@127.0.0.1/":   false,
		"https://app.example/callback#x":     false,
		"https://app.example/call back":      false,
		"https:///callback":                  false,
		"javascript:alert(1)":                false,
		"data:text/html,x":                   false,
		"file:///etc/passwd":                 false,
		"//app.example/callback":             false,
		"https://app.example/%2e%2e/":        false,
		"https://user:secret@app.example/cb": false,
	} {
		if got := goodRedirect(uri); got != want {
			t.Errorf("%q: %v", uri, got)
		}
	}
}

// FuzzGoodRedirect wants that an address that can get a code is read the same when it is written out again.
func FuzzGoodRedirect(f *testing.F) {
	for _, uri := range []string{"https://app.example/callback?x=y", "http://127.0.0.1:1/", "com.example.app:/x", "http://a@127.0.0.1/", "https://a\\b/"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if !goodRedirect(uri) {
			return
		}
		u, err := url.Parse(uri)
		if err != nil || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q: %v %v", uri, u, err)
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Scheme != u.Scheme || again.Host != u.Host || again.Path != u.Path {
			t.Fatalf("%q reads as %q and as %q", uri, u, again)
		}
	})
}
