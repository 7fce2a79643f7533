package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

const (
	maxFileLines = 500
	maxFuncLines = 60
	maxMainLines = 40
)

// Shape lists what breaks the house rules in one file: length, init functions, silenced linters, unfinished marks.
func Shape(f File) []string {
	var broken []string
	if f.Lines > maxFileLines {
		broken = append(broken, fmt.Sprintf("%s: %d lines, at most %d", f.Path, f.Lines, maxFileLines))
	}
	for _, word := range []string{"no" + "lint", "TO" + "DO", "FIX" + "ME", "t.Ski" + "p("} {
		if strings.Contains(f.Text, word) {
			broken = append(broken, fmt.Sprintf("%s: says %q", f.Path, word))
		}
	}
	for _, decl := range f.AST.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if fn.Recv == nil && fn.Name.Name == "init" {
			broken = append(broken, fmt.Sprintf("%s: has an init function", f.Path))
		}
		limit := maxFuncLines
		if fn.Recv == nil && fn.Name.Name == "main" && f.AST.Name.Name == "main" {
			limit = maxMainLines
		}
		if lines := f.Set.Position(fn.End()).Line - f.Set.Position(fn.Pos()).Line + 1; lines > limit && !f.IsTest() {
			broken = append(broken, fmt.Sprintf("%s: func %s has %d lines, at most %d", f.Path, fn.Name.Name, lines, limit))
		}
	}
	if f.AST.Name.Name == "main" && strings.HasSuffix(f.Path, "/main.go") && strings.HasPrefix(f.Path, "services/") && f.Lines > maxMainLines {
		broken = append(broken, fmt.Sprintf("%s: a main of %d lines, at most %d", f.Path, f.Lines, maxMainLines))
	}
	return broken
}

// Globals lists package variables that can change: assigned after their declaration, or of a type that exists to be changed.
// Tables, errors and compiled patterns that are only read pass.
func Globals(pkg []File) []string {
	names := map[string]string{}
	var broken []string
	for _, f := range pkg {
		for _, decl := range f.AST.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				value, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for _, name := range value.Names {
					if name.Name == "_" {
						continue
					}
					names[name.Name] = f.Path
					if changes(value) {
						broken = append(broken, fmt.Sprintf("%s: package variable %s is of a type that changes", f.Path, name.Name))
					}
				}
			}
		}
	}
	for _, f := range pkg {
		broken = append(broken, assigned(f, names)...)
	}
	return broken
}

func changes(value *ast.ValueSpec) bool {
	found := false
	ast.Inspect(value, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			pkg, ok := sel.X.(*ast.Ident)
			onceValue := strings.HasPrefix(sel.Sel.Name, "OnceValue") // a constant that is made when it is first needed
			if ok && !onceValue && (pkg.Name == "sync" || pkg.Name == "atomic") {
				found = true
			}
		}
		_, isFunc := n.(*ast.FuncLit)
		return !isFunc
	})
	return found
}

func assigned(f File, names map[string]string) []string {
	var broken []string
	report := func(target ast.Expr, verb string) {
		if index, ok := target.(*ast.IndexExpr); ok {
			target = index.X
		}
		ident, ok := target.(*ast.Ident)
		if !ok || names[ident.Name] == "" || ident.Obj != nil && ident.Obj.Kind == ast.Var && !packageLevel(f, ident) {
			return
		}
		broken = append(broken, fmt.Sprintf("%s: package variable %s is %s", f.Path, ident.Name, verb))
	}
	ast.Inspect(f.AST, func(n ast.Node) bool {
		switch node := n.(type) {
		case *ast.AssignStmt:
			if node.Tok != token.DEFINE {
				for _, target := range node.Lhs {
					report(target, "assigned")
				}
			}
		case *ast.IncDecStmt:
			report(node.X, "counted")
		}
		return true
	})
	return broken
}

// packageLevel reports whether the identifier resolves to a declaration at the top of this file.
func packageLevel(f File, ident *ast.Ident) bool {
	spec, ok := ident.Obj.Decl.(*ast.ValueSpec)
	if !ok {
		return false
	}
	for _, decl := range f.AST.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		if slices.Contains(gen.Specs, ast.Spec(spec)) {
			return true
		}
	}
	return false
}
