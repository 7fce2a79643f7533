// Package dataclass reads classes of data from the labels of servers and tools: data:health is all of a tool, data:health@/structuredContent/diagnosis a place of its
// results.
package dataclass

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	prefix  = "data:"
	atPlace = "@"
	ifThere = "?" // begins a place that some results do without
)

// Place is where results hold a class of data.
type Place struct {
	Class string
	// Path is a JSON pointer into the result.
	Path string
	// IfThere says that some results do without it.
	IfThere bool
}

// Of are the classes of a whole tool among its labels, each once.
func Of(labels []string) []string {
	out := []string{}
	for _, label := range labels {
		if class, ok := strings.CutPrefix(label, prefix); ok && !strings.Contains(class, atPlace) && !slices.Contains(out, class) {
			out = append(out, class)
		}
	}
	return out
}

// PlaceOf reads the label of a place; is is false for any other label.
func PlaceOf(label string) (p Place, is bool) {
	rest, is := strings.CutPrefix(label, prefix)
	if !is {
		return Place{}, false
	}
	if p.Class, p.Path, is = strings.Cut(rest, atPlace); !is {
		return Place{}, false
	}
	p.Path, p.IfThere = strings.CutPrefix(p.Path, ifThere)
	return p, true
}

// Check refuses a place that nothing can be taken out of.
func (p Place) Check() error {
	if p.Class == "" || p.Path == "" || !jsontext.Pointer(p.Path).IsValid() {
		return fmt.Errorf("a label of a place in results names a class and a JSON pointer, as data:health@/structuredContent/diagnosis, not %q at %q", p.Class, p.Path)
	}
	return nil
}

// Hidden are the places among the labels whose class is not in the clearances: those that every result must have, and those that some do without.
func Hidden(labels, clearances []string) (must, may []string) {
	for _, label := range labels {
		p, is := PlaceOf(label)
		switch {
		case !is || slices.Contains(clearances, p.Class):
		case p.IfThere:
			may = append(may, p.Path)
		default:
			must = append(must, p.Path)
		}
	}
	return must, may
}
