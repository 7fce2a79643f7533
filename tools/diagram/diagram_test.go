package diagram_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/tools/arch"
	"headgate.dev/tools/diagram"
)

func TestReadmeShowsTheServicesAsTheyAre(t *testing.T) {
	root, err := arch.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	picture, err := diagram.Mermaid()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"edge", "identity", "authz", "credentials", "trust", "audit"} {
		if !strings.Contains(picture, "| "+name+"\n") {
			t.Errorf("nothing calls %s", name)
		}
	}
	want, err := diagram.Insert(string(page), picture)
	if err != nil {
		t.Fatal(err)
	}
	if want != string(page) {
		t.Error("README.md is older than the protos: go run ./tools/diagram/cmd/diagram")
	}
}
