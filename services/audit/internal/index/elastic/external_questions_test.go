//go:build external

package elastic_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/services/audit/internal/index/elastic"
	"headgate.dev/services/audit/internal/index/indextest"
)

// answers are what the day of the tests has for each question: of each aggregation that is named by its path, its buckets or its value.
func answers() map[string]map[string]string {
	return map[string]map[string]string{
		"01-on-and-trustworthy": {
			"services/edge/last": "2026-11-22T12:00:24.000Z", "services/edge/today/doc_count": "17", "services/trust/last": "2026-11-22T12:00:19.000Z",
			"today/doc_count": "35", "earlier/doc_count": "3", "earlier/days": "2026-11-17T00:00:00.000Z=1 2026-11-18T00:00:00.000Z=0 2026-11-19T00:00:00.000Z=0 2026-11-20T00:00:00.000Z=1 2026-11-21T00:00:00.000Z=1",
			"usual": "0.6", "today/tenants": "acme=27 system=7 globex=1", "trouble/kinds": "clock-stepped=1 journal-gap=1", "trouble/kinds/journal-gap/tenants": "system=1",
		},
		"02-refused": {
			"refused/reasons": "rule=2 rate-limited=1 stale=1", "refused/people": "bob=3 ana=1", "refused/tools": "find=2 close_ticket=1 delete_ticket=1",
			"agents/triage/effects": "allow=3 block=3", "agents/client:claude/effects": "allow=2 block=1 escalate=1",
		},
		"03-who-acts": {
			"today/agents": "triage=8 client:claude=5", "today/agents/triage/people": "1", "today/depths": "1=13 2=2",
			"today/chains": "triage=8 client:claude=7 client:cli=2", "today/kinds": "a person=10 a service by itself=4 through an agent=13",
			"newest_agents/triage/before/doc_count": "0", "newest_agents/client:claude/before/doc_count": "2", "newest_agents": "triage=8 client:claude=7",
		},
		"04-what-was-touched": {
			"labels": "destructive=2", "labels/destructive/tools": "delete_ticket=2", "destructive/calls": "delete_ticket delete_ticket",
			"hosts": "tickets.acme.example=6 crm.acme.example=5", "hosts/crm.acme.example/bytes": "5070", "hosts/tickets.acme.example/bytes": "410",
			"tools/find/bytes": "5070",
		},
		"05-what-is-new": {
			"person_tool": "ana close_ticket=2 ana get_ticket=5 bob delete_ticket=2 bob find=6 service:trust find=1",
			"person_tool/ana get_ticket/before/doc_count": "2", "person_tool/ana close_ticket/before/doc_count": "0", "person_tool/ana close_ticket/first": "2026-11-22T12:00:05.000Z",
			"agent_server/client:claude tickets/before/doc_count": "2", "agent_server/triage crm/before/doc_count": "0", "person_address/198.51.100.77 bob/before/doc_count": "0",
			"definitions/names": "crm.find=1", "definitions/names/crm.find/last": "h2",
		},
		"06-risk": {
			"alerts/kinds": "definition-changed=1 fail-closed=1 mass-change=1 stopped=1", "alerts/agents": "triage=2", "alerts/servers": "crm=2 tickets=1",
			"stopped/who": "crm=1 triage=1", "stopped/why": "it enumerates=1 odd=1", "moved": "low=2 quarantined=1 stopped=1", "moved/stopped/subjects": "agent:triage=1",
			"drops/subjects": "agent:triage=1", "drops/subjects/agent:triage/drop": "55", "scores": "20=1 60=1",
		},
		"07-approvals": {
			"states": "granted=2 asked=1 denied=1 expired=1", "states/granted/questions": "2", "states/asked/oldest": "2026-11-22T12:00:09.000Z",
			"asked/rules": "tickets/supervisor=1", "asked/rules/tickets/supervisor/oldest": "2026-11-22T12:00:09.000Z", "asked/people": "ana=1", "asked/approvers": "role:supervisor=1",
			"answered/approvers": "sam=1 tom=1 ana=1", "answered/approvers/sam/fastest": "1e+09", "own/people": "ana=1", "break_glass/doc_count": "0",
		},
		"08-credentials": {
			"lent/servers/crm/outcomes": "failure=1", "lent/servers/tickets/outcomes": "success=1", "lent/leases": "1", "lent/people": "ana=1 bob=1", "failures/reasons": "credential=1",
			"revoked/credentials/crm/why": "the connection was deleted=1", "credentials/crm/revoked/last": "2026-11-22T12:00:21.000Z", "credentials/crm/used/last": "2026-11-22T12:00:23.000Z",
			"credentials/crm/used/addresses": "198.51.100.77=1 203.0.113.7=1", "credentials/tickets/revoked/doc_count": "0",
		},
		"09-content": {"servers/tickets/secrets": "2", "servers/tickets/hidden": "3", "servers/tickets/tools": "get_ticket=1", "notes": "zero width space=1"},
		"10-sign-ins": {
			"sign_ins/outcomes": "failure=1 success=1", "sign_ins/outcomes/failure/people": "mallory=1", "sign_ins/reasons": "allow=1 role-required=1",
			"sign_ins/addresses": "203.0.113.7=2", "travel/people": "bob=7 ana=5 mallory=1", "travel/people/bob/addresses": "2",
			"travel/people/bob/seen/198.51.100.77/first": "2026-11-22T12:00:23.000Z", "refused/doc_count": "0",
		},
		"10-strangers": {
			"refused/reasons": "unauthenticated=2 rate-limited=1", "refused/addresses": "198.51.100.9=3", "refused/paths": "/mcp/tickets=3", "refused/floods": "41",
			"passed_on/why": "The access token was refused: another issuer made it. Sign in again.=1", "passed_on/addresses": "198.51.100.9=1",
		},
		"11-administration": {
			"people": "root=5 service:scoring=2 service:trust=1", "people/root/kinds": "Connection=1 Policy=1 Role=1 Server=1 agent=1", "changes": "h2 dd bb",
			"given": "role:support call tickets.close_ticket until 2026-11-22T13:00:00Z=1", "taken": "role:support call tickets.delete_ticket=1",
		},
		"11-platform": {"people": "service:edge=2 root=1", "people/root/kinds": "SigningKey=1", "people/service:edge/kinds": "Clock=1 Service=1", "changes": "c1"},
		"12-operations": {
			"servers": "tickets=6 crm=5", "servers/crm/errors": "rate-limited=1 stale=1 upstream-timeout=1", "limited/agents": "triage=1", "servers/tickets/milliseconds": "true",
			"servers/crm/outcomes": "failure=3 success=2",
		},
	}
}

// question is a file of deployments/elasticsearch/questions, asked of this installation and of the day of the tests.
func question(t *testing.T, cfg elastic.Config, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var asked struct {
		Question string          `json:"question"`
		Search   json.RawMessage `json:"search"`
	}
	if err := json.Unmarshal(text, &asked); err != nil || asked.Question == "" {
		t.Fatalf("%s: %v", file, err)
	}
	body := strings.NewReplacer("now-24h", "2026-11-22T00:00:00Z", "now-8d", "2026-11-15T00:00:00Z", "now-30d", "2026-10-24T00:00:00Z").Replace(string(asked.Search))
	begun := time.Now()
	var said struct {
		Aggregations map[string]any `json:"aggregations"`
	}
	if err := json.Unmarshal([]byte(request(t, http.MethodPost, cfg, "/logs-"+cfg.Name+".audit-*/_search", body)), &said); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s (%v)", asked.Question, time.Since(begun).Round(time.Millisecond))
	return said.Aggregations
}

// at follows a path of aggregations and keys of buckets.
func at(from map[string]any, path string) any {
	var here any = from
	for path != "" {
		object, ok := here.(map[string]any)
		if !ok {
			return nil
		}
		if buckets, ok := object["buckets"].([]any); ok {
			i := slices.IndexFunc(buckets, func(b any) bool {
				bucket, _ := b.(map[string]any)
				return path == key(bucket) || strings.HasPrefix(path, key(bucket)+"/")
			})
			if i < 0 {
				return nil
			}
			bucket, _ := buckets[i].(map[string]any)
			here, path = bucket, strings.TrimPrefix(strings.TrimPrefix(path, key(bucket)), "/")
			continue
		}
		head, rest, _ := strings.Cut(path, "/")
		here, path = object[head], rest
	}
	return here
}

// told is an aggregation in words: its buckets with their counts, what its hits hold, or its value.
func told(aggregation any) string {
	if count, ok := aggregation.(float64); ok {
		return fmt.Sprint(count)
	}
	object, _ := aggregation.(map[string]any)
	var out []string
	switch buckets := object["buckets"].(type) {
	case []any:
		for _, one := range buckets {
			b, _ := one.(map[string]any)
			out = append(out, fmt.Sprintf("%s=%v", key(b), b["doc_count"]))
		}
		return strings.Join(out, " ")
	case map[string]any:
		for name, one := range buckets {
			out = append(out, fmt.Sprintf("%s=%v", name, one.(map[string]any)["doc_count"]))
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	if hits, ok := object["hits"].(map[string]any); ok {
		return found(hits)
	}
	if text, ok := object["value_as_string"]; ok {
		return fmt.Sprint(text)
	}
	if values, ok := object["values"].(map[string]any); ok {
		p50, _ := values["50.0"].(float64)
		p99, _ := values["99.0"].(float64)
		return fmt.Sprint(p50 >= 10e6 && p50 <= p99 && p99 <= 30e6)
	}
	return fmt.Sprint(object["value"])
}

func key(b map[string]any) string {
	if parts, ok := b["key"].(map[string]any); ok {
		var names, values []string
		for name := range parts {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			values = append(values, fmt.Sprint(parts[name]))
		}
		return strings.Join(values, " ")
	}
	if text, ok := b["key_as_string"]; ok {
		return fmt.Sprint(text)
	}
	return fmt.Sprint(b["key"])
}

// found is of each hit its tool or the hash that its change led to.
func found(hits map[string]any) string {
	var out []string
	list, _ := hits["hits"].([]any)
	for _, h := range list {
		source, _ := h.(map[string]any)["_source"].(map[string]any)
		for _, path := range []string{"gen_ai/tool/name", "headgate/change/new_hash"} {
			if text, ok := at(source, path).(string); ok {
				out = append(out, text)
			}
		}
	}
	return strings.Join(out, " ")
}

func TestExternalEachQuestionOfASecurityOperationsCentreIsAnswered(t *testing.T) {
	x, cfg := fresh(t)
	if err := x.Add(t.Context(), append(indextest.Day(), indextest.Later()...)); err != nil {
		t.Fatal(err)
	}
	if err := x.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(deployments, "questions", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := answers()
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		want, ok := wanted[name]
		if !ok {
			t.Errorf("nobody knows the answer to %s", name)
		}
		t.Run(name, func(t *testing.T) {
			said := question(t, cfg, file)
			for path, answer := range want {
				if got := told(at(said, path)); got != answer {
					t.Errorf("%s is %q, want %q", path, got, answer)
				}
			}
		})
		delete(wanted, name)
	}
	if len(wanted) > 0 || len(files) != questions {
		t.Errorf("%d questions; not asked: %v", len(files), wanted)
	}
}
