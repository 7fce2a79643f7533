package arch_test

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/tools/arch"
)

func files(t *testing.T) (string, []arch.File) {
	t.Helper()
	root, err := arch.Root()
	if err != nil {
		t.Fatal(err)
	}
	all, err := arch.Files(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("only %d files were read: the walk is broken", len(all))
	}
	return root, all
}

func TestImportsPointOneWay(t *testing.T) {
	_, all := files(t)
	for _, f := range all {
		for _, broken := range arch.Imports(f) {
			t.Error(broken)
		}
	}
}

func TestFilesKeepTheHouseRules(t *testing.T) {
	_, all := files(t)
	for _, f := range all {
		for _, broken := range arch.Shape(f) {
			t.Error(broken)
		}
	}
}

func TestPackagesHoldNoState(t *testing.T) {
	_, all := files(t)
	packages := map[string][]arch.File{}
	for _, f := range all {
		if !f.IsTest() {
			packages[path.Dir(f.Path)] = append(packages[path.Dir(f.Path)], f)
		}
	}
	for _, pkg := range packages {
		for _, broken := range arch.Globals(pkg) {
			t.Error(broken)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	_, all := files(t)
	said := map[string]bool{}
	for _, f := range all {
		if f.IsTest() {
			continue
		}
		dir := path.Dir(f.Path)
		said[dir] = said[dir] || f.AST.Doc != nil
	}
	for dir, ok := range said {
		if !ok {
			t.Errorf("%s: no file has a package comment", dir)
		}
		switch name := path.Base(dir); name {
		case "util", "utils", "common", "helpers", "manager", "types":
			t.Errorf("%s: %q says nothing about what is inside", dir, name)
		}
	}
}

func TestBinariesLinkOnlyWhatTheyMay(t *testing.T) {
	root, _ := files(t)
	for name, never := range arch.Never() {
		linked, err := arch.Linked(root, "headgate.dev/services/"+name+"/cmd/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if len(linked) < 100 {
			t.Fatalf("%s links only %d packages: the list is broken", name, len(linked))
		}
		for _, pkg := range linked {
			if arch.Matches(pkg, never) {
				t.Errorf("%s links %s", name, pkg)
			}
		}
	}
}

func TestTopLevelHoldsOnlyWhatTheDesignNames(t *testing.T) {
	root, _ := files(t)
	allowed := map[string]bool{"proto": true, "services": true, "libs": true, "deployments": true, "tools": true, "docs": true, "buf.yaml": true, "buf.gen.yaml": true,
		"go.work": true, "go.work.sum": true, "Tiltfile": true, "README.md": true, "LICENSE": true}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !allowed[entry.Name()] && !strings.HasPrefix(entry.Name(), ".") {
			t.Errorf("%s stands at the top level", entry.Name())
		}
	}
	for name := range allowed {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil && name != "go.work.sum" {
			t.Errorf("%s is missing", name)
		}
	}
}
