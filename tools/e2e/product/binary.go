package product

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"headgate.dev/tools/arch"
)

// Binary builds the people's binary once for this state of the source and returns its path. The Go build cache makes every further call cheap.
func Binary(t testing.TB) string {
	t.Helper()
	root, err := arch.Root()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "headgate-e2e")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Two test processes may build at once: each builds beside and moves into place, which is atomic.
	file, err := os.CreateTemp(dir, "headgate-*")
	if err != nil {
		t.Fatal(err)
	}
	name := file.Name()
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", name, "./services/headgate")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	target := filepath.Join(dir, "headgate")
	if err := os.Rename(name, target); err != nil {
		t.Fatal(err)
	}
	return target
}
