package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
)

// corpusCalls is how many calls are generated: few by default, HEADGATE_E2E_CORPUS=100000 where a machine has the time.
func corpusCalls(t *testing.T) int {
	text := os.Getenv("HEADGATE_E2E_CORPUS")
	if text == "" {
		return 1500
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

const (
	corpusPeople, corpusTools = 12, 6
	batch                     = 1000 // as many as BatchDecide takes
)

// generated is one call of the corpus.
type generated struct{ person, tool, arguments string }

// TestTheEdgeDecidesAsAuthzDoes makes generated calls through an edge, each by its person, and asks authz about the same: both say the same of each, with
// the same rule, reason, path and sentence.
func TestTheEdgeDecidesAsAuthzDoes(t *testing.T) {
	random := rand.New(rand.NewPCG(11, 28))
	u := product.StartUpstream(t, corpusDefinitions()...)
	p := product.Start(t, product.Stack, corpusTenant(random, u.URL))
	calls := make([]generated, corpusCalls(t))
	for i := range calls {
		calls[i] = generated{fmt.Sprint("p", random.IntN(corpusPeople)), fmt.Sprint("t", random.IntN(corpusTools)), corpusArguments(random)}
	}
	began := time.Now()
	through(t, p, calls)
	took := time.Since(began)
	said := recordedSays(t, p, len(calls))
	kinds := map[string]int{}
	for from := 0; from < len(calls); from += batch {
		for i, want := range authzSays(t, p, calls[from:min(from+batch, len(calls))]) {
			// Of a call that waits for approval, the edge also says what to do.
			if got := said[fmt.Sprint("c", from+i)]; got != want && !(strings.HasPrefix(want, "escalate ") && strings.HasPrefix(got, want)) {
				t.Fatalf("%+v:\nthe edge says %s\nauthz says    %s", calls[from+i], got, want)
			}
			kind, _, _ := strings.Cut(want, " via ")
			kinds[kind]++
		}
	}
	if len(kinds) < 8 {
		t.Errorf("the corpus has only %v", kinds)
	}
	t.Logf("%d calls in %s, both say the same of each: %v", len(calls), took, kinds)
}

func corpusDefinitions() []product.Tool {
	var all []product.Tool
	for i := range corpusTools {
		all = append(all, product.Tool{Name: fmt.Sprint("t", i), Description: "One of the corpus.", InputSchema: map[string]any{"type": "object", "properties": map[string]any{
			"amount": map[string]any{"type": "number"}, "region": map[string]any{"type": "string"}, "path": map[string]any{"type": "string"}, "sql": map[string]any{"type": "string"},
		}}})
	}
	return all
}

// corpusTenant has people with some of four roles, roles with some of the tools, and policies whose rules read what the calls differ in. Not all arguments
// are there in each call, so some rules cannot be judged.
func corpusTenant(random *rand.Rand, url string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "{apiVersion: headgate/v1, kind: Server, metadata: {name: desk, tenant: acme}, spec: {url: %q, approve: initial, labels: [private]}}\n", url)
	for i := range corpusPeople {
		var roles []string
		for r := range 4 {
			if random.IntN(3) > 0 {
				roles = append(roles, fmt.Sprint("r", r))
			}
		}
		fmt.Fprintf(&out, "---\n{apiVersion: headgate/v1, kind: Person, metadata: {name: p%d, tenant: acme}, spec: {email: p%d@acme.example, department: d%d, roles: [%s]}}\n", i, i, i%3, strings.Join(roles, ", "))
	}
	for r := range 4 {
		condition := []string{"", ", amount: {argument: /amount, max: \"500\", currency: EUR}", "", ", networks: [192.0.2.0/24]"}[r]
		fmt.Fprintf(&out, "---\n{apiVersion: headgate/v1, kind: Role, metadata: {name: r%d, tenant: acme}, spec: {grants: [{server: desk, tools: [t%d], can: call}, {server: desk, tools: [t%d], can: call%s}, {server: desk, tools: [t%d], can: see}]}}\n",
			r, r, (r+2)%corpusTools, condition, (r+3)%corpusTools)
	}
	out.WriteString(`---
apiVersion: headgate/v1
kind: Policy
metadata: {name: money, tenant: acme}
spec:
  match: {server: desk, tools: [t0, t1, t2, t3]}
  rules:
    - {name: much, when: 'args.amount > 900.0', effect: block, reason: "Amounts above 900 are too large."}
    - {name: ask, when: 'args.amount > 600.0 && principal.department == "d0"', effect: escalate, approval: {by: "role:r3"}}
    - {name: cap, when: 'args.amount > 300.0 && "r1" in principal.roles', effect: modify, modify: [{path: /amount, clamp: {max: 300}}]}
    - {name: seen, when: 'args.region == "eu"', effect: alert, shadow: true}
    - {name: rest, when: 'has(args.region) ? args.region != "moon" : true', effect: allow}
---
apiVersion: headgate/v1
kind: Policy
metadata: {name: texts, tenant: acme}
spec:
  match: {server: desk}
  default: allow
  rules:
    - {name: reads, when: 'has(args.sql) && !sql(args.sql).readOnly', effect: block}
    - {name: inside, when: 'has(args.path) && !path(args.path).under("/srv")', effect: block}
    - {name: secret, when: '"private" in server.labels && principal.department == "d2" && tool.name == "t4"', effect: redact, redactIfThere: [/structuredContent/text]}
`)
	return out.String()
}

func corpusArguments(random *rand.Rand) string {
	all := map[string]any{}
	if random.IntN(8) > 0 {
		all["amount"] = random.IntN(1000)
	}
	if random.IntN(2) == 0 {
		all["region"] = []string{"eu", "us", "moon"}[random.IntN(3)]
	}
	if random.IntN(3) == 0 {
		all["path"] = []string{"/srv/a", "/srv/../etc/passwd", "/etc", "a/b"}[random.IntN(4)]
	}
	if random.IntN(3) == 0 {
		all["sql"] = []string{"SELECT 1", "DELETE FROM t", "WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x", "no sql"}[random.IntN(4)]
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// through makes the calls, a few at once. The JSON-RPC id is the call's number.
func through(t *testing.T, p *product.Product, calls []generated) {
	t.Helper()
	tokens := map[string]string{}
	for i := range corpusPeople {
		person := fmt.Sprint("p", i)
		tokens[person] = p.Token(person)
	}
	transport := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
	defer transport.CloseIdleConnections()
	var next atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(calls); i = int(next.Add(1)) - 1 {
				c := product.NewClient(t, p.MCP("desk"), tokens[calls[i].person], true)
				c.HTTP = transport
				body := fmt.Sprintf(`{"jsonrpc":"2.0","id":"c%d","method":"tools/call","params":{"name":%q,"arguments":%s,%s}}`, i, calls[i].tool, calls[i].arguments, modernMeta)
				if answer := c.Raw([]byte(body), c.Headers("tools/call", calls[i].tool)); answer.Err != nil {
					t.Errorf("%+v: %v", calls[i], answer.Err)
				}
			}
		})
	}
	all.Wait()
}

// recordedSays is what the edge's records say of each call, by its JSON-RPC id.
func recordedSays(t *testing.T, p *product.Product, calls int) map[string]string {
	t.Helper()
	said := map[string]string{}
	product.Eventually(t, 5*time.Minute, "every call is recorded", func() bool {
		clear(said)
		for _, r := range p.Records("--action", "tool-call") {
			via := r.Get("headgate.decision.via")
			said[r.Get("jsonrpc.request.id")] = saying(r.Get("headgate.decision.effect"), r.Get("rule.id"), r.Get("event.code"), via, r.Get("event.reason"))
		}
		return len(said) == calls
	})
	return said
}

func saying(effect, rule, code, via, sentence string) string {
	if code == effect { // a record without a reason has the effect as its code
		code = ""
	}
	if code == "not-granted" && via == "" { // an edge asks no rule about a tool that is not even shown to the person, and says that in its own words
		sentence = ""
	}
	return effect + " " + rule + " " + code + " via " + via + ": " + sentence
}

// authzSays is what authz says of the same calls.
func authzSays(t *testing.T, p *product.Product, calls []generated) []string {
	t.Helper()
	type call struct {
		Person    string `json:"person"`
		Server    string `json:"server"`
		Tool      string `json:"tool"`
		Arguments []byte `json:"arguments"`
		SourceIP  string `json:"sourceIp"`
	}
	asked := struct {
		Tenant string `json:"tenant"`
		Calls  []call `json:"calls"`
	}{Tenant: "acme"}
	for _, c := range calls {
		asked.Calls = append(asked.Calls, call{c.person, "desk", c.tool, []byte(c.arguments), "127.0.0.1"})
	}
	body, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	q, err := http.NewRequest(http.MethodPost, p.Info().API+"/headgate.authz.v1.AuthzService/BatchDecide", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Authorization", "Bearer "+p.Token("admin"))
	response, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Decisions []struct{ Effect, Rule, Reason, Via, Sentence string }
		Message   string
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || len(answer.Decisions) != len(calls) {
		t.Fatalf("%d %s %v", response.StatusCode, answer.Message, err)
	}
	var said []string
	for _, d := range answer.Decisions {
		code := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(d.Reason, "REASON_")), "_", "-")
		said = append(said, saying(d.Effect, d.Rule, code, d.Via, d.Sentence))
	}
	return slices.Clip(said)
}
