package stack

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"headgate.dev/tools/arch"
)

// Build builds a command of this repository for the present state of its source and returns where it is. What is built already is not linked again.
func Build(pkg string) (string, error) {
	root, err := arch.Root()
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	name := filepath.Base(pkg)
	dir := filepath.Join(cache, "headgate-e2e")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	// Several test processes may build at once: each builds in a folder of its own and moves the outcome into place, which is atomic.
	work, err := os.MkdirTemp(dir, name+"-*")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	target, fresh := filepath.Join(dir, name), filepath.Join(work, name)
	// With the last outcome in place, the go command sees whether it is still good; it never writes into a file that is there, it makes a new one.
	if err := os.Link(target, fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	build := exec.Command("go", "build", "-o", fresh, pkg)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w: %s", pkg, err, out)
	}
	return target, os.Rename(fresh, target)
}
