package ledger_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/ledger"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

func TestWhatTheLogWroteHolds(t *testing.T) {
	for _, size := range []int{0, 1, 2, 7, 64, 300} {
		l := newLog(t).fill(size)
		for name, how := range map[string]func(int, entry) kind{
			"everything": everything, "one tenant": acme, "nothing": func(int, entry) kind { return head }, "hashes alone": func(int, entry) kind { return hash },
			"a person": func(_ int, e entry) kind {
				if e.ev.GetPrincipal().GetPerson() == "ana" {
					return whole
				}
				return hash
			},
		} {
			report := verify(t, l.public, l.export(how), l.checkpoint())
			wants(t, report)
			if report.Records+report.LeftOut != int64(size) || report.Checkpoint.Size != int64(size) {
				t.Errorf("%d records, %s: %+v", size, name, report)
			}
		}
		for i := range size {
			wants(t, verify(t, l.public, [][]byte{l.proof(int64(i))}, l.checkpoint()))
		}
	}
}

// Records of one writer come through several partitions: their order in the log is not that of their numbers.
func TestRecordsOfAWriterMayStandInAnyOrder(t *testing.T) {
	l := newLog(t)
	var all []entry
	for range 100 {
		all = append(all, l.event("edge-1", "acme", "ana"))
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	l.add(all...)
	wants(t, verify(t, l.public, l.export(everything)))
}

func TestWhatIsOnItsWayIsNoGapYet(t *testing.T) {
	l := newLog(t).fill(4)
	missing := l.event("edge-1", "acme", "ana")
	l.add(l.event("edge-1", "acme", "ana"))
	young := l.export(everything, func(s *ledger.Statement) { s.Settled = 4 })
	report := verify(t, l.public, young)
	wants(t, report)
	if len(report.Notes) != 1 || !strings.HasPrefix(report.Notes[0], "record 3 of writer edge-1 is missing") {
		t.Errorf("notes %q", report.Notes)
	}
	wants(t, verify(t, l.public, l.export(everything)), "record 3 of writer edge-1 is missing: it should stand before record 4 (event edge-1-4)")
	l.add(missing)
	wants(t, verify(t, l.public, l.export(everything)))
}

func TestASuccessorOfTheTrustedKeyIsTrusted(t *testing.T) {
	l := newLog(t).fill(3)
	private, public, err := ledger.NewKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	word, err := ledger.SignHandover(origin, public, l.signer)
	if err != nil {
		t.Fatal(err)
	}
	old := l.public
	l.signer, _ = note.NewSigner(private)
	l.handovers = []string{word}
	lines := l.export(everything)
	wants(t, verify(t, old, lines))
	wants(t, verify(t, public, lines))
	l.handovers = nil
	wants(t, verify(t, old, l.export(everything)), "line 1: the checkpoint does not hold: no trusted key has signed it")
}

// replace changes text in one line.
func replace(lines [][]byte, at int, old, text string) [][]byte {
	out := slices.Clone(lines)
	out[at] = bytes.Replace(out[at], []byte(old), []byte(text), 1)
	return out
}

// forge exchanges a record of the log for another and writes its line as the log would.
func forge(l *log, lines [][]byte, i int, change func(ev *eventsv1.Event)) [][]byte {
	ev := proto.CloneOf(l.entries[i].ev)
	change(ev)
	e := l.seal(ev)
	out := slices.Clone(lines)
	out[i+1] = must(l.t)(ledger.RecordLine(int64(i), e.head, e.ev, e.data))
	return out
}

func TestEveryKindOfTamperingIsFoundAndNamed(t *testing.T) {
	l := newLog(t).fill(20)
	full, tenant := l.export(everything), l.export(acme)
	stranger := newLog(t).fill(20)
	other := l.fork()
	other.fill(19)
	other.add(other.event("edge-2", "acme", "mallory"))
	const root = "the records make the tree *: records were changed, added or dropped"
	const cut = "its tail was cut, or it is not finished yet; headgate audit export --resume goes on with it"
	const statement = "line 1: the export's period, filter and size were changed: their signature does not hold"
	for name, c := range map[string]struct {
		lines       [][]byte
		checkpoints []string
		want        []string
	}{
		"a byte of a record": {replace(full, 6, `"record":"C`, `"record":"D`), nil, []string{"line 7: record 5 was changed: the bytes are not an event: *"}},
		"a record in its readable form": {replace(full, 6, `"name":"bob"`, `"name":"eve"`), nil,
			[]string{"record 5 (event edge-2-3) was changed where people read it: line 7 says something else than the record's bytes"}},
		"a space in a line": {replace(full, 6, `":`, `": `), nil,
			[]string{"record 5 (event edge-2-3) was changed where people read it: line 7 says something else than the record's bytes"}},
		"a record exchanged whole": {forge(l, full, 5, func(ev *eventsv1.Event) { ev.Principal.Person = "eve" }), nil, []string{
			"record 5 (event edge-2-3) was changed, or record 7 (event edge-2-4): writer edge-2's record 4 carries another hash of its record 3", root}},
		"the hash of a record": {replace(full, 6, `"leaf":"`+ledger.Short(l.entries[5].head.LeafHash()), `"leaf":"`+ledger.Short(l.entries[6].head.LeafHash())), nil, []string{
			"record 5 (event edge-2-3) was changed: its bytes do not have the hash that the log has", root}},
		"a dropped record": {slices.Delete(slices.Clone(full), 6, 7), nil,
			[]string{"line 7 has record 6 where record 5 belongs: record 5 was dropped or moved"}},
		"a record that is not the last dropped and all renumbered": {renumbered(l, 5), nil, []string{
			"the export ends after 19 of 20 records: " + cut}},
		"an added record": {slices.Insert(slices.Clone(full), 6, full[6]), nil,
			[]string{"line 8 has record 5 where record 6 belongs: it was added or moved"}},
		"a record added at the end": {inside(full, must(t)(ledger.RecordLine(20, l.entries[3].head, l.entries[3].ev, l.entries[3].data))), nil,
			[]string{"line 22 has record 20, and the export covers 20 records: it was added"}},
		"a record added behind the end": {append(slices.Clone(full), full[20]), nil, []string{"line 23 follows the last line of an export: it was added"}},
		"two records exchanged": {swapped(full, 6, 7), nil,
			[]string{"line 7 has record 6 where record 5 belongs: record 5 was dropped or moved", "line 8 has record 5 where record 7 belongs: it was added or moved"}},
		"a record moved to the end": {inside(slices.Delete(slices.Clone(full), 6, 7), full[6]), nil,
			[]string{"line 7 has record 6 where record 5 belongs: record 5 was dropped or moved", "line 21 has record 5, and the export covers 20 records: it was added"}},
		"two records exchanged with their places": {exchanged(l, full, 5, 6), nil, []string{root}},
		"a cut tail":                    {full[:15], nil, []string{"the export ends after 14 of 20 records: " + cut}},
		"a tail cut in a line":          {append(slices.Clone(full[:15]), full[15][:30]), nil, []string{"line 16 is cut in its middle: the file's tail was cut"}},
		"everything cut":                {nil, nil, []string{"the file is empty"}},
		"a cut head":                    {full[1:], nil, []string{"line 1 is not the beginning of an export: it was dropped or changed"}},
		"no JSON":                       {replace(full, 3, `{`, `[`), nil, []string{"line 4 is not JSON: it was changed"}},
		"an empty line":                 {slices.Insert(slices.Clone(full), 4, []byte("{}\n")), nil, []string{"line 5 has no place in the log: it was added or changed"}},
		"the filter":                    {replace(full, 0, `"filter":{}`, `"filter":{"person":"ana"}`), nil, []string{statement}},
		"who asked":                     {replace(full, 0, `"by":"vera"`, `"by":"gus"`), nil, []string{statement}},
		"the size":                      {replace(full, 0, `"size":20`, `"size":19`), nil, []string{statement}},
		"what has settled":              {replace(full, 0, `"settled":20`, `"settled":0`), nil, []string{statement}},
		"a word more in the first line": {replace(full, 0, `{"ledger":`, `{"note":"all is well","ledger":`), nil, []string{"line 1 was changed: something was added to it or written otherwise"}},
		"the checkpoint's size":         {replace(full, 0, `audit\n20\n`, `audit\n19\n`), nil, []string{"line 1: the checkpoint does not hold: its signature does not hold"}},
		"the checkpoint's signature":    {replace(full, 0, `\n\n— bank.example/audit `, `\n\n— bank.example/audit A`), nil, []string{"line 1: the checkpoint does not hold: *"}},
		"an older checkpoint":           {replaced(full, l, newLog(t)), nil, []string{"line 1: the checkpoint does not hold: no trusted key has signed it"}},
		"a future version": {stated(l, full, func(s map[string]any) { s["version"] = 3 }), nil, []string{
			"the export is of form 3 ecs-9.5.0/1, this program checks form 2 ecs-9.5.0/1: verify it with the version that made it"}},
		"another log's name": {stated(l, full, func(s map[string]any) { s["origin"] = "other.example/audit" }), nil, []string{
			`the export is of the log "other.example/audit", the key is for "bank.example/audit"`}},
		"a filter that nobody knows":      {stated(l, full, func(s map[string]any) { s["filter"] = map[string]string{"colour": "red"} }), nil, []string{"line 1: *"}},
		"a key that no handover leads to": {stranger.handedOver(l).export(everything), nil, []string{"line 1: the checkpoint does not hold: no trusted key has signed it"}},
		"another key's log":               {stranger.export(everything), nil, []string{"line 1: the checkpoint does not hold: no trusted key has signed it"}},
		"a fork of the same length": {full, []string{other.checkpoint()},
			[]string{"two checkpoints of 20 records differ (*): the log was forked"}},
		"a fork before": {full, []string{l.fork().fillAs("eve", 10).checkpoint()},
			[]string{"the log's first 10 records are not those of a checkpoint from elsewhere (*): the log was forked"}},
		"an export older than a checkpoint from elsewhere": {l.fork().fill(10).export(everything), []string{l.checkpoint()},
			[]string{"the log had 20 records by a checkpoint from elsewhere, and the file covers 10: its tail was cut, or it is older; make a new one"}},
		"a checkpoint from elsewhere of another key": {full, []string{stranger.checkpoint()},
			[]string{"checkpoint 1 from elsewhere does not hold: no trusted key has signed it"}},
		"a gap in the numbers of a writer": {gapped(l).export(everything), nil,
			[]string{"record 3 of writer edge-1 is missing: it should stand before record 4 (event edge-1-4)"}},
		"a writer's beginning missing": {headless(l).export(everything), nil,
			[]string{"records 1 to 2 of writer edge-1 are missing: they should stand before record 0 (event edge-1-3)"}},
		"a number given twice": {twice(l).export(everything), nil, []string{
			"record 6 (event edge-1-3) is a second record with the number 3 of writer edge-1: it was added, or the writer counted twice"}},
		"a record in the log that does not follow its writer's last": {unchained(l).export(everything), nil, []string{
			"record 4 (event edge-1-3) was changed, or record 5 (event edge-1-4): writer edge-1's record 4 carries another hash of its record 3"}},
		"another tenant's record": {l.export(everything, func(s *ledger.Statement) { s.Filter = map[string]string{"tenant": "acme"} }), nil, []string{
			"record 2 (event edge-1-2) is none that the export's filter wants: it was added",
			"record 5 (event edge-2-3) is none that the export's filter wants: it was added",
			"record 8 (event edge-1-5) is none that the export's filter wants: it was added",
			"record 11 (event edge-2-6) is none that the export's filter wants: it was added",
			"record 14 (event edge-1-8) is none that the export's filter wants: it was added",
			"record 17 (event edge-2-9) is none that the export's filter wants: it was added"}},
		"a record that was left out changed": {replace(tenant, 3, `"writer":"edge-1"`, `"writer":"edge-2"`), nil, []string{"record 2 (left out) was changed: line 4 is not what the log has of it"}},
		"a record left out and another's head": {swappedHead(l, tenant, 2, 5), nil, []string{
			"record 5 (left out) is a second record with the number 2 of writer edge-1: it was added, or the writer counted twice", root,
			"record 3 of writer edge-2 is missing: it should stand before record 7 (event edge-2-4)"}},
		"hashes for more records than there are": {l.hashed(func(at, count int64, h []tlog.Hash) []byte { return must(t)(ledger.HashesLine(at, count+1, h)) }), nil, []string{
			"line 2 was changed: it is not what stands for records that were left out"}},
		"a hash too few": {l.hashed(func(at, count int64, h []tlog.Hash) []byte { return must(t)(ledger.HashesLine(at, count, h[1:])) }), nil, []string{
			"line 2 was changed: 20 records from 0 on take 2 hashes, it has 1"}},
		"another hash": {l.hashed(func(at, count int64, h []tlog.Hash) []byte {
			return must(t)(ledger.HashesLine(at, count, []tlog.Hash{h[0], h[0]}))
		}), nil, []string{root}},
		"a proof for another place": {[][]byte{replace([][]byte{l.proof(5)}, 0, `"index":5`, `"index":6`)[0]}, nil, []string{
			"record 6 (event edge-2-3) is not in the log at that place: the proof does not lead to the checkpoint"}},
		"a proof of a record that is not there": {[][]byte{replace([][]byte{l.proof(5)}, 0, `"proof":["`+ledger.Short(l.entries[4].head.LeafHash()), `"proof":["`+ledger.Short(l.entries[6].head.LeafHash()))[0]}, nil, []string{
			"record 5 (event edge-2-3) is not in the log at that place: the proof does not lead to the checkpoint"}},
		"a proof with a line more": {[][]byte{l.proof(5), l.proof(6)}, nil, []string{"line 2 follows a proof, which has one line: it was added"}},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			wants(t, verify(t, l.public, c.lines, c.checkpoints...), c.want...)
		})
	}
}

// A break ends no verification: what else was done is found behind it, and what it hides is said.
func TestWhatFollowsABreakIsReadToo(t *testing.T) {
	l := newLog(t).fill(20)
	full := l.export(everything)
	lines := replace(full, 0, `"by":"vera"`, `"by":"gus"`)
	lines = replace(lines, 12, `"name":"`, `"name":"x`)                     // record 11, where people read it
	lines = replace(lines, 15, `"record":"C`, `"record":"D`)                // record 14, its bytes
	lines[17] = []byte("[]\n")                                              // record 16
	lines = slices.Delete(lines, 4, 5)                                      // record 3
	lines = slices.Insert(lines, 7, full[2])                                // record 1 once more
	lines = lines[:len(lines)-2]                                            // record 19 and the end
	lines = append(lines, must(t)(ledger.HeadLine(18, l.entries[18].head))) // record 18 once more
	report := verify(t, l.public, lines, l.fork().fillAs("eve", 10).checkpoint())
	wants(t, report,
		"line 1: the export's period, filter and size were changed: their signature does not hold",
		"line 5 has record 4 where record 3 belongs: record 3 was dropped or moved",
		"line 8 has record 1 where record 7 belongs: it was added or moved",
		"record 11 (event edge-2-6) was changed where people read it: line 13 says something else than the record's bytes",
		"line 16: record 14 was changed: the bytes are not an event: *",
		"line 18 is not JSON: it was changed",
		"line 21 has record 18 where record 19 belongs: it was added or moved",
		"the export ends after 19 of 20 records: its tail was cut, or it is not finished yet; headgate audit export --resume goes on with it",
	)
	if len(report.Notes) != 1 || !strings.HasPrefix(report.Notes[0], "from line 5 on, ") {
		t.Errorf("notes %q", report.Notes)
	}
}

// Whatever byte is changed, dropped or added, it is found.
func TestEveryByteCounts(t *testing.T) {
	l := newLog(t).fill(3)
	data := bytes.Join(l.export(acme), nil)
	keys, err := ledger.NewKeyring(l.public)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for name, changed := range map[string][]byte{
			"changed": append(append(slices.Clone(data[:i]), data[i]^1), data[i+1:]...),
			"dropped": append(slices.Clone(data[:i]), data[i+1:]...),
			"doubled": append(append(slices.Clone(data[:i]), data[i]), data[i:]...),
			"cut":     data[:i],
		} {
			report, err := ledger.Verify(bytes.NewReader(changed), keys)
			if err != nil || report.Holds() {
				t.Fatalf("byte %d %s is not found: %v", i, name, err)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	l := fixedKey(f, newLog(&testing.T{}).fill(4)) // the fuzzer's processes must mean the same file by the honest one
	honest := bytes.Join(l.export(acme), nil)
	f.Add(honest)
	f.Add(l.proof(2))
	f.Add([]byte(`{"ledger":{"export":{}}}` + "\n"))
	proofs := map[string]bool{}
	for i := range l.entries {
		proofs[string(l.proof(int64(i)))] = true
	}
	keys, err := ledger.NewKeyring(l.public)
	if err != nil {
		f.Fatal(err)
	}
	if report, err := ledger.Verify(bytes.NewReader(honest), keys); err != nil || !report.Holds() {
		f.Fatal("the honest export does not hold", report, err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		report, err := ledger.Verify(bytes.NewReader(data), keys)
		if err == nil && report.Holds() && !bytes.Equal(data, honest) && !proofs[string(data)] {
			t.Fatalf("holds: %q", data)
		}
	})
}

// fixedKey gives the log a key that is the same in every process.
func fixedKey(f *testing.F, l *log) *log {
	f.Helper()
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	public, ok := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	if !ok {
		f.Fatal("no public key")
	}
	verifier, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		f.Fatal(err)
	}
	hash := strings.Split(verifier, "+")[1]
	signer, err := note.NewSigner("PRIVATE+KEY+" + origin + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed...)))
	if err != nil {
		f.Fatal(err)
	}
	l.signer, l.public = signer, verifier
	return l
}

// stated is an export whose first line says something else, signed with the log's key.
func stated(l *log, lines [][]byte, change func(statement map[string]any)) [][]byte {
	l.t.Helper()
	var first struct {
		Ledger struct {
			Export     ledger.Statement `json:"export"`
			Signature  string           `json:"signature"`
			Checkpoint string           `json:"checkpoint"`
		} `json:"ledger"`
	}
	if err := json.Unmarshal(lines[0], &first); err != nil {
		l.t.Fatal(err)
	}
	data, err := json.Marshal(first.Ledger.Export)
	if err != nil {
		l.t.Fatal(err)
	}
	words := map[string]any{}
	if err := json.Unmarshal(data, &words); err != nil {
		l.t.Fatal(err)
	}
	change(words)
	if data, err = json.Marshal(words); err == nil {
		err = json.Unmarshal(data, &first.Ledger.Export)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	if data, err = json.Marshal(first.Ledger.Export); err != nil {
		l.t.Fatal(err)
	}
	text := "headgate.dev/export/v1\n" + string(data) + "\n"
	signed := must(l.t)(note.Sign(&note.Note{Text: text}, l.signer))
	first.Ledger.Signature = strings.TrimPrefix(string(signed), text)
	return append([][]byte{append(must(l.t)(json.Marshal(first)), '\n')}, lines[1:]...)
}

// handedOver is this log with the records of another: what somebody makes who has the records and a key of his own.
func (l *log) handedOver(other *log) *log {
	l = l.fork()
	l.add(other.entries...)
	return l
}

func renumbered(l *log, dropped int) [][]byte {
	full := l.export(everything)
	lines := full[:1:1]
	for i, e := range l.entries {
		at := i
		switch {
		case i == dropped:
			continue
		case i > dropped:
			at--
		}
		lines = append(lines, must(l.t)(ledger.RecordLine(int64(at), e.head, e.ev, e.data)))
	}
	return append(lines, full[len(full)-1])
}

func swapped(lines [][]byte, i, j int) [][]byte {
	out := slices.Clone(lines)
	out[i], out[j] = out[j], out[i]
	return out
}

func exchanged(l *log, lines [][]byte, i, j int) [][]byte {
	out, a, b := slices.Clone(lines), l.entries[i], l.entries[j]
	out[i+1] = must(l.t)(ledger.RecordLine(int64(i), b.head, b.ev, b.data))
	out[j+1] = must(l.t)(ledger.RecordLine(int64(j), a.head, a.ev, a.data))
	return out
}

// replaced has the first line of another log.
func replaced(lines [][]byte, _, other *log) [][]byte {
	other.fill(20)
	return append(other.export(everything)[:1:1], lines[1:]...)
}

func swappedHead(l *log, lines [][]byte, i, j int) [][]byte {
	out := slices.Clone(lines)
	out[j+1] = must(l.t)(ledger.HeadLine(int64(j), l.entries[i].head))
	return out
}

func gapped(l *log) *log {
	other := l.fork()
	other.fill(4)
	other.event("edge-1", "acme", "ana")
	return other.fill(6)
}

func headless(l *log) *log {
	other := l.fork()
	other.event("edge-1", "acme", "ana")
	other.event("edge-1", "acme", "ana")
	return other.fill(6)
}

func twice(l *log) *log {
	other := l.fork().fill(6)
	ev := proto.CloneOf(other.entries[4].ev)
	ev.Principal.Person = "eve"
	other.add(other.seal(ev))
	return other
}

func unchained(l *log) *log {
	other := l.fork().fill(4)
	e := other.event("edge-1", "acme", "ana")
	changed := proto.CloneOf(e.ev)
	changed.Principal.Person = "eve"
	other.add(other.seal(changed))
	return other.fill(4)
}

func (l *log) fillAs(person string, n int) *log {
	for range n {
		l.add(l.event("edge-1", "acme", person))
	}
	return l
}

// hashed is an export in which nothing but hashes stands.
func (l *log) hashed(make func(at, count int64, h []tlog.Hash) []byte) [][]byte {
	var indexes []int64
	for _, p := range ledger.Cover(0, l.tree.Size()) {
		indexes = append(indexes, tlog.StoredHashIndex(p.Level, p.Index))
	}
	hashes, _ := l.ReadHashes(indexes)
	lines := l.export(func(int, entry) kind { return hash })
	lines[1] = make(0, l.tree.Size(), hashes)
	return lines
}

func ExampleShort() {
	fmt.Println(ledger.Short(tlog.RecordHash(nil)))
	// Output: bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=
}

func TestAFormWithoutProofsIsCalledThat(t *testing.T) {
	l := newLog(t)
	for name, text := range map[string]string{"csv": "time,action,outcome\n", "cef": "CEF:0|Headgate|\n", "page": "<!doctype html>\n"} {
		report := verify(t, l.public, [][]byte{[]byte(text)})
		if len(report.Problems) != 1 || !strings.Contains(report.Problems[0], "the file is of a form that carries none") {
			t.Errorf("%s: %v", name, report.Problems)
		}
	}
}
