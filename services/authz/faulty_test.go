package authz_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"headgate.dev/services/authz"
	"headgate.dev/services/authz/internal/openfga"
)

// faulty is a real OpenFGA behind a proxy that can fail.
type faulty struct {
	config openfga.Config
	mode   atomic.Int32
	writes atomic.Int32
	checks atomic.Int32 // questions, in how many requests
	broken atomic.Value // the id of a model of which nothing can be asked
}

const (
	works       int32 = iota
	down              // every request fails
	frozen            // writes fail
	unread            // what is held cannot be read
	garbled           // answers are not OpenFGA's
	mute              // questions are answered with nothing
	slow              // nothing is answered before the one who asks gives up
	modelless         // questions are asked of a model that the store does not have
	contextless       // questions arrive without what conditions need
)

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	real, err := openfga.Embed(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(real.Close)
	behind, err := url.Parse(real.Config().URL)
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{config: real.Config()}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(behind) }, Transport: transport}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		write := strings.HasSuffix(r.URL.Path, "/write")
		switch mode := f.mode.Load(); {
		case f.asksBroken(r):
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"code":"authorization_model_resolution_too_complex"}`))
		case mode == down, mode == frozen && write, mode == unread && strings.HasSuffix(r.URL.Path, "/read"):
			http.Error(w, `{"code":"internal_error"}`, http.StatusInternalServerError)
		case mode == garbled:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"result":{"0":{"allowed":"yes"}},"allowed":"yes"}`))
		case mode == mute:
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{}`))
		case mode == slow:
			_, _ = io.Copy(io.Discard, r.Body) // only then it is seen that the one who asked has gone
			<-r.Context().Done()
		case mode == modelless:
			changeBody(r, func(body map[string]any) { body["authorization_model_id"] = "01ARZ3NDEKTSV4RRFFQ69G5FAV" })
			proxy.ServeHTTP(w, r)
		case mode == contextless:
			changeBody(r, func(body map[string]any) {
				delete(body, "context")
				checks, _ := body["checks"].([]any)
				for _, one := range checks {
					if check, ok := one.(map[string]any); ok {
						delete(check, "context")
					}
				}
			})
			proxy.ServeHTTP(w, r)
		default:
			if write {
				f.writes.Add(1)
			}
			if strings.HasSuffix(r.URL.Path, "/batch-check") {
				f.checks.Add(1)
			}
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	f.config.URL = front.URL
	return f
}

func (f *faulty) asksBroken(r *http.Request) (is bool) {
	broken, ok := f.broken.Load().(string)
	if ok && r.Method == http.MethodPost && !strings.HasSuffix(r.URL.Path, "/write") && !strings.HasSuffix(r.URL.Path, "/read") {
		changeBody(r, func(body map[string]any) { is = body["authorization_model_id"] == broken })
	}
	return is
}

// changeBody changes what is asked on its way to the real server.
func changeBody(r *http.Request, change func(map[string]any)) {
	var body map[string]any
	if json.NewDecoder(r.Body).Decode(&body) != nil || body == nil {
		return
	}
	change(body)
	raw, err := json.Marshal(body)
	if err != nil {
		return
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
	r.Header.Set("Content-Length", strconv.Itoa(len(raw)))
}

func (f *faulty) option(c *authz.Config) { c.OpenFGA = f.config }

// tuples lists what a tenant's store holds, as "object relation user".
func (f *faulty) tuples(t *testing.T, tenant string) []string {
	t.Helper()
	server, err := openfga.Start(t.Context(), f.config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	store, err := server.Store(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := store.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, tuple := range stored {
		all = append(all, tuple.Object+" "+tuple.Relation+" "+tuple.User)
	}
	slices.Sort(all)
	return all
}
