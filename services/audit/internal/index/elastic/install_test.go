package elastic_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index/elastic"
)

const (
	source      = "files"
	deployments = "../../../../../deployments/elasticsearch"
)

// tree is every file below a folder by its path there.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		out[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDeploymentsCarryTheSameFiles(t *testing.T) {
	here, there := tree(t, source), tree(t, deployments)
	for name, text := range there {
		if strings.HasPrefix(name, "questions"+string(filepath.Separator)) {
			delete(there, name)
			continue
		}
		if here[name] != text {
			t.Errorf("deployments/elasticsearch/%s differs from %s/%s: copy one over the other", name, source, name)
		}
	}
	for name := range here {
		if _, ok := there[name]; !ok {
			t.Errorf("deployments/elasticsearch/%s is missing", name)
		}
	}
}

// full answers as Elasticsearch with everything it has, and notes what is put there.
type full struct {
	mu         sync.Mutex
	version    int            // of the mapping that is there; 0 is none
	processors []string       // nil means all
	refuse     map[string]int // statuses for paths that begin so
	put        map[string]string
	order      []string
}

func (s *full) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	for path, status := range s.refuse {
		if r.Method != http.MethodGet && strings.HasPrefix(r.URL.Path, path) {
			w.WriteHeader(status)
			fmt.Fprint(w, `{"error": {"type": "some_exception", "reason": "because"}}`)
			return
		}
	}
	body, _ := io.ReadAll(r.Body)
	switch {
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/_component_template/"):
		if s.version == 0 {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error": {"type": "resource_not_found_exception", "reason": "not found"}}`)
			return
		}
		fmt.Fprintf(w, `{"component_templates": [{"component_template": {"_meta": {"version": %d}}}]}`, s.version)
	case r.URL.Path == "/_nodes/ingest":
		all := s.processors
		if all == nil {
			all = []string{"set", "append", "geoip", "pipeline"}
		}
		var types []string
		for _, p := range all {
			types = append(types, fmt.Sprintf(`{"type": %q}`, p))
		}
		fmt.Fprintf(w, `{"nodes": {"a": {"ingest": {"processors": [%s]}}}}`, strings.Join(types, ","))
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/_data_stream/"):
		fmt.Fprint(w, `{"data_streams": [{"name": "logs-headgate.audit-acme"}]}`)
	default:
		key := r.Method + " " + r.URL.Path
		if _, again := s.put[key]; !again {
			s.order = append(s.order, key)
		}
		s.put[key] = string(body)
		fmt.Fprint(w, `{"acknowledged": true}`)
	}
}

func installInto(t *testing.T, s *full) (said []string, err error) {
	t.Helper()
	s.put = map[string]string{}
	server := httptest.NewServer(s)
	defer server.Close()
	err = elastic.Install(t.Context(), elastic.Config{Addresses: []string{server.URL}}, func(text string) { said = append(said, text) })
	return said, err
}

func TestAClusterWithEverythingGetsEverything(t *testing.T) {
	s := &full{}
	said, err := installInto(t, s)
	if err != nil || len(said) > 0 {
		t.Fatalf("%q, %v", said, err)
	}
	want := []string{
		"PUT /_ilm/policy/headgate.audit", "PUT /_ingest/pipeline/headgate.audit@pipeline",
		"PUT /_component_template/headgate.audit@ingest", "PUT /_component_template/headgate.audit@lifecycle",
		"PUT /_component_template/headgate.audit@mappings", "PUT /_component_template/headgate.audit@settings",
		"PUT /_index_template/logs-headgate.anomaly", "PUT /_index_template/logs-headgate.audit",
		"PUT /_security/role/headgate.audit.analyst", "PUT /_security/role/headgate.audit.installer", "PUT /_security/role/headgate.audit.service",
		"PUT /_data_stream/logs-headgate.audit-default", "PUT /_data_stream/logs-headgate.anomaly-default",
		"PUT /logs-headgate.audit-*/_mapping", "PUT /logs-headgate.anomaly-*/_mapping",
	}
	if !slices.Equal(s.order, want) {
		t.Errorf("put %q, want %q", s.order, want)
	}
	if body := s.put["PUT /_component_template/headgate.audit@ingest"]; !strings.Contains(body, `"default_pipeline": "headgate.audit@pipeline"`) {
		t.Errorf("the pipeline is not used: %s", body)
	}
	if body := s.put["PUT /_component_template/headgate.audit@lifecycle"]; !strings.Contains(body, `"name": "headgate.audit"`) {
		t.Errorf("the lifecycle is not used: %s", body)
	}
	if body := s.put["PUT /logs-headgate.audit-*/_mapping"]; !strings.HasPrefix(body, `{"_meta"`) && !strings.Contains(body, `"properties"`) {
		t.Errorf("streams that were there get %s", body)
	}
}

func TestWhatAClusterLacksIsSaidAndDoneWithout(t *testing.T) {
	for name, c := range map[string]struct {
		cluster *full
		said    []string
		put     map[string]string // what is put where, in part; empty is not at all
	}{
		"no geography": {&full{processors: []string{"set", "append", "pipeline"}}, []string{"no ingest processor geoip"},
			map[string]string{"PUT /_ingest/pipeline/headgate.audit@pipeline": "event.ingested", "PUT /_component_template/headgate.audit@ingest": "default_pipeline"}},
		"no processors": {&full{processors: []string{}}, []string{"no ingest processors set and append"},
			map[string]string{"PUT /_ingest/pipeline/headgate.audit@pipeline": "", "PUT /_component_template/headgate.audit@ingest": `"template": {}`}},
		"no lifecycle": {&full{refuse: map[string]int{"/_ilm/": 405}}, []string{"no index lifecycle management"},
			map[string]string{"PUT /_component_template/headgate.audit@lifecycle": "data_retention"}},
		"no security":        {&full{refuse: map[string]int{"/_security/": 405}}, []string{"no security"}, nil},
		"roles are not ours": {&full{refuse: map[string]int{"/_security/": 403}}, []string{"may not manage security"}, nil},
		"another mapping before": {&full{refuse: map[string]int{"/logs-headgate.audit-*/_mapping": 400}}, []string{"logs-headgate.audit-acme: the fields that it has do not allow"},
			map[string]string{"POST /logs-headgate.audit-acme/_rollover": "any"}},
	} {
		said, err := installInto(t, c.cluster)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(said) != len(c.said) {
			t.Errorf("%s: said %q", name, said)
		}
		for i := range min(len(said), len(c.said)) {
			if !strings.Contains(said[i], c.said[i]) {
				t.Errorf("%s: said %q", name, said[i])
			}
		}
		for path, part := range c.put {
			body, was := c.cluster.put[path]
			if was != (part != "") || part != "any" && !strings.Contains(body, part) {
				t.Errorf("%s: %s is %q, want %q", name, path, body, part)
			}
		}
		if strings.Contains(c.cluster.put["PUT /_ingest/pipeline/headgate.audit@pipeline"], "geoip") && name == "no geography" {
			t.Errorf("%s: the pipeline still asks for it", name)
		}
	}
}

func TestAnInstallationThatMayNotBeIsRefused(t *testing.T) {
	s := &full{version: 1000}
	if _, err := installInto(t, s); !fault.Is(err, faultv1.Reason_REASON_CONFLICT) || len(s.put) > 0 {
		t.Errorf("over a later version: %v, put %v", err, s.order)
	}
	for path, status := range map[string]int{"/_index_template/": 403, "/_component_template/": 400, "/_ilm/": 500, "/_data_stream/": 403} {
		if _, err := installInto(t, &full{refuse: map[string]int{path: status}}); err == nil {
			t.Errorf("%s refused with %d: installed", path, status)
		}
	}
}

// What a key or a role may is the least that its work needs: nothing here can change or delete a document, and only what is Headgate's is named.
func TestRolesAndKeysAreTheLeastThatIsNeeded(t *testing.T) {
	type descriptor struct {
		Cluster []string `json:"cluster"`
		Indices []struct {
			Names      []string `json:"names"`
			Privileges []string `json:"privileges"`
		} `json:"indices"`
	}
	roles := map[string]descriptor{}
	for name, text := range tree(t, filepath.Join(source, "security_role")) {
		var d descriptor
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		roles[strings.TrimSuffix(name, ".json")] = d
	}
	allowed := map[string][]string{
		"headgate.audit.service":   {"auto_configure", "create_doc", "delete", "read", "view_index_metadata"},
		"headgate.audit.analyst":   {"read", "view_index_metadata"},
		"headgate.audit.installer": {"create_index", "manage", "view_index_metadata"},
	}
	for name, d := range roles {
		for _, i := range d.Indices {
			if !slices.Equal(i.Privileges, allowed[name]) || !slices.Equal(i.Names, []string{"logs-headgate.audit-*", "logs-headgate.anomaly-*"}) {
				t.Errorf("%s may %v on %v", name, i.Privileges, i.Names)
			}
		}
		if name != "headgate.audit.installer" && len(d.Cluster) > 0 {
			t.Errorf("%s may %v on the cluster", name, d.Cluster)
		}
	}
	if len(roles) != len(allowed) {
		t.Errorf("roles %v", roles)
	}
	for name, text := range tree(t, filepath.Join(source, "api_key")) {
		var key struct {
			Expiration  string                `json:"expiration"`
			Descriptors map[string]descriptor `json:"role_descriptors"`
		}
		if err := json.Unmarshal([]byte(text), &key); err != nil {
			t.Fatal(err)
		}
		for role, d := range key.Descriptors {
			if fmt.Sprint(d) != fmt.Sprint(roles[role]) || key.Expiration == "" {
				t.Errorf("the key %s is %v, until %q; the role is %v", name, d, key.Expiration, roles[role])
			}
		}
	}
}
