//go:build external

package elastic_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/record/recordtest"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/elastic"
)

const pipeline = "headgate.audit@pipeline"

// opensearch is a node that has ingest processors: OpenSearch's, since Elastic publishes its own in its distribution only.
func opensearch(t *testing.T) elastic.Config {
	t.Helper()
	at := os.Getenv("HEADGATE_TEST_OPENSEARCH")
	if at == "" {
		t.Fatal("HEADGATE_TEST_OPENSEARCH must be the URL of an OpenSearch node (tools/engines/opensearch)")
	}
	return elastic.Config{Addresses: []string{at}}
}

// piped puts the pipeline as it is shipped, but for what OpenSearch has not: the processor geoip and the option that a pipeline that is called may be missing.
// It answers the types of the processors that are left.
func piped(t *testing.T, cfg elastic.Config) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(source, "ingest_pipeline", pipeline+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal(text, &body); err != nil {
		t.Fatal(err)
	}
	var kept []any
	var types []string
	processors, _ := body["processors"].([]any)
	for _, one := range processors {
		processor, _ := one.(map[string]any)
		for name, options := range processor {
			if name == "geoip" {
				continue
			}
			if o, ok := options.(map[string]any); ok {
				delete(o, "ignore_missing_pipeline")
			}
			kept, types = append(kept, one), append(types, name)
		}
	}
	body["processors"] = kept
	delete(body, "_meta") // OpenSearch knows none
	if text, err = json.Marshal(body); err != nil {
		t.Fatal(err)
	}
	request(t, http.MethodPut, cfg, "/_ingest/pipeline/"+pipeline, string(text))
	return types
}

// custom is the pipeline that is the customer's: it marks what it sees and fails on one server's records.
const custom = `{"processors": [
	{"set": {"field": "labels.seen_by", "value": "custom"}},
	{"fail": {"tag": "mine", "if": "ctx.headgate?.server?.id == 'broken'", "message": "no record of {{{headgate.server.id}}}"}}
]}`

// stored adds a record through the pipeline as an index with that default has it, and reads it back.
func stored(t *testing.T, cfg elastic.Config, id string, document []byte) map[string]any {
	t.Helper()
	request(t, http.MethodPut, cfg, "/records/_create/"+id+"?refresh=true", string(document))
	var found struct {
		Source map[string]any `json:"_source"`
	}
	if err := json.Unmarshal([]byte(request(t, http.MethodGet, cfg, "/records/_doc/"+id, "")), &found); err != nil {
		t.Fatal(err)
	}
	return found.Source
}

// The pipeline runs on real ingest processors: each does its work, and a record that one fails on is kept and marked.
func TestExternalThePipelineRunsOnRealIngestProcessors(t *testing.T) {
	cfg := opensearch(t)
	request(t, http.MethodPut, cfg, "/_ingest/pipeline/"+pipeline+"-custom", custom)
	if types := piped(t, cfg); !slices.Equal(types, []string{"set", "pipeline"}) {
		t.Fatalf("the pipeline has the processors %v: this test must have a document for each", types)
	}
	request(t, http.MethodPut, cfg, "/records", `{"settings": {"index.default_pipeline": "`+pipeline+`"}, "mappings": {"dynamic": false}}`)
	t.Cleanup(func() { request(t, http.MethodDelete, cfg, "/records", "") })
	document := func(server string) []byte {
		ev := recordtest.Filled()
		ev.Target.Server = server
		data, err := elastic.Document(elastic.Config{}, index.Record{Event: ev, Bytes: recordtest.Bytes(ev)})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	before := time.Now().Add(-time.Minute)
	for name, c := range map[string]struct{ server, kind, message string }{
		"set and pipeline":   {server: "tickets", kind: "alert"}, // the filled record is one
		"one of them failed": {server: "broken", kind: "pipeline_error", message: "mine: no record of broken"},
	} {
		t.Run(name, func(t *testing.T) {
			got := stored(t, cfg, c.server, document(c.server))
			ingested, err := time.Parse(time.RFC3339Nano, text(at(got, "event/ingested")))
			if err != nil || ingested.Before(before) || at(got, "event/ingested") == at(got, "event/created") {
				t.Errorf("event.ingested is %v, event.created %v (%v)", at(got, "event/ingested"), at(got, "event/created"), err)
			}
			if kind := text(at(got, "event/kind")); kind != c.kind {
				t.Errorf("event.kind is %s, want %s", kind, c.kind)
			}
			if seen := at(got, "labels/seen_by"); seen != "custom" {
				t.Errorf("the customer's pipeline left %v", seen)
			}
			messages, _ := at(got, "error/message").([]any)
			if c.message == "" && messages != nil || c.message != "" && (len(messages) != 1 || !strings.Contains(text(messages[0]), c.message)) {
				t.Errorf("error.message is %v, want %q", messages, c.message)
			}
			if id := text(at(got, "event/id")); id != "id-0" || text(at(got, "headgate/server/id")) != c.server {
				t.Errorf("the record itself is %v", got)
			}
		})
	}
}

func text(value any) string {
	s, _ := value.(string)
	return s
}
