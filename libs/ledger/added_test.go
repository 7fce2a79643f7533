package ledger_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"headgate.dev/libs/ledger"
)

// fields are those that a line may have under "ledger", in their order, each with a value that its form allows.
var fields = [][2]string{
	{"export", `{"version":2,"origin":"x","size":5,"settled":0,"made":"2020-01-01T00:00:00Z","by":"eve","filter":{},"leftOut":"heads","rendering":"r"}`},
	{"end", `{"start":0,"records":7,"indexes":"AAAA"}`}, {"signature", `"approved"`}, {"checkpoint", `"approved"`}, {"handovers", `["approved"]`}, {"index", "0"},
	{"leaf", `"bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="`}, {"record", `"AAAA"`}, {"head", `{"writer":"w","sequence":1,"hash":"AAAA"}`}, {"count", "7"},
	{"hashes", `["bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="]`}, {"proof", `["bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="]`},
}

// with is a line with one field more, written as the log would; nil when it has that field already.
func with(t *testing.T, text []byte, name, value string) []byte {
	t.Helper()
	document, entry := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	err := json.Unmarshal(text, &document)
	if err == nil {
		err = json.Unmarshal(document["ledger"], &entry)
	}
	if err != nil {
		t.Fatal(err)
	}
	if entry[name] != nil {
		return nil
	}
	entry[name] = json.RawMessage(value)
	var parts []string
	for _, f := range fields {
		if entry[f[0]] != nil {
			parts = append(parts, fmt.Sprintf("%q:%s", f[0], entry[f[0]]))
		}
	}
	document["ledger"] = json.RawMessage("{" + strings.Join(parts, ",") + "}")
	return append(must(t)(json.Marshal(document)), '\n')
}

func TestALineHasTheFieldsOfItsKindAlone(t *testing.T) {
	l := newLog(t).fill(6)
	heads := l.export(acme)
	hashes := l.export(func(i int, _ entry) kind {
		if i%2 == 0 {
			return whole
		}
		return hash
	})
	for _, f := range fields {
		for name, c := range map[string]struct {
			lines [][]byte
			at    int
		}{
			"the first line": {heads, 0}, "a record": {heads, 2}, "a head": {heads, 3}, "the end": {heads, 7}, "hashes": {hashes, 2}, "a proof": {[][]byte{l.proof(3)}, 0},
		} {
			wants(t, verify(t, l.public, c.lines))
			changed := slices.Clone(c.lines)
			if changed[c.at] = with(t, c.lines[c.at], f[0], f[1]); changed[c.at] == nil {
				continue
			}
			if report := verify(t, l.public, changed); report.Holds() {
				t.Errorf("%s with %s holds", name, f[0])
			}
		}
	}
}

// rotated is a log whose key was handed over twice, with its three public keys.
func rotated(t *testing.T) (*log, []string) {
	t.Helper()
	l := newLog(t).fill(4)
	keys := []string{l.public}
	for range 2 {
		private, public, err := ledger.NewKey(origin)
		if err != nil {
			t.Fatal(err)
		}
		word, err := ledger.SignHandover(origin, public, l.signer)
		if err != nil {
			t.Fatal(err)
		}
		l.signer, err = note.NewSigner(private)
		if err != nil {
			t.Fatal(err)
		}
		l.handovers, keys = append(l.handovers, word), append(keys, public)
	}
	return l, keys
}

func TestNothingStandsAmongHandoversButTheChain(t *testing.T) {
	l, keys := rotated(t)
	stranger, _ := rotated(t)
	first, second := l.handovers[0], l.handovers[1]
	const evil = "— evil.example 6snWDaAuyeQwQrJ5qeOZ\n"
	for name, c := range map[string]struct {
		handovers []string
		holds     []bool // by the first, second and third key
	}{
		"the chain":              {[]string{first, second}, []bool{true, true, true}},
		"none":                   {nil, []bool{false, false, true}},
		"words first":            {[]string{"approved by the board", first, second}, []bool{false, false, false}},
		"words last":             {[]string{first, second, "approved by the board"}, []bool{false, false, false}},
		"words alone":            {[]string{"approved by the board"}, []bool{false, false, false}},
		"one twice":              {[]string{first, first, second}, []bool{false, false, false}},
		"the other order":        {[]string{second, first}, []bool{false, false, false}},
		"the first is missing":   {[]string{second}, []bool{false, true, true}},
		"the second is missing":  {[]string{first}, []bool{false, false, false}},
		"one signature more":     {[]string{first + evil, second}, []bool{false, false, false}},
		"a signature twice":      {[]string{first, second + second[strings.Index(second, "— "):]}, []bool{false, false, false}},
		"those of another log":   {stranger.handovers, []bool{false, false, false}},
		"another's among them":   {[]string{stranger.handovers[0], first, second}, []bool{false, false, false}},
		"another's behind them":  {[]string{first, second, stranger.handovers[0]}, []bool{false, false, false}},
		"a text that says other": {[]string{strings.Replace(first, "/v1\n", "/v1\nall is well\n", 1), second}, []bool{false, false, false}},
	} {
		l.handovers = c.handovers
		lines, proof := l.export(everything), [][]byte{l.proof(2)}
		for i, want := range c.holds {
			if one, other := verify(t, keys[i], lines), verify(t, keys[i], proof); one.Holds() != want || other.Holds() != want {
				t.Errorf("%s, by key %d: %q, %q", name, i+1, one.Problems, other.Problems)
			}
		}
	}
}

// Signatures of others belong to a checkpoint that comes from elsewhere, a witness's, and nowhere else.
func TestOneSignatureStandsInAnExport(t *testing.T) {
	l := newLog(t).fill(4)
	lines, proof := l.export(everything), [][]byte{l.proof(2)}
	_, own, _ := strings.Cut(l.checkpoint(), "\n\n")
	for _, more := range []string{"— evil.example 6snWDaAuyeQwQrJ5qeOZ\n", own} {
		escaped := strings.Trim(string(must(t)(json.Marshal(more))), `"`)
		wants(t, verify(t, l.public, appended(lines, 0, "checkpoint", escaped)), "line 1: the checkpoint does not hold: something was added to its signature")
		wants(t, verify(t, l.public, appended(proof, 0, "checkpoint", escaped)), "line 1: the checkpoint does not hold: something was added to its signature")
		wants(t, verify(t, l.public, appended(lines, 0, "signature", escaped)), "line 1: the export's period, filter and size were changed: their signature does not hold")
		wants(t, verify(t, l.public, appended(lines, 5, "signature", escaped)), "line 6, which says what the export holds, was changed, or is the end of another: its signature does not hold")
		wants(t, verify(t, l.public, lines, l.checkpoint()+more))
	}
}

// appended has words at the end of a text in one line.
func appended(lines [][]byte, at int, field, words string) [][]byte {
	out := slices.Clone(lines)
	before, rest, _ := bytes.Cut(out[at], []byte(`"`+field+`":"`))
	value, rest, _ := bytes.Cut(rest, []byte(`"`))
	out[at] = slices.Concat(before, []byte(`"`+field+`":"`), value, []byte(words+`"`), rest)
	return out
}
