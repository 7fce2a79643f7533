//go:build external

package conformance_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/tools/e2e/conformance"
	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/proc"
	"headgate.dev/tools/stack"
)

// limit is how long one run of the suite may take, single one of a single scenario. The suite's own server waits for the end of all connections to it: one
// that is left open shows here.
const (
	limit  = 5 * time.Minute
	single = 90 * time.Second
)

// scored is how many scenarios each revision requires: a list that was read wrong must not make the tests pass.
var scored = map[string]map[string]int{
	"server": {conformance.Legacy: 30, conformance.Modern: 37},
	"client": {conformance.Legacy: 4, conformance.Modern: 7}, // without those of a client's own authorization
}

// flaky are scenarios that time out now and then, also without anything between the suite and the server.
var flaky = map[string]bool{"elicitation-sep1034-defaults": true}

const retries = 2

// otherwise are the checks that end otherwise behind Headgate without failing, by scenario, and why that is right.
var otherwise = map[string][]string{
	// The tool that the fixture adds is approved by nobody: the list that this client may see stays the same, and nobody tells it of a change.
	"server-stateless": {"sep-2575-server-sends-tools-list-changed-on-subscription"},
}

// unexplained are the lines, each of which begins with a check's name and status, that are not explained. A failure never is.
func unexplained(scenario string, lines []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool {
		check, rest, _ := strings.Cut(line, " ")
		return slices.Contains(otherwise[scenario], check) && !strings.HasPrefix(rest, "FAILURE")
	})
}

func suite(t *testing.T) conformance.Suite {
	t.Helper()
	folder := os.Getenv("HEADGATE_TEST_NPM")
	if folder == "" {
		t.Fatal("HEADGATE_TEST_NPM is not set: it must name a copy of tools/e2e/npm in which npm ci ran")
	}
	opened, err := conformance.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// required are a side's scenarios at a revision. Those of a client's authorization are about tokens that the client gets from the server's own authorization
// server: between client and server stands Headgate, whose tokens are its own.
func required(t *testing.T, s conformance.Suite, side, revision string) conformance.Requirements {
	t.Helper()
	r, err := s.Requirements(side, revision)
	if err != nil {
		t.Fatal(err)
	}
	if side == "client" {
		r = r.Without("auth/")
	}
	if got, want := len(r.Scored), scored[side][revision]; got != want {
		t.Fatalf("the suite requires %d scenarios of a %s at %s, not %d", got, side, revision, want)
	}
	return r
}

func build(t *testing.T, pkg string) string {
	t.Helper()
	path, err := stack.Build(pkg)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// fixture starts the official server that has all that the suite asks for, and returns its URL. One process speaks the revisions with sessions, another the
// one without.
func fixture(t *testing.T, revision string) string {
	t.Helper()
	address, err := stack.Free()
	if err != nil {
		t.Fatal(err)
	}
	binary := build(t, "github.com/modelcontextprotocol/go-sdk/conformance/everything-server")
	server, err := proc.Start(filepath.Join(t.TempDir(), "log"), nil, binary, "-http", address, fmt.Sprintf("-stateless=%t", revision == conformance.Modern))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Kill)
	product.Eventually(t, 30*time.Second, "the fixture listens", func() bool {
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	})
	return "http://" + address + "/mcp"
}

// tenant declares servers by name and ana, who may use all of them.
func tenant(urls map[string]string, grants ...string) string {
	var text strings.Builder
	for name, url := range urls {
		fmt.Fprintf(&text, "{apiVersion: headgate/v1, kind: Server, metadata: {name: %q, tenant: acme}, spec: {url: %q, approve: initial}}\n---\n", name, url)
		grants = append(grants, name)
	}
	for i, server := range grants {
		grants[i] = fmt.Sprintf(`{server: %q, tools: ["*"], can: call}`, server)
	}
	fmt.Fprintf(&text, "{apiVersion: headgate/v1, kind: Role, metadata: {name: all, tenant: acme}, spec: {grants: [%s]}}\n---\n", strings.Join(grants, ", "))
	text.WriteString("{apiVersion: headgate/v1, kind: Person, metadata: {name: ana, tenant: acme}, spec: {email: ana@acme.example, roles: [all]}}\n")
	return text.String()
}

func start(t *testing.T, shape product.Shape, yaml string) *product.Product {
	t.Helper()
	if shape == product.Dev {
		return product.Start(t, shape, yaml, "--no-demo")
	}
	return product.Start(t, shape, yaml)
}

// TestExternalConformanceOfTheServerSide lets the official suite test the official fixture through Headgate, in both shapes and through two edges in turn: what the fixture can do alone it can
// do behind Headgate, and what it cannot it cannot there.
func TestExternalConformanceOfTheServerSide(t *testing.T) {
	s := suite(t)
	fixtures := map[string]string{conformance.Legacy: fixture(t, conformance.Legacy), conformance.Modern: fixture(t, conformance.Modern)}
	keeps := resumable(t)
	servers := maps.Clone(fixtures)
	servers[polling] = keeps
	direct := map[string]conformance.Report{}
	for revision, url := range fixtures {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		report, err := s.Server(ctx, url, revision)
		if err != nil {
			t.Fatal(err)
		}
		again(ctx, t, report, required(t, s, "server", revision), func(scenario string) (conformance.Report, error) {
			return s.ServerScenario(ctx, url, revision, scenario)
		})
		if revision == conformance.Legacy {
			polls(ctx, t, s, report, keeps)
		}
		direct[revision] = report
	}
	for _, shape := range append(product.Shapes(), product.Balanced) {
		t.Run(string(shape), func(t *testing.T) {
			p := start(t, shape, tenant(servers))
			for _, revision := range []string{conformance.Legacy, conformance.Modern} {
				t.Run(revision, func(t *testing.T) { serves(t, s, p, revision, direct[revision]) })
			}
		})
	}
}

// serves runs the suite against the endpoint that is named like the revision.
func serves(t *testing.T, s conformance.Suite, p *product.Product, revision string, direct conformance.Report) {
	endpoint, err := url.Parse(p.MCP(revision))
	if err != nil {
		t.Fatal(err)
	}
	forward, err := conformance.Forward(endpoint.Host, p.Token("ana"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = forward.Close() }()
	here := "http://" + forward.Address + endpoint.Path
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	through, err := s.Server(ctx, here, revision)
	if err != nil {
		t.Fatal(err)
	}
	r := required(t, s, "server", revision)
	again(ctx, t, through, r, func(scenario string) (conformance.Report, error) {
		return s.ServerScenario(ctx, here, revision, scenario)
	})
	if revision == conformance.Legacy {
		polls(ctx, t, s, through, "http://"+forward.Address+strings.Replace(endpoint.Path, revision, polling, 1))
	}
	judge(t, r, direct, through)
}

// again runs the flaky scenarios that did not pass once more, at most twice.
func again(ctx context.Context, t *testing.T, report conformance.Report, r conformance.Requirements, run func(scenario string) (conformance.Report, error)) {
	t.Helper()
	for _, scenario := range r.All() {
		for range retries {
			if !flaky[scenario] || report[scenario].Passed() || ctx.Err() != nil {
				break
			}
			one, err := run(scenario)
			if err != nil {
				t.Fatal(err)
			}
			report[scenario] = one[scenario]
		}
	}
}

// judge wants of all scored scenarios that they pass and that no check fares worse than without Headgate, and of the others that they do exactly what they do
// without. Whether an answer comes as a stream or as one message is the server's choice: where a scored scenario only notes it, it may differ.
func judge(t *testing.T, r conformance.Requirements, direct, through conformance.Report) {
	t.Helper()
	t.Logf("\n%s", conformance.Table(r, direct, through))
	for _, scenario := range r.Scored {
		mine, theirs := direct[scenario], through[scenario]
		if !mine.Passed() {
			t.Errorf("%s fails without Headgate: %s", scenario, strings.Join(mine.Failures(), "\n  "))
		}
		if worse := unexplained(scenario, mine.Worse(theirs)); !theirs.Passed() || len(worse) > 0 {
			t.Errorf("%s does not pass through Headgate; without it here, through it there:\n  %s%s", scenario, strings.Join(append(worse, theirs.Failures()...), "\n  "), theirs.Stderr)
		}
	}
	for _, scenario := range r.Unscored {
		mine, theirs := direct[scenario], through[scenario]
		if differences := unexplained(scenario, mine.Differences(theirs)); len(differences) > 0 {
			t.Errorf("%s, which does not count, differs; without Headgate here, through it there:\n  %s%s", scenario,
				strings.Join(append(differences, theirs.Failures()...), "\n  "), theirs.Stderr)
		}
	}
}

// TestExternalConformanceOfTheClientSide lets the official client talk through Headgate to the suite's own servers, which look at what they are sent: what they
// ask of a client they ask of Headgate here.
func TestExternalConformanceOfTheClientSide(t *testing.T) {
	s := suite(t)
	client := build(t, "github.com/modelcontextprotocol/go-sdk/conformance/everything-client")
	wrapper := build(t, "./tools/e2e/conformance/cmd/through")
	for _, revision := range []string{conformance.Legacy, conformance.Modern} {
		t.Run(revision, func(t *testing.T) {
			r := required(t, s, "client", revision)
			p := start(t, product.Dev, tenant(nil, r.All()...))
			command := strings.Join([]string{wrapper, "--binary", product.Binary(t), "--tenant", "acme", "--edge", p.MCP(""), "--client", client}, " ")
			env := []string{"HEADGATE_API=" + p.Info().API, "HEADGATE_TOKEN=" + p.Token("admin"), "HEADGATE_PERSON_TOKEN=" + p.Token("ana")}
			direct := talks(t, s, r, client, revision)
			through := talks(t, s, r, command, revision, env...)
			judge(t, r, direct, through)
		})
	}
}

// talks runs each scenario by itself, two at a time.
func talks(t *testing.T, s conformance.Suite, r conformance.Requirements, command, revision string, env ...string) conformance.Report {
	t.Helper()
	all := conformance.Report{}
	var mu sync.Mutex
	var tasks sync.WaitGroup
	next := make(chan string)
	for range 2 {
		tasks.Go(func() {
			for scenario := range next {
				ctx, cancel := context.WithTimeout(t.Context(), single)
				report, err := s.ClientScenario(ctx, command, revision, scenario, env...)
				cancel()
				mu.Lock()
				if err != nil {
					t.Error(err)
				}
				all[scenario] = report[scenario]
				mu.Unlock()
			}
		})
	}
	for _, scenario := range r.All() {
		next <- scenario
	}
	close(next)
	tasks.Wait()
	return all
}
