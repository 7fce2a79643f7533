// Package arch holds the rules of the tree as code: who may import whom, what a binary must never link, and how the source is shaped.
package arch

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File is one hand-written Go file of the project.
type File struct {
	// Path is relative to the root, with slashes.
	Path  string
	Lines int
	Set   *token.FileSet
	AST   *ast.File
	Text  string
}

// IsTest reports whether the file is a test or lies in a folder that only tests use.
func (f File) IsTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Root finds the folder that holds go.work.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.work above the working directory")
		}
		dir = parent
	}
}

// Files parses every hand-written Go file of the four modules.
func Files(root string) ([]File, error) {
	var files []File
	for _, module := range []string{"proto", "libs", "services", "tools"} {
		err := filepath.WalkDir(filepath.Join(root, module), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && (entry.Name() == "gen" || entry.Name() == "testdata" || entry.Name() == "node_modules") {
				return filepath.SkipDir
			}
			if !strings.HasSuffix(path, ".go") {
				return nil
			}
			file, err := parse(root, path)
			if err != nil {
				return err
			}
			files = append(files, file)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

func parse(root, path string) (File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return File{}, err
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, path, text, parser.ParseComments)
	if err != nil {
		return File{}, err
	}
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return File{}, err
	}
	lines := 0
	for scan := bufio.NewScanner(strings.NewReader(string(text))); scan.Scan(); {
		lines++
	}
	return File{Path: filepath.ToSlash(rel), Lines: lines, Set: set, AST: tree, Text: string(text)}, nil
}
