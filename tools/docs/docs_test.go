// Package docs_test holds the pages to the tree: what they name is there, and their examples are taken. The pages lie outside this module, so that go test
// does not see when they change: go test -count=1 ./docs.
package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"headgate.dev/tools/arch"
	"headgate.dev/tools/e2e/product"
)

// pages are the README, the pages in docs and the READMEs of deployments, by path from the root.
func pages(t *testing.T) (root string, text map[string]string) {
	t.Helper()
	root, err := arch.Root()
	if err != nil {
		t.Fatal(err)
	}
	text = map[string]string{}
	for _, pattern := range []string{"README.md", "docs/*.md", "docs/adr/*.md", "deployments/README.md", "deployments/*/README.md"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no page, %v", pattern, err)
		}
		for _, file := range files {
			page, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			text[name] = string(page)
		}
	}
	return root, text
}

// each calls use with the first group of every match in every page.
func each(text map[string]string, pattern *regexp.Regexp, use func(page, found string)) {
	for page, whole := range text {
		for _, match := range pattern.FindAllStringSubmatch(whole, -1) {
			use(page, match[1])
		}
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	root, text := pages(t)
	each(text, regexp.MustCompile(`\]\(([^)\s]+)\)`), func(page, link string) {
		if strings.Contains(link, "://") {
			return
		}
		path, anchor, _ := strings.Cut(link, "#")
		target := page
		if path != "" {
			target = filepath.Join(filepath.Dir(page), path)
		}
		if _, err := os.Stat(filepath.Join(root, target)); err != nil {
			t.Errorf("%s links to %s, which is not there", page, link)
		}
		if anchor != "" && !headings(text[target])[anchor] {
			t.Errorf("%s links to %s, but that page has no such heading", page, link)
		}
	})
}

// headings are the anchors of a page, as GitHub makes them.
func headings(page string) map[string]bool {
	found := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		word := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(match[1]), "")
		found[strings.ReplaceAll(word, " ", "-")] = true
	}
	return found
}

func TestFilesThatPagesNameAreThere(t *testing.T) {
	root, text := pages(t)
	named := regexp.MustCompile("`((?:proto|libs|services|tools|deployments|docs)(?:/[A-Za-z0-9_.*-]+)*/?)`")
	methods := map[string]bool{"tools/list": true, "tools/call": true} // of MCP, not paths
	each(text, named, func(page, path string) {
		if methods[path] {
			return
		}
		if found, err := filepath.Glob(filepath.Join(root, path)); err != nil || len(found) == 0 {
			t.Errorf("%s names %s, which is not there", page, path)
		}
	})
}

func TestTestsThatPagesNameAreThere(t *testing.T) {
	root, text := pages(t)
	all, err := arch.Files(root)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, file := range all {
		for _, match := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllStringSubmatch(file.Text, -1) {
			there[match[1]] = true
		}
	}
	each(text, regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w+)`"), func(page, name string) {
		if !there[name] {
			t.Errorf("%s names the test %s, which is not there", page, name)
		}
	})
}

// TestExamplesOfResourcesAreTaken lets the command read every resource of the examples and of the pages, as apply does, and run the tests of their policies.
func TestExamplesOfResourcesAreTaken(t *testing.T) {
	root, text := pages(t)
	files, err := filepath.Glob(filepath.Join(root, "deployments/examples/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no example, %v", err)
	}
	for _, file := range files {
		taken(t, file, file)
	}
	each(text, regexp.MustCompile("(?s)\n```yaml\n(.*?)```"), func(page, block string) {
		file := filepath.Join(t.TempDir(), "block.yaml")
		if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
			t.Fatal(err)
		}
		taken(t, page, file)
	})
}

func taken(t *testing.T, from, file string) {
	t.Helper()
	if out, err := exec.Command(product.Binary(t), "policy", "test", "-f", file).CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", from, err, out)
	}
}

func TestExamplesOfConfigurationsAreTaken(t *testing.T) {
	root, _ := pages(t)
	for _, service := range []string{"audit", "authz", "credentials", "edge", "identity", "trust"} {
		file := filepath.Join(root, "deployments/examples/config", service+".yaml")
		if out, err := exec.Command(product.Binary(t), "serve", service, "--config", file, "--check-config").CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", file, err, out)
		}
	}
}
