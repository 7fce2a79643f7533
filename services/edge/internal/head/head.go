// Package head holds the head of an HTTP/1.1 message to the one reading that every strict reader gives it (RFC 9112). Where lenient readers
// differ, messages are smuggled: one of them sees one message and another sees two.
package head

import "bytes"

// Cut splits the head off what came of a message: its first line, and its field lines to and with the empty line at their end, all with their line
// ends. It is not ok while the head is not whole.
func Cut(raw []byte) (first, fields []byte, ok bool) {
	end := bytes.IndexByte(raw, '\n') + 1
	if end == 0 {
		return nil, nil, false
	}
	first = raw[:end]
	for rest := raw[end:]; ; {
		line := bytes.IndexByte(rest, '\n') + 1
		if line == 0 {
			return nil, nil, false
		}
		if line == 1 || line == 2 && rest[0] == '\r' {
			return first, raw[end : len(raw)-len(rest)+line], true
		}
		rest = rest[line:]
	}
}

// once are the fields by which a message is framed or understood, so that two of them are two meanings.
type once struct{ length, encoding, kind, host, session, expect int }

// Unclear says what of a message's field lines, to and with the empty line, has more than one reading, in words that follow "the message"; empty
// for nothing. Characters in names and values beyond that are for whoever reads them.
func Unclear(fields []byte) string {
	var seen once
	for len(fields) > 0 {
		end := bytes.IndexByte(fields, '\n')
		if end < 1 || fields[end-1] != '\r' || bytes.IndexByte(fields[:end-1], '\r') >= 0 {
			return "has a line that does not end with CRLF, or one that has it within"
		}
		line := fields[:end-1]
		fields = fields[end+1:]
		if len(line) == 0 {
			break
		}
		if why := seen.field(line); why != "" {
			return why
		}
	}
	switch {
	case seen.length > 1 || seen.encoding > 1 || seen.length > 0 && seen.encoding > 0:
		return "says its length in more than one way"
	case seen.kind > 1:
		return "has more than one Content-Type header"
	case seen.host > 1:
		return "has more than one Host header"
	case seen.expect > 1:
		return "has more than one Expect header"
	case seen.session > 1:
		return "has more than one Mcp-Session-Id header"
	}
	return ""
}

func (o *once) field(line []byte) string {
	if line[0] == ' ' || line[0] == '\t' {
		return "has a header that is folded over lines"
	}
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok || len(name) == 0 || bytes.IndexByte(name, ' ') >= 0 || bytes.IndexByte(name, '\t') >= 0 {
		return "has a header without a clear name"
	}
	switch {
	case is(name, "Content-Length"):
		o.length++
	case is(name, "Transfer-Encoding"):
		o.encoding++
		if !bytes.EqualFold(bytes.Trim(value, " \t"), []byte("chunked")) {
			return "has a Transfer-Encoding that is not chunked"
		}
	case is(name, "Content-Type"):
		o.kind++
	case is(name, "Host"):
		o.host++
	case is(name, "Mcp-Session-Id"):
		o.session++
	case is(name, "Expect"):
		if o.expect++; !bytes.EqualFold(bytes.Trim(value, " \t"), []byte("100-continue")) {
			return "expects something else than 100-continue"
		}
	case is(name, "Connection"):
		for option := range bytes.SplitSeq(value, []byte{','}) {
			if essential(bytes.Trim(option, " \t")) {
				return "has a Connection header that names what is not for one connection alone"
			}
		}
	case bytes.IndexByte(name, '_') >= 0 && essential(bytes.ReplaceAll(name, []byte{'_'}, []byte{'-'})):
		return "has a header whose name some readers take for another"
	}
	return ""
}

// essential reports whether a field frames a message, or says who sends it or what it is.
func essential(name []byte) bool {
	for _, one := range [...]string{"Content-Length", "Transfer-Encoding", "Host", "Authorization", "Content-Type"} {
		if is(name, one) {
			return true
		}
	}
	return len(name) > 4 && bytes.EqualFold(name[:4], []byte("Mcp-"))
}

func is(name []byte, want string) bool {
	return len(name) == len(want) && bytes.EqualFold(name, []byte(want))
}
