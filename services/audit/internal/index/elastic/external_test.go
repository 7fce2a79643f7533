//go:build external

package elastic_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/ids"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/elastic"
	"headgate.dev/services/audit/internal/index/indextest"
)

// node is the URL of a real Elasticsearch.
func node(tb testing.TB) string {
	tb.Helper()
	address := os.Getenv("HEADGATE_TEST_ELASTICSEARCH")
	if address == "" {
		tb.Fatal("HEADGATE_TEST_ELASTICSEARCH is not set; it must be the URL of an Elasticsearch 8 without users, as http://127.0.0.1:9200")
	}
	return address
}

// config names an installation of this test alone, which is gone after the test.
func config(tb testing.TB) elastic.Config {
	tb.Helper()
	cfg := elastic.Config{Addresses: []string{node(tb)}, Name: "t" + strings.ReplaceAll(ids.New(), "-", "")[16:]}
	tb.Cleanup(func() {
		for _, path := range []string{
			"/_data_stream/logs-" + cfg.Name + ".*", "/_index_template/logs-" + cfg.Name + ".*", "/_component_template/" + cfg.Name + ".*",
		} {
			request(tb, http.MethodDelete, cfg, path, "")
		}
	})
	return cfg
}

// request asks the node something and returns the answer's body.
func request(tb testing.TB, method string, cfg elastic.Config, path, body string) string {
	tb.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, cfg.Addresses[0]+path, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Close = true
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		tb.Errorf("%s %s: %d %s, %v", method, path, answer.StatusCode, text, err)
	}
	return string(text)
}

func install(tb testing.TB, cfg elastic.Config) {
	tb.Helper()
	if err := elastic.Install(tb.Context(), cfg, func(s string) { tb.Log(s) }); err != nil {
		tb.Fatal(err)
	}
}

func open(tb testing.TB, cfg elastic.Config) *elastic.Index {
	tb.Helper()
	x, err := elastic.Open(cfg, time.Now)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := x.Close(); err != nil {
			tb.Error(err)
		}
	})
	return x
}

func fresh(tb testing.TB) (*elastic.Index, elastic.Config) {
	tb.Helper()
	cfg := config(tb)
	install(tb, cfg)
	return open(tb, cfg), cfg
}

func TestExternalContract(t *testing.T) {
	indextest.Contract(t, func(t *testing.T) index.Index {
		x, _ := fresh(t)
		return x
	})
}

func TestExternalRecordIsFoundWithoutARefresh(t *testing.T) {
	x, _ := fresh(t)
	begun := time.Now()
	if err := x.Add(t.Context(), []index.Record{indextest.Event("1", "acme", "ana", 1)}); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for {
		page, err := x.Search(t.Context(), indextest.All())
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Events) == 1 {
			t.Logf("found after %v", time.Since(begun).Round(time.Millisecond))
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("not found within a minute")
		}
	}
}

func TestExternalNothingIsStoredBeforeTheTemplatesAre(t *testing.T) {
	cfg := config(t)
	x := open(t, cfg)
	err := x.Ping(t.Context())
	if err == nil || !strings.Contains(err.Error(), "Run headgate audit install") {
		t.Errorf("ping: %v", err)
	}
	err = x.Add(t.Context(), []index.Record{indextest.Event("1", "acme", "ana", 1)})
	if err == nil || !strings.Contains(err.Error(), "Run headgate audit install") {
		t.Errorf("add: %v", err)
	}
	install(t, cfg)
	if err := x.Add(t.Context(), []index.Record{indextest.Event("1", "acme", "ana", 1)}); err != nil {
		t.Error(err)
	}
	if err := x.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestExternalTenantsHaveStreamsOfTheirOwn(t *testing.T) {
	x, cfg := fresh(t)
	records := []index.Record{indextest.Event("1", "a-b", "ana", 1), indextest.Event("2", "a_b", "ana", 2), indextest.Event("3", "default", "ana", 3),
		indextest.Event("4", "", "ana", 4), indextest.Event("5", "ACME/../*,x", "ana", 5), indextest.Event("6", strings.Repeat("é", 300), "ana", 6)}
	if err := x.Add(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	if err := x.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	streams := map[string]bool{}
	for _, r := range records {
		q := indextest.All()
		q.Tenant = r.Event.GetTenant()
		page, err := x.Search(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if q.Tenant != "" && (len(page.Events) != 1 || page.Events[0].GetId() != r.Event.GetId()) {
			t.Errorf("tenant %q found %v", q.Tenant, page.Events)
		}
	}
	for _, line := range strings.Split(request(t, http.MethodGet, cfg, "/_cat/indices/logs-"+cfg.Name+".audit*?h=index,docs.count&expand_wildcards=all", ""), "\n") {
		if name, count, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			streams[name] = true
			if strings.TrimSpace(count) != "1" {
				t.Errorf("%s holds %s documents, want 1", name, count)
			}
		}
	}
	if len(streams) != len(records) {
		t.Errorf("%d streams for %d tenants: %v", len(streams), len(records), streams)
	}
}

// What was stored before the data stream rolled over comes again after a crash: it is not stored twice.
func TestExternalRecordsThatComeAgainAfterARolloverAreStoredOnce(t *testing.T) {
	x, cfg := fresh(t)
	r := indextest.Event("1", "acme", "ana", 1)
	for range 2 {
		if err := x.Add(t.Context(), []index.Record{r}); err != nil {
			t.Fatal(err)
		}
		if err := x.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		request(t, http.MethodPost, cfg, "/logs-"+cfg.Name+".audit-acme/_rollover", "")
	}
	page, err := x.Search(t.Context(), indextest.All())
	if err != nil || len(page.Events) != 1 {
		t.Errorf("found %v, %v", page, err)
	}
}

// One that can never be stored is named, and does not keep the others out.
func TestExternalRecordsThatElasticsearchRefusesAreNamed(t *testing.T) {
	cfg := config(t)
	request(t, http.MethodPut, cfg, "/_component_template/"+cfg.Name+".audit@custom", `{"template": {"settings": {"index.mapping.ignore_malformed": false}}}`)
	install(t, cfg)
	x := open(t, cfg)
	bad := indextest.Event("bad", "acme", "ana", 2)
	bad.Event.Sequence = 1 << 63 // no long
	err := x.Add(t.Context(), []index.Record{indextest.Event("1", "acme", "ana", 1), bad, indextest.Event("3", "globex", "ana", 3)})
	rejected, ok := err.(*index.Rejected)
	if !ok || len(rejected.Records) != 1 || rejected.Records[0].Record.Event.GetId() != "bad" || rejected.Records[0].Class != "document_parsing_exception" {
		t.Fatalf("add: %v", err)
	}
	if err := x.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	page, err := x.Search(t.Context(), indextest.All())
	if err != nil || len(page.Events) != 2 {
		t.Errorf("found %v, %v", page, err)
	}
}

// BenchmarkExternalAdd stores batches of 5,000, as they come under load; the figure is for one record.
func BenchmarkExternalAdd(b *testing.B) {
	x, _ := fresh(b)
	b.ResetTimer()
	for done := 0; done < b.N; done += 5000 {
		var batch []index.Record
		for i := range min(5000, b.N-done) {
			batch = append(batch, indextest.Event(fmt.Sprintf("0197a3c4-%08x-7000-8000-%012x", done, i), "acme", "ana", i%1000))
		}
		if err := x.Add(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

// A document that a search does not find yet is read by its id: of two who store records under one id at once, one hears of it.
func TestExternalAnIdThatWasTakenJustNowIsRefused(t *testing.T) {
	x, _ := fresh(t)
	if err := x.Add(t.Context(), []index.Record{indextest.Event("0", "acme", "ana", 1)}); err != nil { // makes the data stream
		t.Fatal(err)
	}
	for round := range 20 {
		id := fmt.Sprint("shared-", round)
		both, errs := []index.Record{indextest.Event(id, "acme", "ana", 1), indextest.Event(id, "acme", "bob", 1)}, make(chan error, 2)
		for _, r := range both {
			go func() { errs <- x.Add(context.Background(), []index.Record{r}) }()
		}
		one, other := <-errs, <-errs
		if _, rejected := errors.AsType[*index.Rejected](errors.Join(one, other)); !rejected || one != nil && other != nil {
			t.Errorf("round %d: %v, %v", round, one, other)
		}
	}
}
