package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Unknown says that a server, a tool or whatever it is has a name that is not known, and which known one is nearest.
func Unknown(what, name string, known []string) string { return unknownName(what, name, known) }

// unknownName says that a name is not known and which known one is nearest.
func unknownName(what, name string, known []string) string {
	if len(known) == 0 {
		return fmt.Sprintf("the %s %q is not known; there is none", what, name)
	}
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("the %s %q is not known; the nearest is %q", what, name, near)
	}
	return fmt.Sprintf("the %s %q is not known", what, name)
}

// nearest is the known name with the fewest changed letters; of several the first by name.
func nearest(name string, known []string) string {
	known = slices.Sorted(slices.Values(known))
	best, least := "", len(name)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's, over bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
