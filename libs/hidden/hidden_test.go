package hidden_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/hidden"
)

// tags writes ASCII text in the invisible alphabet of U+E0000.
func tags(text string) string {
	var out strings.Builder
	for _, r := range text {
		out.WriteRune(0xe0000 + r)
	}
	return out.String()
}

func TestT6HiddenTextIsFoundAndStripped(t *testing.T) {
	for name, c := range map[string]struct {
		in, want string
		kind     hidden.Kind
		count    int
	}{
		"tags":                         {"a" + tags("run rm") + "b", "ab", hidden.Tag, 6},
		"tags behind a flag":           {"🏴" + tags("gbeng") + "\U000e007f", "🏴", hidden.Tag, 6},
		"zero-width space":             {"pass\u200bword", "password", hidden.ZeroWidth, 1},
		"joiners between Latin":        {"a\u200db\u200cc", "abc", hidden.ZeroWidth, 2},
		"byte order mark":              {"\ufeffa\ufeff", "a", hidden.ZeroWidth, 2},
		"word joiner and soft hyphen":  {"a\u2060b\u00adc", "abc", hidden.ZeroWidth, 2},
		"fillers":                      {"a\u3164b\u115fc\uffa0", "abc", hidden.ZeroWidth, 3},
		"Trojan Source":                {"if\u202e (x)\u2066//\u2069\u202c", "if (x)//", hidden.Bidi, 4},
		"marks beside Latin":           {"a\u200eb\u200f", "ab", hidden.Bidi, 2},
		"bytes in variation selectors": {"😀\ufe0f\ufe01\U000e0101\U000e0142", "😀\ufe0f", hidden.Variation, 3},
		"selector after a letter":      {"a\ufe0f", "a", hidden.Variation, 1},
		"selector after a digit":       {"1\ufe0f2", "12", hidden.Variation, 1},
		"terminal colour":              {"\x1b[31mred\x1b[0m", "[31mred[0m", hidden.Control, 2},
		"terminal link":                {"\x1b]8;;http://evil\x07x", "]8;;http://evilx", hidden.Control, 2},
		"C1 of a terminal":             {"\u009b31mred", "31mred", hidden.Control, 1},
		"delete and NUL":               {"a\x7fb\x00", "ab", hidden.Control, 2},
		"invisible operators":          {"a\u2062b\u206ac", "abc", hidden.Format, 2},
		"annotation and noncharacter":  {"a\ufff9b\uffffc\U0001fffe", "abc", hidden.Format, 3},
		"joiner at the end of emoji":   {"😀\u200d", "😀", hidden.ZeroWidth, 1},
		"joiners in a row":             {"😀\u200d\u200d😀", "😀\u200d😀", hidden.ZeroWidth, 1},
	} {
		t.Run(name, func(t *testing.T) {
			found := hidden.Scan(c.in)
			require.Equal(t, c.count, found.Count)
			require.Equal(t, c.kind, found.Kinds)
			require.GreaterOrEqual(t, found.First, 0)
			require.Len(t, found.Kinds.Names(), 1)
			require.Equal(t, c.want, hidden.Strip(c.in))
			require.Equal(t, hidden.Finding{First: -1}, hidden.Scan(c.want), "nothing is left")
		})
	}
}

func TestT6WhatWritingNeedsStays(t *testing.T) {
	for name, text := range map[string]string{
		"ASCII":               "Close ticket T-1?\r\n\tYes: {\"a\": 1}",
		"family":              "👨\u200d👩\u200d👧",
		"profession and tone": "👩🏽\u200d⚕\ufe0f",
		"red heart":           "❤\ufe0f ❤\ufe0e",
		"keycap":              "1\ufe0f\u20e3 #\ufe0f\u20e3",
		"rainbow flag":        "🏳\ufe0f\u200d🌈",
		"Persian":             "می\u200cخواهم",
		"Marathi":             "क\u094d\u200dय",
		"Sinhala":             "ශ\u0dca\u200dර",
		"Arabic with a mark":  "عربي\u200f!",
		"Hebrew with a mark":  "שלום\u200e!",
		"accents":             "e\u0301 naïve café",
		"Chinese":             "关闭工单",
		"not even text":       "a\xffb",
	} {
		t.Run(name, func(t *testing.T) {
			require.Zero(t, hidden.Scan(text).Count)
			require.Equal(t, text, hidden.Strip(text))
		})
	}
}

func TestT6StripJSONSeesEveryFormAndTouchesNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		in, want string
		count    int
	}{
		"clean":                 {`{ "a" : [1.0, "x\n\"\\\u00e9"] }`, `{ "a" : [1.0, "x\n\"\\\u00e9"] }`, 0},
		"raw":                   {"{\"n\":9007199254740993,\"a\":\"x\u200by\" }", `{"n":9007199254740993,"a":"xy" }`, 1},
		"escaped":               {`{"a":"x\u200by\u200B"}`, `{"a":"xy"}`, 2},
		"escaped pair":          {`["\udb40\udc72\uDB40\uDC6Dx"]`, `["x"]`, 2},
		"escaped escape":        {`["\\u200b"]`, `["\\u200b"]`, 0},
		"escape as ESC":         {`["\u001b[31m"]`, `["[31m"]`, 1},
		"short escapes":         {`["a\bb\fc\nd"]`, `["abc\nd"]`, 2},
		"delete":                {"[\"a\x7f\"]", `["a"]`, 1},
		"emoji joined escaped":  {`["\ud83d\udc68\u200d\ud83d\udc69"]`, `["\ud83d\udc68\u200d\ud83d\udc69"]`, 0},
		"emoji joined by mixed": {`["👨\u200d👩"]`, `["👨\u200d👩"]`, 0},
		"joiner at the end":     {`["👨\u200d","👩"]`, `["👨","👩"]`, 1},
		"name":                  {`{"a\u200b":1}`, `{"a":1}`, 1},
		"names that become one": {`{"a\u200b":1,"a":2,"a\u200c":3}`, "{\"a\ufffd1\":1,\"a\":2,\"a\ufffd2\":3}", 2},
		"a mark that is taken":  {"{\"a\\u200b\":1,\"a\":2,\"a\ufffd1\":3}", "{\"a\ufffd2\":1,\"a\":2,\"a\ufffd1\":3}", 1},
		"a text alone":          {`"\u200b"`, `""`, 1},
		"JSON in JSON":          {`{"text":"{\"a\":\"\\u200b\"}"}`, `{"text":"{\"a\":\"\\u200b\"}"}`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			require.True(t, json.Valid([]byte(c.in)))
			got, count := hidden.StripJSON(json.RawMessage(c.in))
			require.Equal(t, c.want, string(got))
			require.Equal(t, c.count, count)
		})
	}
}

func TestStripJSONOfACleanDocumentIsTheSameBytesWithoutAllocation(t *testing.T) {
	doc := json.RawMessage(`{"text":"a \"quoted\"\ntext","n":[1,2,3],"é":"ü"}`)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if got, n := hidden.StripJSON(doc); n != 0 || &got[0] != &doc[0] {
			t.Fatal("a clean document was copied")
		}
	}))
}

func benchmark(b *testing.B, row string) {
	doc := json.RawMessage("[" + strings.TrimSuffix(strings.Repeat(row+",", 256<<10/len(row)), ",") + "]")
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		hidden.StripJSON(doc)
	}
}

func BenchmarkStripJSON(b *testing.B) {
	b.Run("clean", func(b *testing.B) {
		benchmark(b, `{"id":12345,"name":"Ada Lovelace","city":"London","comment":"The customer has confirmed that the printer works again."}`)
	})
	b.Run("escapes", func(b *testing.B) { benchmark(b, `{"text":"{\"id\":12345,\"name\":\"Ada Lovelace\"}\n"}`) })
	b.Run("beyond-ASCII", func(b *testing.B) { benchmark(b, `{"text":"Grüße aus München, 关闭工单, привет"}`) })
	b.Run("hidden", func(b *testing.B) {
		benchmark(b, "{\"text\":\"The customer has confirmed that the printer\u200b works again.\"}")
	})
}

func BenchmarkScanASCII(b *testing.B) {
	text := strings.Repeat("The customer has confirmed that the printer works again.\n", 5000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		hidden.Scan(text)
	}
}

func TestLegibleCountsWhatAPersonCanRead(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, " \t\n": 0, "\u200b\u200b\u200b": 0, "\u3164\u115f\u1160\uffa0": 0, "\U000e0061\U000e0062": 0, "...": 0, "\u0301\u0301\u0301": 0, "\xff\xfe": 0,
		"case 7": 5, "\u200bab\u200b": 2, "訴訟7": 3, "жалоба": 6, "नमस्ते": 4,
	} {
		if got := hidden.Legible(text); got != want {
			t.Errorf("%+q has %d, want %d", text, got, want)
		}
	}
}
