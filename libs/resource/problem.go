package resource

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"headgate.dev/libs/fault"
)

// maxProblems bounds what one refusal lists; a file with more is wrong as a whole.
const maxProblems = 100

// problem is one thing that is wrong in a file.
type problem struct {
	file string
	line int
	path string
	text string
}

func (p problem) String() string {
	var b strings.Builder
	if p.file != "" {
		b.WriteString(p.file)
		if p.line > 0 {
			b.WriteString(":" + strconv.Itoa(p.line))
		}
		b.WriteString(": ")
	}
	if p.path != "" {
		b.WriteString(p.path + ": ")
	}
	b.WriteString(p.text)
	return b.String()
}

// refuse makes one fault of all problems, a line each, in the order of the files' lines; nil when there is none.
func refuse(problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b problem) int {
		return cmp.Or(strings.Compare(a.file, b.file), cmp.Compare(a.line, b.line))
	})
	lines := make([]string, 0, min(len(problems), maxProblems)+1)
	for i, p := range problems {
		if i == maxProblems {
			lines = append(lines, fmt.Sprintf("and %d more", len(problems)-maxProblems))
			break
		}
		lines = append(lines, p.String())
	}
	err := fault.Invalid("%s", strings.Join(lines, "\n"))
	first := problems[0]
	if first.file != "" {
		err = err.With("file", first.file)
	}
	if first.line > 0 {
		err = err.With("line", strconv.Itoa(first.line))
	}
	if first.path != "" {
		err = err.With("field", first.path)
	}
	return err
}

// nearest returns the known word that differs least from word, when it differs by little enough to be a slip.
func nearest(word string, known []string) (string, bool) {
	const longest = 64
	if len(word) > longest {
		return "", false
	}
	best, bestDistance := "", len(word)/3+2
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best, best != ""
}

// distance is the number of single-letter edits between two short words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := previous
			if a[i] != b[j] {
				cost++
			}
			previous = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// clip shortens a word from a file for a message.
func clip(word string) string {
	const longest = 64
	if len(word) > longest {
		word = word[:longest] + "…"
	}
	return strings.ToValidUTF8(word, "?")
}
