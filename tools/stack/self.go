package stack

import (
	"fmt"
	"os/exec"

	"headgate.dev/tools/arch"
)

// buildSelf builds this package's command, which runs the broker.
func buildSelf(target string) error {
	root, err := arch.Root()
	if err != nil {
		return err
	}
	build := exec.Command("go", "build", "-o", target, "./tools/stack/cmd/stack")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}
