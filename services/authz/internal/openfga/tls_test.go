package openfga

import (
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
	"headgate.dev/services/authz/internal/relations"
)

func hold(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A real OpenFGA behind TLS, whose certificate nobody but the file's knows.
func TestAServerIsReachedOverTLSWithItsKeyFromAFile(t *testing.T) {
	real := start(t, t.TempDir())
	at, err := url.Parse(real.url)
	if err != nil {
		t.Fatal(err)
	}
	secured := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(at))
	secured.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secured.StartTLS()
	t.Cleanup(secured.Close)
	ca := hold(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secured.Certificate().Raw})))
	key := hold(t, "key", real.token.Reveal()+"\n")

	s, err := Start(t.Context(), Config{URL: secured.URL, CAFile: ca, TokenFile: key}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	store := open(t, s, "acme")
	member := relations.Tuple{Object: "organization:acme", Relation: "member", User: "user:ana"}
	if err := store.Write(t.Context(), nil, []relations.Tuple{member}); err != nil {
		t.Fatal(unwrapped(err))
	}
	if held, err := store.Read(t.Context()); err != nil || len(held) != 1 || held[0] != member {
		t.Errorf("%v, %v", held, err)
	}

	for name, cfg := range map[string]Config{
		"a certificate that nobody knows": {URL: secured.URL, TokenFile: key},
		"another key":                     {URL: secured.URL, CAFile: ca, TokenFile: hold(t, "other", "k")},
	} {
		stranger, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stranger.Close)
		if err := stranger.Ping(t.Context()); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, cfg := range map[string]Config{
		"plain http to another machine":            {URL: "http://openfga:8080", TokenFile: key},
		"openfga.caFile goes with https":           {URL: "http://127.0.0.1:8080", TokenFile: key, CAFile: ca},
		"Both openfga.token and openfga.tokenFile": {URL: secured.URL, TokenFile: key, Token: secret.New("k")},
		"go with openfga.url":                      {Dir: t.TempDir(), TokenFile: key},
		"openfga.tokenFile cannot be read":         {URL: secured.URL, TokenFile: key + "-none"},
		"does not hold one key":                    {URL: secured.URL, TokenFile: hold(t, "empty", " \n")},
		"openfga.caFile cannot be read":            {URL: secured.URL, TokenFile: key, CAFile: ca + "-none"},
		"holds no certificate":                     {URL: secured.URL, TokenFile: key, CAFile: key},
	} {
		_, err := Start(t.Context(), cfg, slog.New(slog.DiscardHandler))
		if !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), real.token.Reveal()) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
