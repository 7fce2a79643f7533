//go:build external

package programs_test

import (
	"context"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/e2e/programs"
)

// visitLimit is how long a client may take for a whole visit.
const visitLimit = 4 * time.Minute

func installed(t *testing.T) programs.Installed {
	t.Helper()
	found, err := programs.Find()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestExternalProgramsOverHTTP lets clients of every SDK and era work with servers of every era that have a URL, through Headgate in both shapes.
func TestExternalProgramsOverHTTP(t *testing.T) {
	found := installed(t)
	servers := overHTTP(t, found)
	for _, shape := range product.Shapes() {
		t.Run(string(shape), func(t *testing.T) {
			p := visitAll(t, shape, servers, clients(found, shape))
			if shape == product.Dev {
				visitTogether(t, p, clients(found, shape))
			}
		})
	}
}

// TestExternalProgramsOverStdio does so with servers that the edge starts itself, which it does in dev for the commands of the files that it is given.
func TestExternalProgramsOverStdio(t *testing.T) {
	t.Setenv(secret, secretValue)
	found := installed(t)
	visitAll(t, product.Dev, overStdio(t, found), clients(found, product.Dev))
}

// clients are those of every SDK, and in the shape that people install the inspector.
func clients(found programs.Installed, shape product.Shape) []programs.Client {
	if shape == product.Dev {
		return append(found.SDKs(), found.Inspectors()...)
	}
	return found.SDKs()
}

// visitAll starts Headgate with the servers and lets each client visit each of them.
func visitAll(t *testing.T, shape product.Shape, servers []server, all []programs.Client) *product.Product {
	t.Helper()
	var flags []string
	if shape == product.Dev {
		flags = append(flags, "--no-demo")
	}
	p := product.Start(t, shape, tenant(t, servers), flags...)
	usable(t, p, servers)
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			for _, c := range all {
				t.Run(c.Name, func(t *testing.T) {
					if !s.asksOne() { // clients of one person take turns
						t.Parallel()
					}
					visit(t, c, programs.Endpoint{URL: p.MCP(s.name), Token: p.Token("ana")}, s.visit)
				})
			}
		})
	}
	return p
}

// visit lets a client take all steps that it can and looks at what its user would see.
func visit(t *testing.T, c programs.Client, at programs.Endpoint, asks []ask) {
	var taken []ask
	var steps []programs.Step
	times := map[string]int{}
	for _, a := range asks {
		method := a.step.Method
		if !c.Can(a.step) || a.asks && !c.Answers || a.modern && !c.Modern || c.Each > 0 && times[method] == c.Each {
			continue
		}
		times[method]++
		taken, steps = append(taken, a), append(steps, a.step)
	}
	ctx, cancel := context.WithTimeout(t.Context(), visitLimit)
	defer cancel()
	replies, err := c.Run(ctx, at, steps...)
	if err != nil {
		t.Fatal(err)
	}
	if !taken[0].wants(replies[0]) {
		t.Fatalf("%s: %.1000s", taken[0], replies[0]) // without the list there is nothing to use
	}
	for i, a := range taken {
		if !a.wants(replies[i]) {
			t.Errorf("%s: %.1000s", a, replies[i])
		}
		if a.heard != "" && !replies[i].HasHeard(a.heard) {
			t.Errorf("%s: the server's %s did not come: %.1000s", a, a.heard, replies[i])
		}
	}
}
