package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/ledger"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/headgate/internal/cli"
)

const logName = "bank.example/audit"

// evidence is files that somebody may verify together, all of one log.
type evidence struct {
	t      *testing.T
	dir    string
	public string
	signer note.Signer
}

func newEvidence(t *testing.T) *evidence {
	t.Helper()
	private, public, err := ledger.NewKey(logName)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return &evidence{t: t, dir: t.TempDir(), public: public, signer: signer}
}

func (e *evidence) file(name string, data []byte) string {
	e.t.Helper()
	path := filepath.Join(e.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		e.t.Fatal(err)
	}
	return path
}

func (e *evidence) folder(name, file string, data []byte) string {
	e.t.Helper()
	if err := os.Mkdir(filepath.Join(e.dir, name), 0o700); err != nil {
		e.t.Fatal(err)
	}
	e.file(filepath.Join(name, file), data)
	return filepath.Join(e.dir, name)
}

func (e *evidence) checkpoint(tree ledger.Frontier) string {
	e.t.Helper()
	text, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: logName, Size: tree.Size(), Root: tree.Root()}, e.signer)
	if err != nil {
		e.t.Fatal(err)
	}
	return text
}

// proof is that of the only record of a log.
func (e *evidence) proof() []byte {
	e.t.Helper()
	ev := &eventsv1.Event{Id: "e1", Action: "kill", Tenant: "acme", Time: timestamppb.New(time.Unix(1, 0)), Writer: "trust", Sequence: 1}
	data, err := proto.Marshal(ev)
	if err != nil {
		e.t.Fatal(err)
	}
	head, err := ledger.HeadFor(ev, data)
	if err != nil {
		e.t.Fatal(err)
	}
	var tree ledger.Frontier
	tree.Append(head.LeafHash())
	line, err := ledger.ProofLine(0, head, ev, data, nil, e.checkpoint(tree), nil)
	if err != nil {
		e.t.Fatal(err)
	}
	return line
}

// verify runs the command and returns its exit code with all that it says.
func (e *evidence) verify(args ...string) (int, string) {
	e.t.Helper()
	var out bytes.Buffer
	code := cli.Run(e.t.Context(), append([]string{"audit", "verify", "--key", e.public}, args...), cli.IO{In: strings.NewReader(""), Out: &out, Err: &out, Env: func(string) string { return "" }})
	return code, out.String()
}

// A proof is as good a witness against a ledger that was put back as an export or a checkpoint.
func TestALedgerIsHeldAgainstAProof(t *testing.T) {
	e := newEvidence(t)
	history, err := json.Marshal(struct {
		At         time.Time `json:"at"`
		Checkpoint string    `json:"checkpoint"`
	}{time.Unix(1, 0).UTC(), e.checkpoint(ledger.Frontier{})})
	if err != nil {
		t.Fatal(err)
	}
	older, proof := e.folder("ledger", "checkpoints.jsonl", append(history, '\n')), e.file("proof.json", e.proof())
	if code, words := e.verify(proof); code != 0 {
		t.Fatalf("%d: %s", code, words)
	}
	const says = "the log had 1 records by a checkpoint from elsewhere, and checkpoints.jsonl signs 0: its tail was cut, or an older state was put back"
	if code, words := e.verify(older, proof); code != 3 || !strings.Contains(words, says) {
		t.Errorf("%d: %s", code, words)
	}
}

// What an older version began ends without what this one signs: the file would be neither form.
func TestAnExportOfAnotherFormIsNotContinued(t *testing.T) {
	e := newEvidence(t)
	header, err := ledger.HeaderLine(ledger.Statement{Origin: logName, Size: 1, LeftOut: ledger.Heads}, "", nil, e.signer)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(e.dir, "all.jsonl")
	part := e.file("all.jsonl.part", bytes.Replace(header, []byte(`"version":2`), []byte(`"version":1`), 1))
	before := holds(t, part)
	var words bytes.Buffer
	env := map[string]string{"HEADGATE_TOKEN": "x", "HEADGATE_API": "http://127.0.0.1:9"}
	code := cli.Run(t.Context(), []string{"audit", "export", "--resume", "--out", out}, cli.IO{In: strings.NewReader(""), Out: &words, Err: &words, Env: func(key string) string { return env[key] }})
	if code != 1 || !strings.Contains(words.String(), "was begun by another version of Headgate") || holds(t, part) != before {
		t.Errorf("%d: %s", code, words.String())
	}
}
