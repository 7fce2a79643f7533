package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"headgate.dev/libs/resource"
	"headgate.dev/tools/e2e/product"
)

// drill is one way to take a right away, and what gives it back, both as the body of Apply at a service.
type drill struct {
	name, service, take, give string
}

// drills are about one person of a lane, and about the lane's own role, server and policy: lanes do not meet. The tokens of a person who was disabled stay
// dead, so that each person is disabled once.
func drills(lane int, who string) []drill {
	person := `{apiVersion: headgate/v1, kind: Person, metadata: {name: ` + who + `, tenant: acme}, spec: {email: ` + who + `@acme.example, roles: [%s]%s}}`
	role := fmt.Sprintf(`{apiVersion: headgate/v1, kind: Role, metadata: {name: support%d, tenant: acme}, spec: {grants: [%%s]}}`, lane)
	rules := fmt.Sprintf(`{apiVersion: headgate/v1, kind: Policy, metadata: {name: echo%d, tenant: acme}, spec: {match: {server: echo%d}, default: %%s, `+
		`rules: [{name: never, when: "false", effect: block}]}}`, lane, lane)
	support := fmt.Sprint("support", lane)
	given := fmt.Sprintf(person, support, "")
	return []drill{
		{"a role is removed from a person", "identity", fmt.Sprintf(person, "", ""), given},
		{"a grant is deleted", "identity", fmt.Sprintf(role, ""), fmt.Sprintf(role, fmt.Sprintf(`{server: echo%d, tools: ["*"], can: call}`, lane))},
		{"a policy is changed", "authz", fmt.Sprintf(rules, "block"), fmt.Sprintf(rules, "allow")},
		{"a person is disabled", "identity", fmt.Sprintf(person, support, ", disabled: true"), given},
	}
}

// attempt is one call: at which edge, when it was started, and whether it passed.
type attempt struct {
	edge    int
	started time.Time
	passed  bool
}

// pressed calls at every edge without a pause, with the token of the moment, until stop is closed.
func pressed(t *testing.T, server string, each int, token *atomic.Pointer[string], edges []string, stop chan struct{}) (<-chan attempt, func()) {
	all := make(chan attempt, 10_000)
	var working sync.WaitGroup
	for n, edge := range edges {
		for range each {
			client := product.NewClient(t, product.Endpoint(edge, server), "", true)
			working.Go(func() {
				for {
					client.Token = *token.Load()
					started := time.Now()
					passed := client.Call("echo", map[string]any{"text": "x"}).OK()
					select {
					case all <- attempt{n, started, passed}:
					case <-stop:
						return
					}
				}
			})
		}
	}
	return all, working.Wait
}

// held is what several lanes find together.
type held struct {
	mu            sync.Mutex
	longest       time.Duration
	times, within int
}

func (h *held) add(last time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.longest, h.times = max(h.longest, last), h.times+1
	if last <= time.Second {
		h.within++
	}
}

// ways is how many drills there are.
const ways = 4

// TestRevocationsHoldAtEveryEdgeUnderLoad takes rights away in turn while both edges are called without a pause: no call that was started a second after the
// RPC's answer may pass. HEADGATE_E2E_REVOCATIONS says how often, and makes the second a limit; without it there are few, and a busy machine gets longer.
// Many are spread over lanes, which run beside each other as far as -parallel lets them.
func TestRevocationsHoldAtEveryEdgeUnderLoad(t *testing.T) {
	times, lanes, each, limit := 8, 1, 3, 10*time.Second
	if said := os.Getenv("HEADGATE_E2E_REVOCATIONS"); said != "" {
		n, err := strconv.Atoi(said)
		if err != nil || n < 1 {
			t.Fatalf("HEADGATE_E2E_REVOCATIONS=%q is not a number of revocations", said)
		}
		times, lanes, each, limit = n, min(10, n), 1, time.Second
	}
	up := product.StartUpstream(t, product.Echo())
	rounds := (times + lanes - 1) / lanes
	yaml := ""
	for lane := range lanes {
		yaml += fmt.Sprintf("{apiVersion: headgate/v1, kind: Server, metadata: {name: echo%d, tenant: acme}, spec: {url: %q, approve: initial}}\n---\n%s\n---\n%s\n---\n",
			lane, up.URL, drills(lane, "")[1].give, drills(lane, "")[2].give)
		for n := range rounds/ways + 1 {
			yaml += drills(lane, person(lane, n))[0].give + "\n---\n"
		}
	}
	p := product.Start(t, product.Stack, strings.TrimSuffix(yaml, "---\n"))
	edges := p.Stack().Edges()
	if len(edges) < 2 {
		t.Fatalf("edges: %v", edges)
	}
	var found held
	began := time.Now()
	t.Run("lanes", func(t *testing.T) {
		for lane := range lanes {
			t.Run(strconv.Itoa(lane), func(t *testing.T) {
				t.Parallel()
				own := rounds
				if lane < lanes*rounds-times { // what does not divide is left out by the first lanes
					own--
				}
				revokeInLane(t, p, lane, own, each, limit, &found)
			})
		}
	})
	if found.times != times && !t.Failed() {
		t.Errorf("%d revocations, not %d", found.times, times)
	}
	t.Logf("%d of %d revocations held within 1 s at %d edges, in %s; the last call that passed was started %s after the answer",
		found.within, found.times, len(edges), time.Since(began).Round(time.Second), found.longest)
}

func person(lane, n int) string { return fmt.Sprintf("ana%d-%d", lane, n) }

// revokeInLane takes rights of one lane away and gives them back.
func revokeInLane(t *testing.T, p *product.Product, lane, times, each int, limit time.Duration, found *held) {
	t.Helper()
	edges := p.Stack().Edges()
	stop := make(chan struct{})
	var token atomic.Pointer[string]
	first := p.Token(person(lane, 0))
	token.Store(&first)
	attempts, wait := pressed(t, fmt.Sprint("echo", lane), each, &token, edges, stop)
	defer func() { close(stop); wait() }()
	for n := range times {
		who := person(lane, n/ways)
		mine := p.Token(who)
		token.Store(&mine)
		way := drills(lane, who)[n%ways]
		passing(t, attempts, len(edges), way.name)
		declare(t, p, way.service, way.take)
		last := settled(t, attempts, len(edges), time.Now(), way.name)
		found.add(last)
		if last > limit {
			t.Errorf("%d: %s: a call that was started %s after the answer passed", n, way.name, last)
		}
		declare(t, p, way.service, way.give)
	}
}

// passing waits until calls pass at every edge.
func passing(t *testing.T, attempts <-chan attempt, edges int, about string) {
	t.Helper()
	began, seen := time.Now(), map[int]bool{}
	deadline := time.After(time.Minute)
	for len(seen) < edges {
		select {
		case a := <-attempts:
			if a.passed && a.started.After(began) {
				seen[a.edge] = true
			}
		case <-deadline:
			t.Fatalf("before %q: calls pass at %d of %d edges", about, len(seen), edges)
		}
	}
}

// settled reads attempts until several at every edge, started more than a second after the answer, were refused in a row. It answers when the last call that
// passed was started, from the answer on.
func settled(t *testing.T, attempts <-chan attempt, edges int, answered time.Time, about string) time.Duration {
	t.Helper()
	const inARow = 5
	var last time.Duration
	refused := map[int]int{}
	deadline := time.After(time.Minute)
	for enough := 0; enough < edges; {
		select {
		case a := <-attempts:
			after := a.started.Sub(answered)
			switch {
			case a.passed:
				last = max(last, after)
				refused[a.edge] = 0
			case after > time.Second:
				refused[a.edge]++
			}
		case <-deadline:
			t.Fatalf("%s: calls still pass after a minute", about)
		}
		enough = 0
		for _, n := range refused {
			if n >= inARow {
				enough++
			}
		}
	}
	return last
}

// declare calls Apply itself: a command would begin and end around it.
func declare(t *testing.T, p *product.Product, service, yaml string) {
	t.Helper()
	located, err := resource.Parse("drill.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	object, err := resource.JSON(located[0].Object)
	if err != nil {
		t.Fatal(err)
	}
	kind := strings.ToLower(located[0].Object.GetKind()[:1]) + located[0].Object.GetKind()[1:]
	body, err := json.Marshal(map[string]any{"resources": []map[string]any{{kind: json.RawMessage(object)}}})
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("%s/headgate.%s.v1.%sService/Apply", p.Info().API, service, strings.ToUpper(service[:1])+service[1:])
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + p.Token("admin")}}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if answer, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("apply at %s: %d %s %v", service, response.StatusCode, answer, err)
	}
}
