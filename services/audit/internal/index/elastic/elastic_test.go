package elastic_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/elastic"
	"headgate.dev/services/audit/internal/index/indextest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	https := []string{"https://elastic:9200"}
	for name, cfg := range map[string]elastic.Config{
		"no address":             {},
		"no URL":                 {Addresses: []string{"elastic:9200"}},
		"another scheme":         {Addresses: []string{"ftp://elastic"}},
		"a password in the URL":  {Addresses: []string{"https://me:secret@elastic"}},
		"a key in the clear":     {Addresses: []string{"http://elastic:9200"}, APIKeyFile: write(t, "a2V5")},
		"no key file":            {Addresses: https, APIKeyFile: "/nowhere/key"},
		"an empty key":           {Addresses: https, APIKeyFile: write(t, " \n")},
		"two keys":               {Addresses: https, APIKeyFile: write(t, "a2V5\na2V5")},
		"no CA file":             {Addresses: https, CAFile: "/nowhere/ca.pem"},
		"no certificate":         {Addresses: https, CAFile: write(t, "hello")},
		"a name with a hyphen":   {Addresses: https, Name: "head-gate"},
		"a name with a wildcard": {Addresses: https, Name: "head*"},
	} {
		_, err := elastic.Open(cfg, time.Now)
		if !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error holds the password: %v", name, err)
		}
	}
	x, err := elastic.Open(elastic.Config{Addresses: https, APIKeyFile: write(t, "a2V5\n")}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}

// trouble answers as Elasticsearch does when it is not well: for each bulk request, the statuses of its documents by id, as many times as are listed.
type trouble struct {
	t *testing.T

	mu       sync.Mutex
	whole    []int             // statuses of the next requests as a whole; 0 is none
	statuses map[string][]int  // then those of documents; the last one stays
	received [][]string        // the ids of each request
	held     map[string][]byte // what documents that are there hold, by id; a search finds those of found alone
	found    []string
	keys     []string
}

func (s *trouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	s.keys = append(s.keys, r.Header.Get("Authorization"))
	switch {
	case strings.HasSuffix(r.URL.Path, "/_mapping"):
		fmt.Fprint(w, `{"x": {"mappings": {"_meta": {"version": 1000}}}}`)
	case strings.HasSuffix(r.URL.Path, "/_search"):
		fmt.Fprintf(w, `{"hits": {"hits": [%s]}}`, s.documents(s.found))
	case r.URL.Path == "/_mget":
		s.mget(w, r)
	case strings.HasSuffix(r.URL.Path, "/_bulk"):
		s.bulk(w, r)
	default:
		s.t.Errorf("asked for %s", r.URL)
	}
}

func (s *trouble) documents(ids []string) string {
	var out []string
	for _, id := range ids {
		out = append(out, fmt.Sprintf(`{"_id": %q, "found": true, "_source": {"headgate": {"index": {"record": %q}}}}`, id, base64.StdEncoding.EncodeToString(s.held[id])))
	}
	return strings.Join(out, ",")
}

func (s *trouble) mget(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Docs []struct {
			Index string `json:"_index"`
			ID    string `json:"_id"`
		} `json:"docs"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		s.t.Error(err)
	}
	var ids []string
	for _, d := range asked.Docs {
		if ids = append(ids, d.ID); d.Index != ".ds-1" {
			s.t.Errorf("asked %q for a document", d.Index)
		}
	}
	fmt.Fprintf(w, `{"docs": [%s]}`, s.documents(ids))
}

func (s *trouble) bulk(w http.ResponseWriter, r *http.Request) {
	var ids []string
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var action struct {
			Create struct {
				ID string `json:"_id"`
			} `json:"create"`
		}
		if err := json.Unmarshal(lines.Bytes(), &action); err != nil || action.Create.ID == "" {
			s.t.Errorf("line %s: %v", lines.Bytes(), err)
		}
		ids = append(ids, action.Create.ID)
		lines.Scan() // the document
	}
	s.received = append(s.received, ids)
	if len(s.whole) > 0 {
		code := s.whole[0]
		s.whole = s.whole[1:]
		if code != 0 {
			w.WriteHeader(code)
			fmt.Fprint(w, `{"error": {"type": "trouble_exception", "reason": "not now"}}`)
			return
		}
	}
	var items []string
	for _, id := range ids {
		code := http.StatusCreated
		if left := s.statuses[id]; len(left) > 0 {
			code = left[0]
			if len(left) > 1 {
				s.statuses[id] = left[1:]
			}
		}
		items = append(items, fmt.Sprintf(`{"create": {"_index": ".ds-1", "status": %d, "error": {"type": "some_exception", "reason": "because"}}}`, code))
	}
	fmt.Fprintf(w, `{"items": [%s]}`, strings.Join(items, ","))
}

func serve(t *testing.T, s *trouble) *elastic.Index {
	t.Helper()
	s.t = t
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	x, err := elastic.Open(elastic.Config{Addresses: []string{server.URL}, APIKeyFile: write(t, "a2V5")}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func three() []index.Record {
	return []index.Record{indextest.Event("1", "acme", "ana", 1), indextest.Event("2", "acme", "ana", 2), indextest.Event("3", "acme", "ana", 3)}
}

func TestOnlyWhatFailedInPassingIsSentAgain(t *testing.T) {
	s := &trouble{whole: []int{503, 429}, statuses: map[string][]int{"1": {409}, "2": {429, 503, 201}, "3": {400}}, held: map[string][]byte{"1": three()[0].Bytes}}
	x := serve(t, s)
	err := x.Add(t.Context(), three())
	rejected, ok := err.(*index.Rejected)
	if !ok || len(rejected.Records) != 1 || rejected.Records[0].Record.Event.GetId() != "3" || rejected.Records[0].Class != "some_exception" {
		t.Errorf("add: %v", err)
	}
	want := [][]string{{"1", "2", "3"}, {"1", "2", "3"}, {"1", "2", "3"}, {"2"}, {"2"}}
	if !slices.EqualFunc(s.received, want, slices.Equal) {
		t.Errorf("received %v, want %v", s.received, want)
	}
	if slices.ContainsFunc(s.keys, func(k string) bool { return k != "ApiKey a2V5" }) {
		t.Errorf("keys %q", s.keys)
	}
}

// A document that has a record's id already is success where it holds the same bytes, whether a search finds it or the request to store meets it.
func TestAnIdThatAnotherRecordHasIsNoSuccess(t *testing.T) {
	all, other := three(), indextest.Event("x", "globex", "mallory", 9).Bytes
	for name, s := range map[string]*trouble{
		"found":         {found: []string{"1", "2"}},
		"met":           {statuses: map[string][]int{"1": {409}, "2": {409}}},
		"one each way":  {found: []string{"2"}, statuses: map[string][]int{"1": {409}}},
		"met too large": {whole: []int{413}, statuses: map[string][]int{"1": {409}, "2": {429, 409}}},
	} {
		s.held = map[string][]byte{"1": all[0].Bytes, "2": other}
		err := serve(t, s).Add(t.Context(), all)
		rejected, ok := err.(*index.Rejected)
		if !ok || len(rejected.Records) != 1 || rejected.Records[0].Record.Event != all[1].Event || rejected.Records[0].Class != index.IDTaken {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAKeyThatIsRefusedIsNoReasonToPutRecordsAside(t *testing.T) {
	for name, s := range map[string]*trouble{
		"for all":          {whole: []int{401}},
		"for a stream":     {statuses: map[string][]int{"2": {403}}},
		"no stream of its": {statuses: map[string][]int{"2": {404}}},
	} {
		x := serve(t, s)
		err := x.Add(t.Context(), three())
		if _, rejected := err.(*index.Rejected); err == nil || rejected {
			t.Errorf("%s: %v", name, err)
		}
		if len(s.received) != 1 {
			t.Errorf("%s: tried %d times", name, len(s.received))
		}
	}
}

func TestARequestThatIsTooLargeIsDivided(t *testing.T) {
	s := &trouble{whole: []int{413, 413, 0}} // all three, then the first alone; the other two are taken
	x := serve(t, s)
	err := x.Add(t.Context(), three())
	rejected, ok := err.(*index.Rejected)
	if !ok || len(rejected.Records) != 1 || rejected.Records[0].Record.Event.GetId() != "1" {
		t.Errorf("add: %v", err)
	}
	if want := [][]string{{"1", "2", "3"}, {"1"}, {"2", "3"}}; !slices.EqualFunc(s.received, want, slices.Equal) {
		t.Errorf("received %v, want %v", s.received, want)
	}
}

// TestManyRecordsAreDroppedInRequestsThatAreAnsweredSoon has a node that drops at most what one request asks for.
func TestManyRecordsAreDroppedInRequestsThatAreAnsweredSoon(t *testing.T) {
	left, asked, stuck := map[string]int{"audit": 9000, "anomaly": 3}, 0, false
	fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		w.Header().Set("Content-Type", "application/json")
		most, err := strconv.Atoi(r.URL.Query().Get("max_docs"))
		if !strings.HasSuffix(r.URL.Path, "/_delete_by_query") || err != nil || most < 1 || r.URL.Query().Get("refresh") != "true" {
			t.Errorf("%s", r.URL)
			return
		}
		asked++
		stream := map[bool]string{true: "audit", false: "anomaly"}[strings.Contains(r.URL.Path, ".audit-")]
		gone := min(most, left[stream])
		if stuck {
			_, _ = fmt.Fprintf(w, `{"total":%d,"deleted":0,"version_conflicts":%d,"failures":[]}`, gone, gone)
			return
		}
		left[stream] -= gone
		_, _ = fmt.Fprintf(w, `{"total":%d,"deleted":%d,"failures":[]}`, gone, gone)
	}))
	defer fake.Close()
	x, err := elastic.Open(elastic.Config{Addresses: []string{fake.URL}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	n, err := x.Drop(t.Context(), "acme", time.Now(), indextest.Freely)
	if err != nil || n != 9000 || left["anomaly"] != 0 || asked < 4 {
		t.Errorf("%d were dropped in %d requests, %v are left: %v", n, asked, left, err)
	}
	left["audit"], stuck = 5000, true
	if n, err := x.Drop(t.Context(), "acme", time.Now(), indextest.Freely); err == nil || n != 0 {
		t.Errorf("what cannot be dropped is said to be: %d, %v", n, err)
	}
}
