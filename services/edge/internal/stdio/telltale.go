package stdio

import (
	"regexp"
	"strings"

	"headgate.dev/libs/secret/shapes"
)

const hidden = "[redacted]"

// mostOfKey is how many lines behind the beginning of a private key are taken for its own while its end does not come: the longest of keys have fewer.
const mostOfKey = 256

// telltale takes out of lines what is a secret by what stands before it, which the edge need not know: what follows the name of a scheme or of a
// password. So it does with what is one by its shape.
type telltale struct {
	shapes              *shapes.Shapes
	scheme, named, open *regexp.Regexp
	// awaits says that the line before ended behind such a name, so that its value is what this one begins with.
	awaits bool
	// key is how many lines more may be those of a private key.
	key int
}

// part says what of a line is the rest of a secret that began on a line before: nothing, the line up to a byte, or the whole of it.
type part struct {
	upTo  int
	whole bool
}

func newTelltale() *telltale {
	const name = `(?:password|passwd|secret|token|api[_-]?key|authorization)["']?\s*[:=]\s*`
	return &telltale{
		shapes: shapes.New(),
		scheme: regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}`),
		named:  regexp.MustCompile(`(?i)(` + name + `)("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,;}"']+)`),
		open:   regexp.MustCompile(`(?i)` + name + `$`),
	}
}

// behind goes on by one line and says what of it belongs to a secret of the lines before: to a private key, or to a name without its value. It costs
// little: every line is looked at, also where most are dropped.
func (t *telltale) behind(line string) part {
	was := part{whole: t.awaits}
	t.awaits = false
	if t.key > 0 {
		t.key--
		rest, ended := t.shapes.Closes(line)
		if !ended {
			return part{whole: true}
		}
		t.key, was.upTo = 0, rest
	}
	switch {
	case strings.Contains(line, "-----BEGIN") && t.shapes.Opens(line):
		t.key = mostOfKey
	case !was.whole:
		end := strings.TrimSpace(line)
		t.awaits = (strings.HasSuffix(end, ":") || strings.HasSuffix(end, "=")) && t.open.MatchString(line)
	}
	return was
}

// without is the line without what it tells.
func (t *telltale) without(line string, was part) string {
	if was.whole {
		return hidden // the rest of the line with it: where the value ends is not certain
	}
	line = t.scheme.ReplaceAllString(line[was.upTo:], "$1 "+hidden)
	line = t.shapes.Redact(line, hidden)
	if line = t.named.ReplaceAllString(line, "${1}"+hidden); was.upTo > 0 {
		line = hidden + line
	}
	return line
}
