//go:build external

package audit_test

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headgate.dev/libs/ids"
	"headgate.dev/libs/kafka/kafkatest"
	"headgate.dev/services/audit"
	"headgate.dev/services/audit/internal/ledger"
)

// TestExternalHostileInputIsOnlyTextInElasticsearch sends the same down the road to the real index: it names no other stream than its own.
func TestExternalHostileInputIsOnlyTextInElasticsearch(t *testing.T) {
	address, _ := door(t)
	b := kafkatest.Real(t)
	name := "t" + strings.ReplaceAll(ids.New(), "-", "")[16:]
	h := &house{t: t, broker: b, config: audit.Config{
		Kafka: b.Config(), Ledger: ledger.Config{Dir: filepath.Join(t.TempDir(), "ledger")}, Elasticsearch: audit.Elasticsearch{Addresses: []string{address}, Name: name},
	}}
	if err := audit.Install(t.Context(), h.config, audit.Installation{Elasticsearch: true, Topics: true}, func(s string) { t.Log(s) }); err != nil {
		t.Fatal(err)
	}
	h.hostile()
	answer, err := http.Get(address + "/_data_stream")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	var all struct {
		Streams []struct{ Name string } `json:"data_streams"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	own, form := map[string]bool{}, regexp.MustCompile(`^logs-`+name+`\.(audit|anomaly)-[a-z0-9_]{1,100}$`)
	for _, s := range all.Streams {
		if strings.Contains(s.Name, name) {
			if own[s.Name] = true; !form.MatchString(s.Name) {
				t.Errorf("a stream is called %q", s.Name)
			}
		}
	}
	// One for each hostile tenant, that of acme and the two of no tenant; nobody's records are in another's.
	if streams := len(own); streams < len(hostileTenants())+1 {
		t.Errorf("%d streams: %v", streams, own)
	}
}
