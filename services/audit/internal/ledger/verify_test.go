package ledger_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"

	base "headgate.dev/libs/ledger"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/ledger"
)

const verifiedOrigin = "bank.example/audit"

// evidence is a ledger's folder, the second place that it published to, and the key that somebody got of it at its beginning.
type evidence struct {
	t          *testing.T
	dir, place string
	key        string
}

// kept makes a ledger that was signed each hour after a share of the records, and stopped. Its key may be given, and be handed over before the last share.
func kept(t *testing.T, key []byte, rotate bool, shares ...[]index.Record) evidence {
	t.Helper()
	at, e := noon, evidence{t: t, dir: t.TempDir(), place: t.TempDir()}
	if key != nil {
		e.put(e.dir, "key", key)
	}
	l, err := ledger.Open(ledger.Config{Dir: e.dir, Publish: e.place, Origin: verifiedOrigin, SegmentBytes: 10_000}, slog.New(slog.DiscardHandler), func() time.Time { return at })
	if err != nil {
		t.Fatal(err)
	}
	e.key, _ = l.PublicKey()
	for i, share := range shares {
		if rotate && i == len(shares)-1 {
			if err := l.Rotate(); err != nil {
				t.Fatal(err)
			}
		}
		add(t, l, share...)
		if err := l.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Hour)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return e
}

// shares are three shares of 100 records of two writers for two tenants.
func shares(person string) [][]index.Record {
	writers, out := []*writer{{name: "edge-1"}, {name: "edge-2"}}, make([][]index.Record, 3)
	for i := range 300 {
		out[i/100] = append(out[i/100], writers[i%2].next([]string{"acme", "globex"}[i%3%2], person))
	}
	return out
}

// copied is the same evidence in another place, to be changed.
func (e evidence) copied(t *testing.T) evidence {
	t.Helper()
	out := evidence{t: t, dir: filepath.Join(t.TempDir(), "ledger"), place: filepath.Join(t.TempDir(), "place"), key: e.key}
	for from, to := range map[string]string{e.dir: out.dir, e.place: out.place} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (e evidence) get(dir, name string) []byte {
	e.t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		e.t.Fatal(err)
	}
	return data
}

func (e evidence) put(dir, name string, data []byte) {
	e.t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		e.t.Fatal(err)
	}
}

func (e evidence) flip(dir, name string, at int64) {
	e.t.Helper()
	if err := flip(filepath.Join(dir, name), at); err != nil {
		e.t.Fatal(err)
	}
}

func (e evidence) cut(dir, name string, by int) {
	e.t.Helper()
	data := e.get(dir, name)
	e.put(dir, name, data[:len(data)-by])
}

func (e evidence) drop(dir, name string) {
	e.t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		e.t.Fatal(err)
	}
}

func (e evidence) replace(dir, name, old, now string) {
	e.t.Helper()
	data := e.get(dir, name)
	if !bytes.Contains(data, []byte(old)) {
		e.t.Fatalf("%s has no %q", name, old)
	}
	e.put(dir, name, bytes.Replace(data, []byte(old), []byte(now), 1))
}

// lines changes the lines of a file.
func (e evidence) lines(dir, name string, change func(lines [][]byte) [][]byte) {
	e.t.Helper()
	e.put(dir, name, bytes.Join(change(bytes.SplitAfter(e.get(dir, name), []byte("\n"))), nil))
}

// swap exchanges two stretches of a file.
func (e evidence) swap(dir, name string, a, b, size int) {
	e.t.Helper()
	data := e.get(dir, name)
	one := slices.Clone(data[a : a+size])
	copy(data[a:], data[b:b+size])
	copy(data[b:], one)
	e.put(dir, name, data)
}

// rewrite gives the first record another person of as many letters, and its frame the checksum that follows: what somebody does who knows the form.
func (e evidence) rewrite() {
	e.t.Helper()
	const segment = "records/00000000000000000000.seg"
	data := e.get(e.dir, segment)
	length := binary.BigEndian.Uint32(data)
	var ev eventsv1.Event
	if err := proto.Unmarshal(data[8:8+length], &ev); err != nil {
		e.t.Fatal(err)
	}
	ev.Principal.Person = "eve"
	changed, err := proto.Marshal(&ev)
	if err != nil || len(changed) != int(length) {
		e.t.Fatal(len(changed), length, err)
	}
	binary.BigEndian.PutUint32(data[4:], crc32.Checksum(changed, crc32.MakeTable(crc32.Castagnoli)))
	copy(data[8:], changed)
	e.put(e.dir, segment, data)
}

// witness puts what a witness signed beside what is published.
func (e evidence) witness(dir, text string) {
	e.t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, "witnessed"), 0o700); err != nil {
		e.t.Fatal(err)
	}
	e.put(dir, "witnessed/0123456789abcdef", []byte(text))
}

// noted is one of the checkpoints that were signed, from 0.
func noted(e evidence, line int) string {
	e.t.Helper()
	var l struct {
		Checkpoint string `json:"checkpoint"`
	}
	if err := json.Unmarshal(bytes.Split(e.get(e.dir, "checkpoints.jsonl"), []byte("\n"))[line], &l); err != nil {
		e.t.Fatal(err)
	}
	return l.Checkpoint
}

// otherName is a key of a log of another name.
func otherName(t *testing.T) string {
	t.Helper()
	_, public, err := base.NewKey("other.example/audit")
	if err != nil {
		t.Fatal(err)
	}
	return public
}

// handover is the word of one log's key that another's follows it.
func handover(t *testing.T, from, to evidence) string {
	t.Helper()
	signer, err := note.NewSigner(strings.Fields(string(from.get(from.dir, "key")))[0])
	if err != nil {
		t.Fatal(err)
	}
	word, err := base.SignHandover(verifiedOrigin, strings.Fields(string(to.get(to.dir, "key")))[1], signer)
	if err != nil {
		t.Fatal(err)
	}
	return word
}

// problems verifies the ledger's folder with the second place as its witness, and that place.
func (e evidence) problems() (ofLedger, ofPlace []string, notes []string) {
	e.t.Helper()
	keys, err := base.NewKeyring(e.key)
	if err != nil {
		e.t.Fatal(err)
	}
	var elsewhere []string
	if data, err := os.ReadFile(filepath.Join(e.place, "checkpoint")); err == nil {
		elsewhere = append(elsewhere, string(data))
	}
	var one, other *base.Report
	synctest.Test(e.t, func(t *testing.T) { // no time passes while it looks whether a service runs
		if one, err = ledger.VerifyDir(t.Context(), e.dir, keys, elsewhere...); err == nil {
			other, err = base.VerifyTiles(os.DirFS(e.place), keys)
		}
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return one.Problems, other.Problems, append(one.Notes, other.Notes...)
}

func wantProblems(t *testing.T, what string, got, want []string) {
	t.Helper()
	matches := func(got, want string) bool {
		before, after, star := strings.Cut(want, "*")
		return got == want || star && strings.HasPrefix(got, before) && strings.HasSuffix(got, after)
	}
	if !slices.EqualFunc(got, want, matches) {
		t.Errorf("problems of the %s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestALedgerThatNobodyTouchedHolds(t *testing.T) {
	for _, rotate := range []bool{false, true} {
		w := &writer{name: "edge-1"}
		some := w.many(100)
		w.late = time.Hour
		e := kept(t, nil, rotate, some, w.many(100))
		ofLedger, ofPlace, notes := e.problems()
		if len(ofLedger)+len(ofPlace)+len(notes) > 0 {
			t.Error(ofLedger, ofPlace, notes)
		}
		before := map[string]string{}
		for _, name := range []string{"checkpoints.jsonl", "state.json", "spots", "log/checkpoint"} {
			before[name] = string(e.get(e.dir, name))
		}
		e.problems()
		for name, text := range before {
			if string(e.get(e.dir, name)) != text {
				t.Errorf("verifying changed %s", name)
			}
		}
	}
}

func TestVerifyFindsEachKindOfTampering(t *testing.T) {
	honest := kept(t, nil, false, shares("ana")...)
	rotated := kept(t, nil, true, shares("ana")...)
	fork := kept(t, honest.get(honest.dir, "key"), false, shares("bob")...)
	stranger := kept(t, nil, false, shares("ana")...)
	for name, c := range tamperings(honest, rotated, fork, stranger) {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			from := honest
			if c.rotated {
				from = rotated
			}
			e := from.copied(t)
			e = c.do(e)
			ofLedger, ofPlace, _ := e.problems()
			wantProblems(t, "ledger", ofLedger, c.ledger)
			wantProblems(t, "second place", ofPlace, c.place)
		})
	}
	t.Logf("%d kinds of tampering", len(tamperings(honest, rotated, fork, stranger)))
}

// Records that a writer numbered and that never came are found by its later ones, its last by what it wrote when it stopped or began again.
func TestVerifyFindsWhatAWriterLost(t *testing.T) {
	w := &writer{name: "edge-1"}
	all := w.many(9)
	stop := w.next("system", "")
	stop.Event.Action = "service-stopped"
	for name, c := range map[string]struct {
		first, later []index.Record
		want         string
	}{
		"one in the middle": {slices.Concat(all[:4], all[5:]), nil, "record 5 of writer edge-1 is missing: it should stand before record 4 (event edge-1-6)"},
		"its beginning":     {all[2:], nil, "records 1 to 2 of writer edge-1 are missing: they should stand before record 0 (event edge-1-3)"},
		"its last, and it stopped": {append(slices.Clone(all[:7]), stop), nil,
			"records 8 to 9 of writer edge-1 are missing: they should stand before record 7 (event edge-1-10)"},
		"its last, and it began again": {all[:7], w.many(2)[1:],
			"records 8 to 11 of writer edge-1 are missing: they should stand before record 7 (event edge-1-12)"},
	} {
		e := kept(t, nil, false, c.first, c.later, (&writer{name: "edge-" + fmt.Sprint(len(name))}).many(1))
		ofLedger, ofPlace, notes := e.problems()
		wantProblems(t, name, ofLedger, []string{c.want})
		wantProblems(t, "second place", ofPlace, nil)
		if len(notes) != 2 || !strings.Contains(notes[0], "records came late") || !strings.Contains(notes[1], "heads have no time") {
			t.Errorf("%s: notes %q", name, notes)
		}
	}
}
