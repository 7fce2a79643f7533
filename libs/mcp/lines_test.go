package mcp_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"headgate.dev/libs/mcp"
)

func TestLinesAreReadWholeAndBlankOnesArePassedOver(t *testing.T) {
	lines := mcp.NewLineReader(iotest.OneByteReader(strings.NewReader("{\"a\":1}\r\n\n \t\n{\"b\":\"é\"}\n{\"cut off\"")), 64)
	for _, want := range []string{`{"a":1}`, `{"b":"é"}`} {
		if got, err := lines.Next(); err != nil || string(got) != want {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if got, err := lines.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("a line that was cut off is %q, %v", got, err)
	}
}

func TestALineThatIsTooLongIsPassedOverAndNamesItsMessage(t *testing.T) {
	big := strings.Repeat("x", 100_000)
	for line, id := range map[string]string{
		`{"jsonrpc":"2.0","id":7,"result":{"text":"` + big + `"}}`:             "7",
		`{"result":{"text":"` + big + `","id":3},"jsonrpc":"2.0","id":"a\"b"}`: `"a\"b"`,
		`{"result":{"text":"` + big + `"},"id":1,"id":2}`:                      "",
		`{"result":{"text":"` + big + `"}}`:                                    "",
		`{"id":{"` + big + `":1},"result":{}}`:                                 "",
		`{"id":5,"result":{"text":"` + big + "\xff" + `"}}`:                    "5",
		big: "",
	} {
		lines := mcp.NewLineReader(iotest.HalfReader(strings.NewReader(line+"\n{}\n")), 50_000)
		_, err := lines.Next()
		var long *mcp.LongLineError
		if !errors.As(err, &long) || string(long.ID) != id {
			t.Errorf("%.60s: %v, id %s", line, err, long)
		}
		if next, err := lines.Next(); err != nil || string(next) != "{}" {
			t.Errorf("%.60s: then %q, %v", line, next, err)
		}
	}
}

func TestT22ALineThatDoesNotEndEndsTheReading(t *testing.T) {
	endless := io.MultiReader(strings.NewReader(`{"id":1,"x":"`), forever{})
	if _, err := mcp.NewLineReader(endless, 1<<10).Next(); !errors.Is(err, mcp.ErrEndlessLine) {
		t.Errorf("%v", err)
	}
}

type forever struct{}

func (forever) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("x"), len(p))), nil }

func TestAMessageIsWrittenAsOneLineWithoutOtherChanges(t *testing.T) {
	for message, want := range map[string]string{
		`{ "a" : 1.0 }`: "{ \"a\" : 1.0 }\n",
		"{\r\n \"n\": 12345678901234567890.10,\n\t\"t\": \"\\u00e9\\/\\n\" }": "{\"n\":12345678901234567890.10,\"t\":\"\\u00e9\\/\\n\"}\n",
	} {
		if got, err := mcp.WriteLine([]byte(message)); err != nil || string(got) != want {
			t.Errorf("%q became %q, %v", message, got, err)
		}
	}
	if got, err := mcp.WriteLine([]byte("{}\n{}")); err == nil {
		t.Errorf("two messages became the line %q", got)
	}
}

// FuzzLineReader holds the reader to: what it answers are the lines as splitting finds them, each within the limit, and what is written as a line is
// read as one.
func FuzzLineReader(f *testing.F) {
	f.Add([]byte("{\"id\":1}\n\n{\"id\":2,\"result\":{}}\r\n"))
	f.Add([]byte("{\"id\":\"" + strings.Repeat("y", 40) + "\"}\nrest"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		const limit = 16
		lines := mcp.NewLineReader(iotest.OneByteReader(bytes.NewReader(stream)), limit)
		parts := bytes.Split(stream, []byte("\n"))
		for _, part := range parts[:len(parts)-1] { // behind the last line end there is no line
			want := bytes.TrimSpace(part)
			if len(want) == 0 && len(part) <= limit {
				continue
			}
			got, err := lines.Next()
			var long *mcp.LongLineError
			switch {
			case errors.Is(err, mcp.ErrEndlessLine) && len(part) >= 3*limit:
				return
			case errors.As(err, &long) && len(part) > limit:
			case err != nil || !bytes.Equal(got, want) || len(part) > limit:
				t.Fatalf("%q was read as %q, %v", part, got, err)
			}
			if !json.Valid(got) {
				continue
			}
			if again, err := mcp.WriteLine(got); err != nil || bytes.Count(again, []byte("\n")) != 1 || bytes.IndexByte(again, '\r') >= 0 {
				t.Fatalf("%q was written as %q, %v", got, again, err)
			}
		}
	})
}
