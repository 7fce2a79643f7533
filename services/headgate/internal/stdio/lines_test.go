package stdio

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"headgate.dev/libs/mcp"
)

// FuzzOutline holds what is found out about a message that is not kept to what a strict reader says of the whole message.
func FuzzOutline(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"id":2}}}`, `{"method":"x","params":{"a":[{"id":"b"}]},"jsonrpc":"2.0","id":"c\"d"}`,
		`{"id":-7 , "result":{"id":8,"method":"y"},"jsonrpc":"2.0"}`, `{"\u0069d":1,"method":"x","jsonrpc":"2.0"}`, `[{"id":1}]`, `{"id":1,"id":2}`, `"id":1`, `}}{{"id":1,"method":"x"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var whole, pieces outline
		whole.read(body)
		for i := range body {
			pieces.read(body[i : i+1])
		}
		found, again := whole.message(), pieces.message()
		if (found == nil) != (again == nil) || found != nil && (!bytes.Equal(found.ID, again.ID) || found.Kind != again.Kind) {
			t.Fatalf("%q: found %v, byte by byte %v", body, found, again)
		}
		m, err := mcp.Read(body, mcp.Limits{})
		if err != nil {
			return
		}
		if found != nil && (!mcp.SameID(found.ID, m.ID) || found.Kind != m.Kind) {
			t.Fatalf("%q: found %d of %s, it is %d of %s", body, found.Kind, found.ID, m.Kind, m.ID)
		}
		if found == nil && m.ID != nil && !bytes.ContainsRune(body, '\\') {
			t.Fatalf("%q: its id was not found", body)
		}
	})
}

// FuzzLines holds the reader to what splitting the whole text says.
func FuzzLines(f *testing.F) {
	f.Add("a\nbb\n\n ccc\r\ntoo long a line, is it not?\nlast")
	f.Add("")
	f.Add(strings.Repeat("x", 16) + "\n" + strings.Repeat("y", 17) + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		const limit = 16
		if len(text) > 64*limit {
			return // more of the same
		}
		for _, in := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
			lines := newLineReader(in, limit)
			for want := range strings.SplitSeq(text, "\n") {
				if len(want) <= limit && strings.TrimSpace(want) == "" {
					continue
				}
				l, err := lines.next()
				if err != nil || (l.long != nil) != (len(want) > limit) || l.long == nil && string(l.text) != want {
					t.Fatalf("%q: read %q %v, %v, want %q", text, l.text, l.long != nil, err, want)
				}
			}
			if l, err := lines.next(); !errors.Is(err, io.EOF) {
				t.Fatalf("%q: read %q behind the end, %v", text, l.text, err)
			}
		}
	})
}

// FuzzDeliverableLines holds a written line to the document that it was made of.
func FuzzDeliverableLines(f *testing.F) {
	f.Add([]byte("{\"a\":\r\n\"b\\n\",\n\t\"c\":1.0}"))
	f.Fuzz(func(t *testing.T, document []byte) {
		if !mcp.Valid(document) {
			return
		}
		var out bytes.Buffer
		w := &writer{out: &out, fail: func(err error) { t.Error(err) }}
		w.line(document)
		line := out.Bytes()
		if bytes.IndexByte(line, '\n') != len(line)-1 || bytes.IndexByte(line, '\r') >= 0 || len(line) != len(document)+1 {
			t.Fatalf("%q became %q", document, line)
		}
		before, err := mcp.Canonical(document)
		if err != nil {
			return
		}
		if after, err := mcp.Canonical(bytes.TrimSpace(line)); err != nil || !bytes.Equal(before, after) {
			t.Fatalf("%q became %q: %v", document, line, err)
		}
	})
}
