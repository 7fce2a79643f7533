package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"headgate.dev/libs/ledger"
)

// published is a place with the checkpoint of a log of one record.
func (e *evidence) published(name string) string {
	e.t.Helper()
	return e.folder(name, "checkpoint", []byte(ledger.CarriedCheckpoint(e.proof())))
}

func (e *evidence) pipe(parts ...string) string {
	e.t.Helper()
	path := filepath.Join(append([]string{e.dir}, parts...)...)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		e.t.Fatal(err)
	}
	return path
}

func (e *evidence) link(parts ...string) {
	e.t.Helper()
	path := filepath.Join(append([]string{e.dir}, parts...)...)
	if err := os.Symlink("/dev/zero", path); err != nil {
		e.t.Fatal(err)
	}
}

// Whoever hands over evidence can put there what never ends, or is longer than any memory.
func TestVerifyReadsNothingThatNeverEnds(t *testing.T) {
	e := newEvidence(t)
	proof, pipe := e.file("proof.json", e.proof()), e.pipe("pipe")
	published := e.published("published")
	zero := e.folder("zero", "key.pub", []byte(e.public+"\n"))
	e.link("zero", "checkpoint")
	piped := e.published("piped")
	e.pipe("piped", "handover-0001")
	witnessed := e.published("witnessed")
	e.folder("witnessed/witnessed", "one", nil)
	e.link("witnessed", "witnessed", "two")
	sparse := e.published("sparse")
	for _, dir := range []string{"sparse/tile", "sparse/tile/entries", "sparse/tile/entries/000.p"} {
		if err := os.Mkdir(filepath.Join(e.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(e.file("sparse/tile/entries/000.p/1", nil), 8<<30); err != nil {
		t.Fatal(err)
	}
	long := e.file("long", nil)
	if err := os.Truncate(long, 8<<30); err != nil {
		t.Fatal(err)
	}
	folder := e.folder("ledger", "checkpoints.jsonl", nil)
	e.pipe("ledger", "spots")
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"a pipe":                          {[]string{pipe}, 2, "pipe is no regular file (prw"},
		"a device":                        {[]string{"/dev/zero"}, 2, "zero is no regular file"},
		"a checkpoint that is a device":   {[]string{proof, "--checkpoint", "/dev/zero"}, 2, "zero is no regular file"},
		"a checkpoint that is a pipe":     {[]string{proof, "--checkpoint", pipe}, 2, "pipe is no regular file"},
		"a checkpoint of 8 GiB":           {[]string{proof, "--checkpoint", long}, 2, "long has more than 65536 bytes (8589934592)"},
		"a key that is a device":          {[]string{proof, "--key", "/dev/zero"}, 2, "zero is no regular file"},
		"a file of zeros":                 {[]string{long}, 3, "line 1 is longer than 16777216 bytes: it is not one of an export"},
		"a place without tiles":           {[]string{published}, 3, "tile/entries/000.p/1 is missing"},
		"a published device":              {[]string{zero}, 3, "checkpoint is no regular file"},
		"a published pipe":                {[]string{piped}, 3, "handover-0001 is no regular file"},
		"a witness that is a device":      {[]string{witnessed}, 3, "witnessed/two is no regular file"},
		"a tile of 8 GiB":                 {[]string{sparse}, 3, "tile/entries/000.p/1 has more than 282112 bytes (8589934592): it is not what belongs there; the rest was not read"},
		"a pipe in a ledger's folder":     {[]string{folder}, 3, "ledger/spots is no regular file"},
		"a device beside what holds":      {[]string{zero, proof}, 3, "proof.json  holds"},
		"a published device, and a proof": {[]string{proof, zero}, 3, "checkpoint is no regular file"},
	} {
		if code, words := e.verify(c.args...); code != c.code || !strings.Contains(words, c.says) {
			t.Errorf("%s: %d: %s", name, code, words)
		}
	}
}
