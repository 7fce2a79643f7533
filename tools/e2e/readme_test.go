//go:build external

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headgate.dev/tools/arch"
	"headgate.dev/tools/e2e/product"
)

// paragraph is a block of shell that a page marks with <!-- run -->, and what the block after it, marked with <!-- prints -->, says it prints.
type paragraph struct {
	line   int
	script string
	prints []string
}

var (
	runMark    = regexp.MustCompile("(?ms)^<!-- run -->\n+```sh\n(.*?)^```$")
	printsMark = regexp.MustCompile("(?ms)\\A\\s*<!-- prints -->\n+```[a-z]*\n(.*?)^```$")
)

// paragraphs reads the marked blocks in order.
func paragraphs(text string) []paragraph {
	var all []paragraph
	for _, at := range runMark.FindAllStringSubmatchIndex(text, -1) {
		one := paragraph{line: 1 + strings.Count(text[:at[2]], "\n"), script: text[at[2]:at[3]]}
		if said := printsMark.FindStringSubmatch(text[at[1]:]); said != nil {
			one.prints = strings.Split(strings.TrimSpace(said[1]), "\n")
		}
		all = append(all, one)
	}
	return all
}

// TestExternalReadmeLines runs the marked lines of the README, and those of the page on deciding, one after the other in one shell, as a reader would who
// started the demo: headgate is on the PATH, HEADGATE_API and HEADGATE_TOKEN are the administrator's, and the standard addresses stand for the ports that
// this demo took. Each line that the page says is printed must be part of a line that was; spaces count as one, and an ellipsis stands for anything.
func TestExternalReadmeLines(t *testing.T) {
	root, err := arch.Root()
	if err != nil {
		t.Fatal(err)
	}
	p := product.Start(t, product.Dev, "")
	for _, page := range []string{"README.md", "docs/deciding.md"} {
		text, err := os.ReadFile(filepath.Join(root, page))
		if err != nil {
			t.Fatal(err)
		}
		blocks := paragraphs(string(text))
		if len(blocks) == 0 {
			t.Fatalf("%s has no block ```sh after <!-- run -->", page)
		}
		if marks := strings.Count(string(text), "<!-- run -->"); marks != len(blocks) {
			t.Fatalf("%s has %d marks <!-- run --> and %d blocks ```sh after one", page, marks, len(blocks))
		}
		if marks := strings.Count(string(text), "<!-- prints -->"); marks != promising(blocks) {
			t.Fatalf("%s has %d marks <!-- prints --> and %d blocks after a block that runs", page, marks, promising(blocks))
		}
		for i, output := range runAll(t, p, root, blocks) {
			for _, promised := range blocks[i].prints {
				if !printed(output, promised) {
					t.Errorf("%s:%d does not print %q, but\n%s", page, blocks[i].line, promised, output)
				}
			}
		}
	}
}

func promising(blocks []paragraph) int {
	n := 0
	for _, block := range blocks {
		if block.prints != nil {
			n++
		}
	}
	return n
}

// runAll runs the blocks in one shell, so that what one exports is there for the next, and answers what each printed.
func runAll(t *testing.T, p *product.Product, root string, blocks []paragraph) []string {
	t.Helper()
	const border = "=== end of block ==="
	here := strings.NewReplacer("http://127.0.0.1:8080/mcp", p.MCP(""), "http://127.0.0.1:8081", p.Info().API, "go run ./services/headgate ", "headgate ")
	var script strings.Builder
	for _, block := range blocks {
		fmt.Fprintf(&script, "%s\nprintf '\\n%s\\n'\n", here.Replace(block.script), border)
	}
	cmd := exec.Command("bash", "-c", script.String())
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(product.Binary(t))+":"+os.Getenv("PATH"),
		"HEADGATE_API="+p.Info().API, "HEADGATE_TOKEN="+p.Token("admin"), "HEADGATE_MCP="+p.MCP(""))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the page's lines: %v: %s", err, out)
	}
	outputs := strings.Split(string(out), border)
	if len(outputs) != len(blocks)+1 {
		t.Fatalf("the page's lines ended the shell early: %s", out)
	}
	return outputs[:len(blocks)]
}

func printed(output, promised string) bool {
	for line := range strings.SplitSeq(output, "\n") {
		rest, found := strings.Join(strings.Fields(line), " "), true
		for part := range strings.SplitSeq(strings.ReplaceAll(promised, "...", "…"), "…") {
			_, after, ok := strings.Cut(rest, strings.Join(strings.Fields(part), " "))
			rest, found = after, found && ok
		}
		if found {
			return true
		}
	}
	return false
}

// TestExternalGreeting pastes what headgate dev prints, and each call must do what the words above it say.
func TestExternalGreeting(t *testing.T) {
	p := product.Start(t, product.Dev, "")
	text, err := os.ReadFile(p.Process().Log)
	if err != nil {
		t.Fatal(err)
	}
	exports := strings.Join(regexp.MustCompile(`(?m)^  export .*$`).FindAllString(string(text), -1), "\n")
	if tokens := strings.Count(exports, "\n  export "); tokens != 8 {
		t.Errorf("the greeting gives tokens for %d people, not 8", tokens)
	}
	examples := regexp.MustCompile(`(?m)^.* \((.*)\):\n((?:  curl .*\\\n.*))$`).FindAllStringSubmatch(string(text), -1)
	want := map[string]string{
		"allowed":                         `"structuredContent"`,
		"blocked by a rule":               `"effect":"block"`,
		"needs a supervisor's approval":   `"effect":"escalate"`,
		"allowed, with a smaller limit":   `"changed":["/limit"]`,
		"allowed, the credential cut out": `[redacted:credential]`,
	}
	for _, example := range examples {
		out, err := exec.Command("bash", "-c", exports+"\n"+example[2]).CombinedOutput()
		if expected, known := want[example[1]]; err != nil || !known || !strings.Contains(string(out), expected) {
			t.Errorf("%s: %v: %s", example[0], err, out)
		}
		delete(want, example[1])
	}
	if len(want) > 0 || len(examples) != strings.Count(string(text), "  curl ") {
		t.Errorf("the greeting shows %d calls that were understood and does not show %v", len(examples), want)
	}
	out, err := exec.Command("bash", "-c", exports+"\n"+product.Binary(t)+" whoami").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "admin") {
		t.Errorf("whoami as the administrator: %v: %s", err, out)
	}
}
