package ledger_test

import (
	"slices"
	"strings"
	"testing"
)

// What was published when the log was shorter is looked at, too: somebody was shown that.
func TestPartsOfTilesFromBeforeAreHeldAgainstTheTilesThatFollowed(t *testing.T) {
	honest := kept(t, nil, false, shares("ana")[:2]...)
	for _, part := range []string{"tile/0/000.p/100", "tile/entries/000.p/100"} {
		now := strings.Replace(part, "100", "200", 1)
		const told = ", from when the log was shorter, is not the beginning of what "
		for name, do := range map[string]func(e evidence, dir string){
			"changed": func(e evidence, dir string) { e.flip(dir, part, 40) },
			"cut":     func(e evidence, dir string) { e.cut(dir, part, 1) },
			"emptied": func(e evidence, dir string) { e.put(dir, part, nil) },
			"longer":  func(e evidence, dir string) { e.put(dir, part, e.get(dir, now)) },
		} {
			e := honest.copied(t)
			do(e, e.dir+"/log")
			do(e, e.place)
			ofLedger, ofPlace, _ := e.problems()
			wantProblems(t, name+" below the ledger", ofLedger, []string{"log: " + part + told + now + " has now: it was changed"})
			wantProblems(t, name+" in the second place", ofPlace, []string{part + told + now + " has now: it was changed"})
		}
	}
	e := honest.copied(t)
	e.drop(e.dir, "log/tile/0/000.p/100") // nobody needs it
	ofLedger, ofPlace, _ := e.problems()
	wantProblems(t, "ledger", append(ofLedger, ofPlace...), nil)
}

func TestThePublishedKeyAndHandoversAreTheLedgersOwn(t *testing.T) {
	rotated := kept(t, nil, true, shares("ana")...)
	for _, name := range []string{"key.pub", "handover-0001"} {
		differs, missing := "log/"+name+" is not the ledger's own "+name+": one of them was changed", "log/"+name+" is missing: it was dropped"
		for what, c := range map[string]struct {
			do   func(e evidence)
			want string
		}{
			"dropped":     {func(e evidence) { e.drop(e.dir, "log/"+name) }, missing},
			"with a line": {func(e evidence) { e.put(e.dir, "log/"+name, append(e.get(e.dir, name), '\n')) }, differs},
			"emptied":     {func(e evidence) { e.put(e.dir, "log/"+name, nil) }, differs},
			"older": {func(e evidence) {
				if name == "key.pub" {
					e.put(e.dir, "log/"+name, []byte(e.key+"\n"))
				} else {
					e.put(e.dir, "log/"+name, []byte("nothing"))
				}
			}, differs},
		} {
			e := rotated.copied(t)
			c.do(e)
			if ofLedger, _, _ := e.problems(); !slices.Contains(ofLedger, c.want) {
				t.Errorf("%s %s: problems %q", name, what, ofLedger)
			}
		}
	}
	e := rotated.copied(t)
	e.put(e.place, "key.pub", nil)
	_, ofPlace, _ := e.problems()
	wantProblems(t, "second place", ofPlace, []string{"key.pub is not the key that is trusted, and no handover leads from that to it"})
}

func TestBytesBehindWhatWasSignedAreANote(t *testing.T) {
	honest := kept(t, nil, false, shares("ana")...)
	for _, name := range []string{"hashes", "spots", "leaves", "times", "writers/656467652d31"} {
		for _, more := range []int{1, 8, 1024} {
			e := honest.copied(t)
			e.put(e.dir, name, append(e.get(e.dir, name), make([]byte, more)...))
			ofLedger, _, notes := e.problems()
			wantProblems(t, name, ofLedger, nil)
			want := name + ": bytes follow what belongs to the records that were signed: what they are cannot be said, and nothing that was signed rests on them"
			if !slices.Contains(notes, want) {
				t.Errorf("%s with %d bytes: notes %q", name, more, notes)
			}
		}
	}
	e := honest.copied(t)
	e.put(e.dir, "writers/stranger", make([]byte, 16))
	if _, _, notes := e.problems(); !slices.ContainsFunc(notes, func(n string) bool { return strings.HasPrefix(n, "writers/stranger: ") }) {
		t.Errorf("notes %q", notes)
	}
}
