//go:build external

package audit_test

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"headgate.dev/libs/ids"
	"headgate.dev/libs/kafka/kafkatest"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	"headgate.dev/services/audit"
	"headgate.dev/services/audit/internal/ledger"
)

// door is a proxy before a real Elasticsearch that can be shut.
func door(t *testing.T) (address string, shut *atomic.Bool) {
	t.Helper()
	node, err := url.Parse(os.Getenv("HEADGATE_TEST_ELASTICSEARCH"))
	if err != nil || node.Host == "" {
		t.Fatal("HEADGATE_TEST_ELASTICSEARCH is not set; it must be the URL of an Elasticsearch 8 without users, as http://127.0.0.1:9200")
	}
	shut = &atomic.Bool{}
	proxy := httputil.NewSingleHostReverseProxy(node)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if shut.Load() {
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, shut
}

// BenchmarkExternalIngest is BenchmarkIngest with a real Elasticsearch in place of the embedded index. The processor's time is without that of Elasticsearch.
func BenchmarkExternalIngest(b *testing.B) {
	address := os.Getenv("HEADGATE_TEST_ELASTICSEARCH")
	if address == "" {
		b.Fatal("HEADGATE_TEST_ELASTICSEARCH is not set; it must be the URL of an Elasticsearch 8 without users, as http://127.0.0.1:9200")
	}
	broker := kafkatest.Start(b)
	h := &house{t: b, broker: broker, config: audit.Config{
		Kafka: broker.Config(), Ledger: ledger.Config{Dir: filepath.Join(b.TempDir(), "ledger")},
		Elasticsearch: audit.Elasticsearch{Addresses: []string{address}, Name: "b" + strings.ReplaceAll(ids.New(), "-", "")[16:]},
	}}
	if err := audit.Install(b.Context(), h.config, audit.Installation{Elasticsearch: true}, func(string) {}); err != nil {
		b.Fatal(err)
	}
	ingest(b, h)
}

func TestExternalRecordsAreFoundInElasticsearchAlsoAfterItAndKafkaWereAway(t *testing.T) {
	address, shut := door(t)
	b := kafkatest.Real(t)
	h := &house{t: t, broker: b, config: audit.Config{
		Kafka: b.Config(), Ledger: ledger.Config{Dir: filepath.Join(t.TempDir(), "ledger")},
		Elasticsearch: audit.Elasticsearch{Addresses: []string{address}, Name: "t" + strings.ReplaceAll(ids.New(), "-", "")[16:]},
	}}
	h.ship()
	h.open()
	h.record("1", "acme", "ana")
	if err := h.service.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "headgate audit install") {
		t.Errorf("ready without templates: %v", err)
	}
	if err := audit.Install(t.Context(), h.config, audit.Installation{Elasticsearch: true, Topics: true}, func(s string) { t.Log(s) }); err != nil {
		t.Fatal(err)
	}
	h.eventually("vera", &auditv1.SearchRequest{}, "1")
	if err := h.service.Ready(t.Context()); err != nil {
		t.Errorf("not ready: %v", err)
	}
	shut.Store(true)
	h.record("2", "acme", "bob")
	h.record("3", "globex", "gus")
	if _, err := h.search("vera", &auditv1.SearchRequest{}); err == nil || !strings.Contains(err.Error(), "Elasticsearch cannot be reached") {
		t.Errorf("searched without Elasticsearch: %v", err)
	}
	b.Kill()
	h.record("4", "acme", "bob") // into the journal alone
	b.Up()
	shut.Store(false)
	h.eventually("vera", &auditv1.SearchRequest{}, "4", "2", "1")
	h.eventually("ana", &auditv1.SearchRequest{}, "1")
	h.eventually("gus", &auditv1.SearchRequest{}, "3")
	h.eventually("admin", &auditv1.SearchRequest{Action: "tool-call"}, "4", "3", "2", "1")
}

func TestExternalAlertsHaveADataStreamOfTheirOwn(t *testing.T) {
	address, shut := door(t)
	b := kafkatest.Real(t)
	name := "t" + strings.ReplaceAll(ids.New(), "-", "")[16:]
	h := &house{t: t, broker: b, config: audit.Config{
		Kafka: b.Config(), Ledger: ledger.Config{Dir: filepath.Join(t.TempDir(), "ledger")}, Elasticsearch: audit.Elasticsearch{Addresses: []string{address}, Name: name},
	}}
	if err := audit.Install(t.Context(), h.config, audit.Installation{Elasticsearch: true, Topics: true}, func(s string) { t.Log(s) }); err != nil {
		t.Fatal(err)
	}
	h.ship()
	h.open()
	shut.Store(true) // the topic does not wait for Elasticsearch
	h.alarm()
	if got := h.alerts(3); !maps.Equal(got, wantAlerts()) {
		t.Errorf("in the topic: %v", got)
	}
	shut.Store(false)
	h.foundAlerts()
	for stream, want := range map[string]string{"acme": `"count":2`, "globex": `"count":1`, "default": `"count":0`} {
		h.counted(address+"/logs-"+name+".anomaly-"+stream+"/_count", want)
	}
	h.counted(address+"/logs-"+name+".anomaly-acme/_count?q=headgate.alert.kind:mass-change+AND+event.kind:alert+AND+event.dataset:"+name+".anomaly", `"count":1`)
}

// counted asks until Elasticsearch answers with a part.
func (h *house) counted(url, part string) {
	h.t.Helper()
	deadline, tick := time.After(time.Minute), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := http.Get(url)
		if err != nil {
			h.t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		if err := errors.Join(err, answer.Body.Close()); err != nil {
			h.t.Fatal(err)
		}
		if strings.Contains(string(text), part) {
			return
		}
		select {
		case <-deadline:
			h.t.Fatalf("%s: %s, want %s", url, text, part)
		case <-tick.C:
		}
	}
}
