//go:build external

package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/kafka/kafkatest"
	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/stack"
)

// house is Headgate as processes on a real Kafka and a real Elasticsearch, under load.
type house struct {
	*product.Product
	t      *testing.T
	kafka  *kafkatest.Broker
	search *node
	up     *server
	urls   []string
	agents *load
	since  time.Time

	inFlight, finished []string // the calls that were held at a kill: of an edge, of anything else
}

func startHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, since: time.Now().Add(-time.Minute), kafka: kafkatest.Real(t), search: startNode(t), up: startServer(t)}
	h.Product = product.StartStack(t, stack.Config{Edges: 2, Kafka: h.kafka.Config().Brokers[0], Elasticsearch: h.search.URL()}, onePerson(h.up.URL))
	h.urls = endpoints(h.Stack(), "echo")
	h.agents = startLoadAt(t, leisurely, h.Token("ana"), 2, h.urls...)
	return h
}

// away is how long an engine is away at once.
func away(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("HEADGATE_E2E_AWAY")
	if text == "" {
		return 5 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("HEADGATE_E2E_AWAY is %q: it must be a duration, as 1m", text)
	}
	return d
}

// kill ends one process by force, and returns how it is started again.
func (h *house) kill(victim string) (again func()) {
	h.t.Helper()
	switch victim {
	case "kafka":
		h.kafka.Kill()
		return h.kafka.Up
	case "elasticsearch":
		h.search.Kill()
		return h.search.Up
	}
	h.Stack().Process(victim).Kill()
	return func() {
		h.t.Helper()
		if err := h.Stack().Run(victim); err != nil {
			h.t.Fatal(err)
		}
		if err := h.Stack().WaitReady(victim); err != nil && victim != "audit" { // audit is ready once Kafka and Elasticsearch are
			h.t.Fatal(err)
		}
	}
}

// round kills one process under load with a call under way. Calls go on meanwhile at every edge that lives.
func (h *house) round(number int, victim string) {
	h.t.Helper()
	h.agents.passing(30*time.Second, "before the kill of "+victim, h.urls...)
	h.up.more(h.t, rand.N(20))
	url, others := h.urls[0], h.urls
	switch victim {
	case "edge":
		others = h.urls[1:]
	case "edge2":
		url, others = h.urls[1], h.urls[:1]
	}
	id, end := h.agents.hold(h.t, h.up, url, h.Token("ana"), number)
	again := h.kill(victim)
	answer := end()
	if !slices.Contains([]string{"identity", "authz", "trust", "credentials"}, victim) {
		h.agents.passing(30*time.Second, "while there is no "+victim, others...)
	}
	if strings.HasPrefix(victim, "edge") {
		h.inFlight = append(h.inFlight, id)
	} else if h.finished = append(h.finished, id); !answer.ok {
		h.t.Errorf("%s died and the call that was under way did not end well: %+v", victim, answer)
	}
	again()
}

// absent leaves an engine away for long; no call may notice.
func (h *house) absent(engine string) {
	h.t.Helper()
	again, from := h.kill(engine), time.Now()
	before := len(h.agents.seen(passed))
	if !clock.Sleep(h.t.Context(), away(h.t)) {
		h.t.Fatal("the test ended")
	}
	refused := h.agents.seen(func(o outcome) bool { return !o.ok && o.start.After(from) })
	calls := len(h.agents.seen(passed)) - before
	if len(refused) > 0 || calls == 0 {
		h.t.Errorf("without %s %d calls passed and %d were refused, as %+v", engine, calls, len(refused), refused[:min(1, len(refused))])
	}
	h.t.Logf("without %s for %s %d calls passed", engine, away(h.t), calls)
	again()
}

// TestExternalTheRecordIsWholeWhateverIsKilled kills every kind of process under load, the broker and Elasticsearch too, and then takes three records away on
// purpose: what was executed is in the ledger and the index once, and what is missing is what was taken.
func TestExternalTheRecordIsWholeWhateverIsKilled(t *testing.T) {
	h := startHouse(t)
	victims, deaths := []string{"edge", "kafka", "audit", "edge2", "elasticsearch", "audit", "edge", "identity", "authz", "trust", "credentials"}, map[string]int{}
	for number := range kills(t) {
		victim := victims[number%len(victims)]
		h.round(number, victim)
		deaths[victim]++
	}
	t.Logf("killed: %v", deaths)
	h.absent("kafka")
	h.absent("elasticsearch")
	h.agents.passing(30*time.Second, "after the last kill", h.urls...)
	h.agents.halt()
	if err := h.Stack().WaitReady("audit"); err != nil {
		t.Fatal(err)
	}
	checkCrashes(t, h.Product, h.since, h.up, h.agents, h.inFlight, h.finished)
	records, err := ledger(h.Product, h.since)
	if err != nil {
		t.Fatal(err)
	}
	all, said := exported(h.Product)
	sameInBoth(t, records, all)
	if len(said.missing()) != 0 || !said.Holds {
		t.Errorf("the export does not hold, or something is missing: %+v", said)
	}
	h.takeAway(said)
}

// verdict is what headgate audit verify says.
type verdict struct {
	Holds           bool
	Problems, Notes []string
}

// missing are the sentences on records that writers' chains lack.
func (v verdict) missing() []string {
	var out []string
	for _, one := range append(slices.Clone(v.Problems), v.Notes...) {
		if strings.Contains(one, "missing") {
			out = append(out, one)
		}
	}
	return out
}

// exported reads the ledger and has the export verified with nothing but the public key.
func exported(p *product.Product) ([]product.Record, verdict) {
	t := p.T()
	t.Helper()
	file, key := filepath.Join(t.TempDir(), "all.jsonl"), filepath.Join(t.TempDir(), "log.pub")
	if err := os.WriteFile(key, []byte(p.MustCLI("admin", "audit", "key")), 0o600); err != nil {
		t.Fatal(err)
	}
	p.MustCLI("admin", "audit", "export", "--out", file)
	_, out, words := p.CLI("admin", "audit", "verify", file, "--key", key, "-o", "json")
	var said verdict
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		t.Fatalf("headgate audit verify: %v: %s%s", err, out, words)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var records []product.Record
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		var r product.Record
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.UseNumber()
		if err := decoder.Decode(&r); err != nil {
			t.Fatal(err)
		}
		if r.Get("event.id") != "" {
			records = append(records, r)
		}
	}
	return records, said
}

// sameInBoth compares what edges wrote: the ledger and the index have the same records, each once.
func sameInBoth(t *testing.T, index []entry, exported []product.Record) {
	t.Helper()
	counts := map[string]int{}
	for _, r := range index {
		if strings.HasPrefix(r.Writer, "edge-") {
			counts[fmt.Sprintf("%s %s/%d", r.ID, r.Writer, r.Sequence)]++
		}
	}
	for _, r := range exported {
		if writer := r.Get("headgate.integrity.writer"); strings.HasPrefix(writer, "edge-") {
			counts[fmt.Sprintf("%s %s/%s", r.Get("event.id"), writer, r.Get("event.sequence"))] -= 1
		}
	}
	wrong := 0
	for id, count := range counts {
		if count != 0 {
			if wrong++; wrong < 10 {
				t.Errorf("the record %s is %+d times more in the index than in the ledger", id, count)
			}
		}
	}
	t.Logf("%d records of edges are in the ledger and in the index, %d in one alone", len(counts)-wrong, wrong)
}

// takeAway has the second edge forget three records that it wrote while there was no broker, and wants the verifier to miss those and nothing else.
func (h *house) takeAway(before verdict) {
	h.t.Helper()
	const taken = 3
	again := h.kill("kafka")
	c := h.agents.client(h.urls[1], h.Token("ana"), true)
	for i := range 8 {
		if o := h.agents.send(c, fmt.Sprintf("taken-%d", i)); !o.ok {
			h.t.Fatalf("%+v", o)
		}
	}
	restart := h.kill("edge2")
	position := filepath.Join(filepath.Dir(h.Stack().Process("edge2").Log), "edge2", "journal", "shipped")
	from := skip(h.t, position, taken)
	again()
	restart()
	if err := h.Stack().WaitReady("audit"); err != nil {
		h.t.Fatal(err)
	}
	want := fmt.Sprintf("records %d to %d of writer edge-", from+1, from+taken)
	product.Eventually(h.t, 10*time.Minute, "the records after those that were taken arrive", func() bool {
		_, said := exported(h.Product)
		missing := said.missing()
		if len(missing) > 1 || len(missing) == 1 && !strings.HasPrefix(missing[0], want) {
			h.t.Fatalf("missing are %q; taken were %s", missing, want)
		}
		return len(missing) == 1
	})
	h.t.Logf("%d records were taken away, and the verifier misses %s", taken, want)
}

// skip makes a journal's position say that so many records more were shipped, and returns what it said.
func skip(t *testing.T, file string, records uint64) uint64 {
	t.Helper()
	const slot = 12
	table := crc32.MakeTable(crc32.Castagnoli)
	data, err := os.ReadFile(file)
	if err != nil || len(data) != 2*slot {
		t.Fatalf("%d bytes: %v", len(data), err)
	}
	last := max(binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[slot:]))
	one := binary.LittleEndian.AppendUint64(nil, last+records)
	one = binary.LittleEndian.AppendUint32(one, crc32.Checksum(one, table))
	if err := os.WriteFile(file, append(slices.Clone(one), one...), 0o600); err != nil {
		t.Fatal(err)
	}
	return last
}
