// Package shapes knows secrets by how they are written, wherever they stand: the tokens of the large issuers, JSON Web Tokens, private keys, and passwords in URLs.
package shapes

import (
	"regexp"
	"strings"
)

// Shapes finds secrets in texts. It is safe to share.
type Shapes struct{ whole, begin, end *regexp.Regexp }

// New prepares a Shapes.
func New() *Shapes {
	const key = ` [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----`
	return &Shapes{
		whole: regexp.MustCompile(strings.Join([]string{
			`(?i:\b(?:bearer|basic)\s+[a-z0-9._~+/=-]{8,})`,
			`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)*`,
			`(?s:-----BEGIN` + key + `.*?(?:-----END` + key + `|\z))`,
			`\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`,
			`\b(?:gh[pousr]_|github_pat_|glpat-|npm_|xox[abeprs]-|xapp-|sk-|[sr]k_(?:live|test)_|AIza|ya29\.|hvs\.)[A-Za-z0-9_-]{12,}`,
		}, "|")),
		begin: regexp.MustCompile(`-----BEGIN` + key),
		end:   regexp.MustCompile(`-----END` + key),
	}
}

// Redact puts a word in the place of every secret. Of a URL it leaves all but the password.
func (s *Shapes) Redact(text, with string) string {
	text = s.whole.ReplaceAllLiteralString(text, with)
	var out strings.Builder
	for {
		at := strings.Index(text, "://")
		if at < 0 {
			out.WriteString(text)
			return out.String()
		}
		end := at + 3
		if to := strings.IndexAny(text[end:], around); to < 0 {
			end = len(text)
		} else {
			end += to
		}
		out.WriteString(passwordless(text[:end], at, with))
		text = text[end:]
	}
}

// around are the characters that end what is written in one piece.
const around = " \t\r\n\v\f\"'<>"

// passwordless takes the password out of a piece in which the first URL has its :// at a place. A password may have what it should not have unescaped, so
// it goes as far as the last @ of the piece. That is looked for once: a piece may have as many :// as it likes.
func passwordless(piece string, at int, with string) string {
	last := strings.LastIndexByte(piece, '@')
	for {
		user := at + 3
		colon := strings.IndexAny(piece[user:], ":/@")
		if last < user || colon < 0 {
			return piece
		}
		from := user + colon + 1
		if piece[from-1] == ':' && from <= last && (!web(piece[:at]) || !port(piece[from:last])) {
			return piece[:from] + with + piece[last:]
		}
		next := strings.Index(piece[from-1:], "://")
		if next < 0 {
			return piece
		}
		at = from - 1 + next
	}
}

// web reports whether a scheme stands at the end of what is before its :// with which a port is more likely than a password.
func web(before string) bool {
	for _, scheme := range [...]string{"http", "https", "ws", "wss"} {
		if len(before) >= len(scheme) && strings.EqualFold(before[len(before)-len(scheme):], scheme) {
			return true
		}
	}
	return false
}

// port reports whether the digits of a port and then a path stand at the beginning, so that an @ behind them is in the path.
func port(text string) bool {
	digits := 0
	for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
		digits++
	}
	return digits >= 1 && digits <= 5 && digits < len(text) && strings.IndexByte("/?#", text[digits]) >= 0
}

// Opens reports whether a private key begins on a line and does not end on it.
func (s *Shapes) Opens(line string) bool {
	all := s.begin.FindAllStringIndex(line, -1)
	return len(all) > 0 && !s.end.MatchString(line[all[len(all)-1][1]:])
}

// Closes finds the end of a private key that began on a line before: where the rest of this one begins.
func (s *Shapes) Closes(line string) (rest int, ok bool) {
	at := s.end.FindStringIndex(line)
	if at == nil {
		return 0, false
	}
	return at[1], true
}
