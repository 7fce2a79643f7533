// Command diagram writes the picture of the services into README.md.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"headgate.dev/tools/arch"
	"headgate.dev/tools/diagram"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "diagram:", err)
		os.Exit(1)
	}
}

func run() error {
	root, err := arch.Root()
	if err != nil {
		return err
	}
	path := filepath.Join(root, "README.md")
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	picture, err := diagram.Mermaid()
	if err != nil {
		return err
	}
	changed, err := diagram.Insert(string(page), picture)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}
