package sqltext

import "strings"

// lexed is what a first look at the characters finds, before any grammar.
type lexed struct {
	statements int
	// nesting is how deep parentheses stand in each other.
	nesting int
	// unclosed says that parentheses do not pair.
	unclosed bool
	// ambiguous says what databases read differently: where one sees a text or a comment, another may see a statement.
	ambiguous string
	// verb is the first word outside texts, names in quotes and comments that starts a statement which is no reading. SQL Server needs no
	// semicolon between statements: it reads "SELECT 1 delete FROM t" as two, PostgreSQL as one column named delete.
	verb string
}

// verbs start statements that are no reading.
func isVerb(word string) bool {
	switch word {
	case "delete", "update", "insert", "merge", "drop", "truncate", "alter", "create", "exec", "execute", "grant", "revoke", "deny", "into",
		"attach", "detach", "pragma", "vacuum", "reindex", "commit", "rollback", "begin", "shutdown", "checkpoint", "reconfigure", "kill",
		"backup", "restore", "dump", "bulk", "outfile", "dumpfile":
		return true
	}
	return false
}

type looker struct {
	text string
	at   int
	out  lexed
	open bool // the current statement has begun
	deep int
}

// look walks the text once.
func look(text string) *lexed {
	l := looker{text: text}
	if strings.ContainsRune(text, 0) {
		l.out.ambiguous = "it has a NUL"
	}
	for _, quoted := range []string{`\'`, `\"`, "\\`"} {
		if strings.Contains(text, quoted) {
			l.out.ambiguous = "databases disagree about a backslash before a quote"
		}
	}
	for l.at < len(text) {
		l.next()
	}
	if l.open {
		l.out.statements++
	}
	l.out.unclosed = l.out.unclosed || l.deep > 0
	return &l.out
}

func (l *looker) doubt(why string) {
	if l.out.ambiguous == "" {
		l.out.ambiguous = why
	}
}

// peek is the byte n places ahead; 0 at the end.
func (l *looker) peek(n int) byte {
	if l.at+n < len(l.text) {
		return l.text[l.at+n]
	}
	return 0
}

func (l *looker) next() {
	c := l.text[l.at]
	switch {
	case c == ';':
		if l.open {
			l.out.statements++
		}
		l.open = false
		l.at++
		return
	case c == '\r' && l.peek(1) != '\n':
		l.doubt("databases disagree about a lone carriage return")
		l.at++
		return
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
		l.at++
		return
	case c == '-' && l.peek(1) == '-':
		l.line()
		return
	case c == '/' && l.peek(1) == '*':
		l.block()
		return
	}
	l.open = true
	switch {
	case c == '\'' || c == '"':
		l.at = l.quoted(l.at)
	case isLetter(c):
		l.word()
	default:
		l.symbol(c)
	}
}

// line skips a comment to the end of its line. MySQL takes -- for a comment only before white space.
func (l *looker) line() {
	if c := l.peek(2); c > ' ' {
		l.doubt("databases disagree about -- without a space after it")
	}
	comment, _, ended := strings.Cut(l.text[l.at:], "\n")
	if strings.Contains(strings.TrimSuffix(comment, "\r"), "\r") {
		l.doubt("databases disagree about a lone carriage return")
	}
	l.at += len(comment)
	if ended {
		l.at++
	}
}

// block skips a comment between /* and */. PostgreSQL nests them, others do not; MySQL runs what stands in /*! … */.
func (l *looker) block() {
	inside := l.text[l.at+2:]
	if strings.HasPrefix(inside, "!") || strings.HasPrefix(inside, "M!") {
		l.doubt("MySQL runs what stands in such a comment")
	}
	end := strings.Index(inside, "*/")
	if end < 0 {
		l.doubt("a comment does not end")
		l.at = len(l.text)
		return
	}
	if strings.Contains(inside[:end+1], "/*") {
		l.doubt("databases disagree about a comment in a comment")
	}
	l.at += 2 + end + 2
}

// quoted is where a text or a name in quotes ends; a doubled quote stays inside.
func (l *looker) quoted(from int) int {
	quote := l.text[from]
	for i := from + 1; i < len(l.text); i++ {
		if l.text[i] != quote {
			continue
		}
		if i+1 < len(l.text) && l.text[i+1] == quote {
			i++
			continue
		}
		return i + 1
	}
	l.doubt("a quote does not end")
	return len(l.text)
}

func (l *looker) word() {
	start := l.at
	for l.at < len(l.text) && (isLetter(l.text[l.at]) || isDigit(l.text[l.at])) {
		l.at++
	}
	if word := strings.ToLower(l.text[start:l.at]); l.out.verb == "" && isVerb(word) {
		l.out.verb = word
	}
}

// symbol looks at what is neither a word nor in quotes.
func (l *looker) symbol(c byte) {
	switch c {
	case '(':
		l.deep++
		l.out.nesting = max(l.out.nesting, l.deep)
	case ')':
		l.deep--
		l.out.unclosed = l.out.unclosed || l.deep < 0
	case '`':
		l.doubt("databases disagree about a backtick")
	case '#':
		l.doubt("databases disagree about #, which starts a comment for MySQL")
	case '$':
		if !isDigit(l.peek(1)) {
			l.doubt("databases disagree about a text in dollars")
		}
	case '[':
		l.bracket()
	}
	l.at++
}

// bracket looks whether a [ … ] ends at the same place for those that take it for a name in quotes (SQLite, SQL Server) and for those that take
// it for a place in an array.
func (l *looker) bracket() {
	length := strings.IndexByte(l.text[l.at:], ']')
	if length < 0 {
		l.doubt("a bracket does not end")
		return
	}
	end := l.at + length
	for i := l.at + 1; i < end; i++ {
		switch c := l.text[i]; {
		case c == '\'' || c == '"':
			if i = l.quoted(i) - 1; i >= end {
				l.doubt("databases disagree about a quote in brackets")
				return
			}
		case c == ';', strings.HasPrefix(l.text[i:], "--"), strings.HasPrefix(l.text[i:], "/*"):
			l.doubt("databases disagree about a comment or a semicolon in brackets")
			return
		}
	}
}

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
