package openfga

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
	"headgate.dev/services/authz/internal/relations"
)

func TestLinkedInServerIsReadyWellWithinASecond(t *testing.T) {
	began := time.Now()
	s := start(t, t.TempDir())
	open(t, s, "a")
	took := time.Since(began)
	t.Logf("start with migrations, a store and its model: %s", took)
	if took > time.Second {
		t.Errorf("took %s", took)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
}

func TestTenantsHaveStoresOfTheirOwn(t *testing.T) {
	s := start(t, t.TempDir())
	a, b := open(t, s, "a"), open(t, s, "b")
	grant := []relations.Tuple{
		{Object: "organization:a", Relation: "member", User: "user:ana"}, {Object: "mcp_server:x", Relation: "organization", User: "organization:a"},
		{Object: "role:r", Relation: "assignee", User: "user:ana"}, {Object: "mcp_server:x", Relation: "caller", User: "role:r#assignee"},
	}
	if err := a.Write(t.Context(), nil, grant); err != nil {
		t.Fatal(unwrapped(err))
	}
	for store, want := range map[*Store][]string{a: {"x"}, b: nil} {
		got, err := store.Objects(t.Context(), "user:ana", relations.Caller, relations.TypeServer, time.Now())
		if err != nil {
			t.Fatal(unwrapped(err))
		}
		if !slices.Equal(got, want) {
			t.Errorf("servers of ana: %v, want %v", got, want)
		}
	}
}

func TestWritesAreIdempotentAndReadBackWhole(t *testing.T) {
	store := open(t, start(t, t.TempDir()), "acme")
	until := time.Date(2030, 1, 2, 3, 4, 5, 678900000, time.UTC)
	var want []relations.Tuple
	for i := range 250 {
		tuple := relations.Tuple{Object: fmt.Sprintf("mcp_server:s%03d", i), Relation: "caller", User: "role:r#assignee"}
		if i%2 == 0 {
			tuple.Until = until
		}
		want = append(want, tuple)
	}
	for range 2 {
		for batch := range slices.Chunk(want, MaxWrite) {
			if err := store.Write(t.Context(), nil, batch); err != nil {
				t.Fatal(unwrapped(err))
			}
		}
	}
	got, err := store.Read(t.Context())
	if err != nil {
		t.Fatal(unwrapped(err))
	}
	if d := relations.Diff(relations.NewSet(got), relations.NewSet(want)); len(got) != len(want) || len(d.Gone)+len(d.Come) > 0 {
		t.Errorf("read %d tuples, wrote %d; differences: %+v", len(got), len(want), d)
	}
	for range 2 {
		if err := store.Write(t.Context(), want[:10], nil); err != nil {
			t.Fatal(unwrapped(err))
		}
	}
	if got, err = store.Read(t.Context()); err != nil || len(got) != len(want)-10 {
		t.Errorf("after removing 10: %d tuples, %v", len(got), err)
	}
}

func TestListsAreNeverCutOff(t *testing.T) {
	store := open(t, start(t, t.TempDir()), "acme")
	tuples := []relations.Tuple{
		{Object: "organization:acme", Relation: "member", User: "user:ana"}, {Object: "role:r", Relation: "assignee", User: "user:ana"},
		{Object: "mcp_server:s", Relation: "organization", User: "organization:acme"},
	}
	const tools = 1200 // more than OpenFGA lists by default
	for i := range tools {
		tuples = append(tuples, relations.Tuple{Object: relations.Tool("s", fmt.Sprintf("t%d", i)), Relation: "server", User: "mcp_server:s"},
			relations.Tuple{Object: relations.Tool("s", fmt.Sprintf("t%d", i)), Relation: "caller", User: "role:r#assignee"})
	}
	for batch := range slices.Chunk(tuples, MaxWrite) {
		if err := store.Write(t.Context(), nil, batch); err != nil {
			t.Fatal(unwrapped(err))
		}
	}
	began := time.Now()
	got, err := store.Objects(t.Context(), "user:ana", relations.Caller, relations.TypeTool, time.Now())
	if err != nil || len(got) != tools {
		t.Errorf("listed %d of %d tools: %v", len(got), tools, unwrapped(err))
	}
	t.Logf("%d tools in %s", len(got), time.Since(began))
}

func TestAlienConditionsAreSeenAsDifferent(t *testing.T) {
	store := open(t, start(t, t.TempDir()), "acme")
	epoch := relations.Tuple{Object: "mcp_server:s", Relation: "caller", User: "role:r#assignee", Until: time.Unix(0, 1)}
	if err := store.Write(t.Context(), nil, []relations.Tuple{epoch}); err != nil {
		t.Fatal(unwrapped(err))
	}
	want := relations.NewSet([]relations.Tuple{{Object: epoch.Object, Relation: epoch.Relation, User: epoch.User}})
	got, err := store.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := relations.Diff(relations.NewSet(got), want); len(d.Gone) != 1 || len(d.Come) != 1 {
		t.Errorf("difference %+v, want the tuple replaced", d)
	}
}

func TestTheLoopbackPortNeedsTheKey(t *testing.T) {
	s := start(t, t.TempDir())
	for name, header := range map[string]string{"no key": "", "a wrong key": "Bearer 0123", "the key without its scheme": s.token.Reveal()} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/stores", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		resp, err := s.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: status %d", name, resp.StatusCode)
		}
	}
	if !strings.HasPrefix(s.url, "http://127.0.0.1:") {
		t.Errorf("listens on %s", s.url)
	}
}

// T26: whatever is wrong with OpenFGA, no question gets an answer, least of all yes.
func TestT26AServerThatIsDownOrWrongIsUnavailable(t *testing.T) {
	real := start(t, t.TempDir())
	open(t, real, "acme")
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	answers := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	for name, config := range map[string]Config{
		"down":         {URL: down.URL, Token: secret.New("k")},
		"another key":  {URL: real.url, Token: secret.New("k")},
		"a 500":        {URL: answers(500, `{"code":"internal_error"}`), Token: secret.New("k")},
		"a 200 of yes": {URL: answers(200, `{"allowed":true,"result":{"1":{"allowed":true}}}`), Token: secret.New("k")},
		"no JSON":      {URL: answers(200, `<html>`), Token: secret.New("k")},
		"nothing":      {URL: answers(200, ``), Token: secret.New("k")},
		"a redirect":   {URL: answers(302, ``), Token: secret.New("k")},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Start(t.Context(), config, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Close)
			c, err := s.connect("01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
			if err != nil {
				t.Fatal(err)
			}
			store := &Store{fga: c}
			ok, err := store.Check(t.Context(), []Question{{User: "user:ana", Relation: relations.CanCallAll, Object: "mcp_server:x"}}, time.Now())
			if !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || ok != nil {
				t.Errorf("check: %v, %v", ok, err)
			}
			if ids, err := store.Objects(t.Context(), "user:ana", relations.Caller, relations.TypeServer, time.Now()); len(ids) > 0 {
				t.Errorf("objects: %v, %v", ids, err)
			}
			if _, err := s.Store(t.Context(), "acme"); !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) {
				t.Errorf("store: %v", err)
			}
		})
	}
}

func TestConfigIsCheckedWhole(t *testing.T) {
	key := secret.New("k")
	for name, test := range map[string]struct {
		config Config
		about  string // empty: good
	}{
		"linked in":           {Config{Dir: "d"}, ""},
		"a server":            {Config{URL: "https://fga:8080", Token: key}, ""},
		"nothing":             {Config{}, "openfga.dir"},
		"both":                {Config{Dir: "d", URL: "https://fga:8080"}, "Both"},
		"linked in with key":  {Config{Dir: "d", Token: key}, "openfga.token"},
		"a server without":    {Config{URL: "https://fga:8080"}, "openfga.token"},
		"no URL":              {Config{URL: "fga:8080", Token: key}, "openfga.url"},
		"a URL with password": {Config{URL: "https://a:b@fga", Token: key}, "openfga.url"},
		"a long namespace":    {Config{Dir: "d", Namespace: strings.Repeat("a", 21)}, "openfga.namespace"},
		"a namespace":         {Config{Dir: "d", Namespace: "eu-1"}, ""},
	} {
		err := test.config.Check()
		if (err == nil) != (test.about == "") || err != nil && !strings.Contains(err.Error(), test.about) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
