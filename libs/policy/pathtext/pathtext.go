// Package pathtext reads file paths that somebody else will open, for rules such as path(args.file).under("/srv/reports").
//
// It knows no file system: links are not followed. What programs read differently, or what only the opener can resolve, is an error.
package pathtext

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

const maxPath = 4096

// Path is a path with slashes.
type Path struct {
	// Clean has no empty, "." or ".." parts.
	Clean string
	// Absolute paths begin with a slash.
	Absolute bool
	// Plain says that the text was written as Clean is.
	Plain bool
	// Name is the last part, Extension what follows its last dot, in lower case and with the dot.
	Name, Extension string
}

// Read refuses what cannot be judged: backslashes, control characters, percent signs, a home directory, a way out of a relative path's start.
func Read(text string) (*Path, error) {
	switch {
	case text == "":
		return nil, errors.New("the path is empty")
	case len(text) > maxPath:
		return nil, fmt.Errorf("the path is longer than %d bytes", maxPath)
	case !utf8.ValidString(text):
		return nil, errors.New("the path is not valid UTF-8")
	case strings.HasPrefix(text, "~"):
		return nil, errors.New("the path begins with a home directory")
	case strings.HasPrefix(text, "//"):
		return nil, errors.New("the path begins with two slashes, which may name another machine")
	case len(text) > 1 && text[1] == ':':
		return nil, errors.New("the path names a drive, or another scheme")
	}
	for _, r := range text {
		if r < ' ' || r == 0x7f || r == '\\' || r == '%' {
			return nil, errors.New("the path has a backslash, a percent sign or a control character")
		}
	}
	clean := path.Clean(text)
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return nil, errors.New("the path leaves the directory that it starts from")
	}
	plain := text == clean || strings.TrimSuffix(text, "/") == clean
	p := &Path{Clean: clean, Absolute: clean[0] == '/', Plain: plain, Name: path.Base(clean)}
	p.Extension = strings.ToLower(path.Ext(p.Name))
	return p, nil
}

// Under says whether the path is a directory or lies below it. A relative path is under no absolute one: where it starts is not known here.
func (p *Path) Under(root string) (bool, error) {
	r, err := Read(root)
	if err != nil {
		return false, fmt.Errorf("the directory %.80q: %w", root, err)
	}
	if r.Absolute != p.Absolute {
		return false, errors.New("one of the path and the directory is absolute and the other is not")
	}
	switch r.Clean {
	case "/", ".":
		return true, nil
	}
	return p.Clean == r.Clean || strings.HasPrefix(p.Clean, r.Clean+"/"), nil
}
