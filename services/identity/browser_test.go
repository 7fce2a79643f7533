package identity_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"
)

const callback = "http://127.0.0.1:7777/callback" // registered without a port

func (h *house) get(path string, into any) *http.Response {
	h.t.Helper()
	res, err := http.Get(h.url + path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() {
		if err := res.Body.Close(); err != nil {
			h.t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	}()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(body, into); err != nil {
			h.t.Fatalf("%s: %v\n%s", path, err, body)
		}
	}
	return res
}

func (h *house) keySet() *jose.JSONWebKeySet {
	h.t.Helper()
	set := &jose.JSONWebKeySet{}
	h.get("/oauth2/keys", set)
	for _, key := range set.Keys {
		if !key.IsPublic() {
			h.t.Fatal("a private key is published")
		}
	}
	return set
}

// browser is a person's browser: it keeps cookies and stops before it leaves the house.
type browser struct {
	h      *house
	client *http.Client
}

func (h *house) browser() *browser {
	h.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	transport := &http.Transport{}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &browser{h: h, client: &http.Client{Transport: transport, Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), h.url) {
			return http.ErrUseLastResponse
		}
		return nil
	}}}
}

// answer is where a request ended: a page, or an address outside.
type answer struct {
	status int
	header http.Header
	body   string
	left   *url.URL
}

func (b *browser) do(req *http.Request, err error) answer {
	b.h.t.Helper()
	if err != nil {
		b.h.t.Fatal(err)
	}
	res, err := b.client.Do(req)
	if err != nil {
		b.h.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		b.h.t.Fatal(err)
	}
	a := answer{status: res.StatusCode, header: res.Header, body: string(body)}
	if location, err := res.Location(); err == nil {
		a.left = location
	}
	return a
}

func (b *browser) open(address string) answer {
	b.h.t.Helper()
	return b.do(http.NewRequestWithContext(b.h.t.Context(), http.MethodGet, address, nil))
}

func (b *browser) post(path string, form url.Values) answer {
	b.h.t.Helper()
	req, err := http.NewRequestWithContext(b.h.t.Context(), http.MethodPost, b.h.url+path, strings.NewReader(form.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return b.do(req, err)
}

var requestField = regexp.MustCompile(`name="request" value="([^"]+)"`)

// signIn goes from the authorization address to the client's, as a person.
func (b *browser) signIn(address, person string) answer {
	b.h.t.Helper()
	page := b.open(address)
	match := requestField.FindStringSubmatch(page.body)
	if match == nil {
		b.h.t.Fatalf("no sign-in page: %d %v\n%s", page.status, page.left, page.body)
	}
	return b.post("/oauth2/login", url.Values{"request": {match[1]}, "person": {person}})
}

// application is an OAuth client made with the libraries that clients use.
type application struct {
	provider *oidc.Provider
	config   oauth2.Config
	verifier string
}

func (h *house) application(t *testing.T, scopes ...string) *application {
	t.Helper()
	provider, err := oidc.NewProvider(t.Context(), h.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return &application{
		provider: provider, verifier: oauth2.GenerateVerifier(),
		config: oauth2.Config{ClientID: "cli", Endpoint: provider.Endpoint(), RedirectURL: callback, Scopes: scopes},
	}
}

func (a *application) address(options ...oauth2.AuthCodeOption) string {
	return a.config.AuthCodeURL("state-1", append([]oauth2.AuthCodeOption{oauth2.S256ChallengeOption(a.verifier), oidc.Nonce("nonce-1")}, options...)...)
}

func resourceOf(values ...string) []oauth2.AuthCodeOption {
	var all []oauth2.AuthCodeOption
	for _, v := range values {
		all = append(all, oauth2.SetAuthURLParam("resource", v))
	}
	return all
}
