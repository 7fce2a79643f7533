//go:build external

package elastic_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"headgate.dev/libs/record/recordtest"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/elastic"
	"headgate.dev/services/audit/internal/index/indextest"
)

// strict makes the cluster refuse what is not mapped, through the template that is the customer's.
func strict(t *testing.T, cfg elastic.Config) {
	t.Helper()
	request(t, http.MethodPut, cfg, "/_component_template/"+cfg.Name+".audit@custom", `{"template": {"mappings": {"dynamic": "strict"}, "settings": {"index.mapping.ignore_malformed": false}}}`)
}

func mappingOf(t *testing.T, cfg elastic.Config, stream string) string {
	t.Helper()
	var said map[string]struct {
		Mappings json.RawMessage `json:"mappings"`
	}
	if err := json.Unmarshal([]byte(request(t, http.MethodGet, cfg, "/"+stream+"/_mapping", "")), &said); err != nil {
		t.Fatal(err)
	}
	for _, m := range said {
		return string(m.Mappings)
	}
	t.Fatalf("%s has no mapping", stream)
	return ""
}

func TestExternalEveryEventIsTakenWhereOnlyWhatIsMappedIs(t *testing.T) {
	cfg := config(t)
	strict(t, cfg)
	install(t, cfg)
	x := open(t, cfg)
	var records []index.Record
	for _, ev := range recordtest.Every() {
		records = append(records, index.Record{Event: ev, Bytes: recordtest.Bytes(ev)})
	}
	if err := x.Add(t.Context(), records); err != nil {
		t.Fatal(err)
	}
	if err := x.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	var count struct {
		Count int `json:"count"`
	}
	if err := json.Unmarshal([]byte(request(t, http.MethodGet, cfg, "/logs-"+cfg.Name+".audit-*/_count", `{"query": {"exists": {"field": "event.ingested"}}}`)), &count); err != nil {
		t.Fatal(err)
	}
	if count.Count != len(records) {
		t.Errorf("%d of %d records are there with event.ingested", count.Count, len(records))
	}
}

// What a caller or a server writes into arguments and results makes no field, whatever its keys are.
func TestExternalHostileArgumentsMakeNoField(t *testing.T) {
	x, cfg := fresh(t)
	if err := x.Add(t.Context(), []index.Record{indextest.Event("1", "acme", "ana", 1)}); err != nil {
		t.Fatal(err)
	}
	stream := "logs-" + cfg.Name + ".audit-acme"
	before := mappingOf(t, cfg, stream)
	many, deep, dotted := map[string]any{}, any("bottom"), map[string]any{"a.b.c": 1, "_id": "x", "__proto__": true, strings.Repeat("k", 3000): "v", "huge": strings.Repeat("v", 100_000)}
	for i := range 5000 {
		many[fmt.Sprintf("key%d", i)] = map[string]any{fmt.Sprint(i): i}
	}
	for range 15 {
		deep = map[string]any{"d": deep}
	}
	for name, arguments := range map[string]any{"many": many, "deep": deep, "dotted": dotted} {
		doc, err := json.Marshal(map[string]any{
			"@timestamp": "2026-11-22T12:00:00Z", "gen_ai": map[string]any{"tool": map[string]any{"call": map[string]any{"arguments": arguments, "result": arguments}}},
			name + "-unknown": arguments, "headgate": map[string]any{"args": map[string]any{"clear": arguments}},
		})
		if err != nil {
			t.Fatal(err)
		}
		request(t, http.MethodPut, cfg, "/"+stream+"/_create/"+name+"?refresh=true", string(doc))
	}
	if after := mappingOf(t, cfg, stream); after != before {
		t.Errorf("the mapping was %d bytes and is %d now", len(before), len(after))
	}
	if answer := request(t, http.MethodGet, cfg, "/"+stream+"/_count", `{"query": {"term": {"gen_ai.tool.call.arguments.key77.77": "77"}}}`); !strings.Contains(answer, `"count":1`) {
		t.Errorf("arguments are not found: %s", answer)
	}
}

// An installation of an earlier version goes on in place where its fields allow it, and with a new index where they do not.
func TestExternalAnUpgradeBringsTheNewFields(t *testing.T) {
	for name, earlier := range map[string]string{
		"fields are new":  `{"@timestamp": {"type": "date"}, "event": {"properties": {"id": {"type": "keyword", "ignore_above": 1024}}}}`,
		"fields conflict": `{"@timestamp": {"type": "date"}, "event": {"properties": {"id": {"type": "text"}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			request(t, http.MethodPut, cfg, "/_index_template/logs-"+cfg.Name+".audit", `{"index_patterns": ["logs-`+cfg.Name+`.audit-*"], "priority": 250, "data_stream": {},
				"template": {"mappings": {"_meta": {"version": 1}, "dynamic": false, "properties": `+earlier+`}}}`)
			for _, tenant := range []string{"default", "acme"} {
				request(t, http.MethodPut, cfg, "/_data_stream/logs-"+cfg.Name+".audit-"+tenant, "")
			}
			x := open(t, cfg)
			if err := x.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), "has the mapping of version 1") {
				t.Errorf("before: %v", err)
			}
			for range 2 {
				install(t, cfg)
			}
			if err := x.Ping(t.Context()); err != nil {
				t.Errorf("after: %v", err)
			}
			if err := x.Add(t.Context(), []index.Record{indextest.Event("1", "acme", "ana", 1)}); err != nil {
				t.Fatal(err)
			}
			if err := x.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			page, err := x.Search(t.Context(), indextest.All())
			if err != nil || len(page.Events) != 1 {
				t.Errorf("found %v, %v", page.Events, err)
			}
		})
	}
}
