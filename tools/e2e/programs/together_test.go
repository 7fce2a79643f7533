//go:build external

package programs_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"headgate.dev/tools/e2e/product"
	"headgate.dev/tools/e2e/programs"
)

// shortVisit is how many steps a client takes that is slow to start each: the list, a call, an error and a prompt.
const shortVisit = 4

// visitTogether lets each client work with all servers at once, and through the program that stands in for the gateway where a client knows only stdio.
func visitTogether(t *testing.T, p *product.Product, all []programs.Client) {
	t.Helper()
	t.Run("all servers", func(t *testing.T) {
		for _, c := range all {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				visit(t, c, programs.Endpoint{URL: p.MCP(""), Token: p.Token("ana")}, short(c, togetherVisit()))
			})
		}
	})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(p.Token("ana")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	binary := product.Binary(t)
	t.Run("headgate stdio", func(t *testing.T) {
		for _, c := range all {
			t.Run(c.Name, func(t *testing.T) {
				t.Parallel()
				// The lines of each SDK differ in era, so that each SDK has both: one server with a token of the environment, all servers with one of a file.
				program := programs.Program{Command: binary, Args: []string{"stdio", "--server", "fixture-legacy"},
					Env: map[string]string{"HEADGATE_MCP": p.MCP(""), "HEADGATE_TOKEN": p.Token("ana")}}
				asks := append(fixtureVisit(), legacyQuestions()...)
				if c.Modern {
					program.Args, program.Env = []string{"stdio", "--token-file", file}, map[string]string{"HEADGATE_MCP": p.MCP("")}
					asks = togetherVisit()
				}
				visit(t, c, programs.Endpoint{Program: &program}, short(c, asks))
			})
		}
	})
}

func short(c programs.Client, asks []ask) []ask {
	if c.Each > 0 {
		return asks[:shortVisit]
	}
	return asks
}

// togetherVisit is what there is to see at the endpoint of all servers that overHTTP declares: names that say whose a thing is.
func togetherVisit() []ask {
	return []ask{
		lists("tools/list", "fixture-legacy.test_simple_text", "fixture-modern.test_simple_text", "modern-only.ask_person", "everything-http.echo", "everything-sse.echo"),
		says(programs.Call("everything-sse.echo", map[string]any{"message": "gate"}), "Echo: gate"),
		refused(programs.Call("fixture-legacy.nope", nil), invalidParams),
		says(prompt("fixture-modern.test_prompt_with_arguments", map[string]any{"arg1": "gate", "arg2": "keeper"}), "arg1='gate', arg2='keeper'"),
		fails(programs.Call("fixture-legacy.test_error_handling", nil), "this tool intentionally returns an error for testing"),
		holds(programs.Call("fixture-modern.test_multiple_content_types", nil), `"uri":"hg.fixture-modern+test://embedded-in-multiple"`),
		says(programs.Call("fixture-legacy.test_tool_with_progress", nil), "").hears("notifications/progress"),
		says(programs.Call("modern-only.ask_person", nil), "accept Rhine").answered(map[string]any{"gate": "Rhine"}).hears("elicitation/create"),
		says(programs.Call("everything-http.trigger-elicitation-request", nil), "Name: ana").answered(map[string]any{"name": "ana"}).hears("elicitation/create"),
		refused(programs.Call("test_simple_text", nil), invalidParams), // whose?
		lists("prompts/list", "fixture-legacy.test_simple_prompt", "everything-http.simple-prompt"),
		lists("resources/list", "hg.fixture-legacy+test://static-text", "hg.fixture-modern+test://static-text"),
		holds(programs.Step{Method: "resources/templates/list"}, `"uriTemplate":"hg.fixture-legacy+test://template/{id}/data"`),
		says(resource("hg.fixture-modern+test://static-text"), "This is the content of the static text resource."),
		says(resource("hg.fixture-legacy+test://template/7/data"), `"id": "7"`),
		refused(resource("hg.fixture-legacy+test://none"), invalidParams, notFound),
		completion("fixture-legacy.test_prompt_with_arguments", "arg1", "g"),
	}
}

// usable waits until ana's client is shown tools of each server: a server that starts late is looked at when it answers.
func usable(t *testing.T, p *product.Product, servers []server) {
	t.Helper()
	for _, s := range servers {
		ana := p.Client("ana", s.name, true)
		product.Eventually(t, time.Minute, "the tools of "+s.name+" can be used", func() bool { return len(ana.List().Names()) > 0 })
	}
}
