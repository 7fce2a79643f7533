package policies

import (
	"strconv"
	"strings"
)

// mostShown is how many failed tests a refusal spells out.
const mostShown = 10

func quote(name string) string { return strconv.Quote(name) }

// sentences lists what failed, each as a sentence.
func sentences(failed []string) string {
	shown := failed[:min(len(failed), mostShown)]
	var b strings.Builder
	for i, one := range shown {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(strings.ToUpper(one[:1]) + one[1:])
		if !strings.HasSuffix(one, ".") {
			b.WriteByte('.')
		}
	}
	if more := len(failed) - len(shown); more > 0 {
		b.WriteString(" And " + strconv.Itoa(more) + " more.")
	}
	return b.String()
}
