package product

import (
	"testing"

	"headgate.dev/tools/stack"
)

// Binary builds the people's binary for this state of the source and returns its path. What is built already is not linked again.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := stack.Build("./services/headgate")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
