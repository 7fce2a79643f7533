package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"headgate.dev/libs/ledger"
	"headgate.dev/services/headgate/internal/cli"
)

// An export of a log that has nothing yet is the smallest that there is: what verify makes of others is tested where the verifier is.
func TestVerifyNeedsTheFileAndTheKeyAlone(t *testing.T) {
	private, public, err := ledger.NewKey("bank.example/audit")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	var none ledger.Frontier
	checkpoint, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: "bank.example/audit", Root: none.Root()}, signer)
	if err != nil {
		t.Fatal(err)
	}
	statement := ledger.Statement{Origin: "bank.example/audit", Made: time.Unix(1, 0).UTC(), By: "vera", Filter: map[string]string{"tenant": "acme"}, LeftOut: ledger.Heads}
	export, err := ledger.HeaderLine(statement, checkpoint, nil, signer)
	if err != nil {
		t.Fatal(err)
	}
	var tally ledger.Tally
	end, err := ledger.EndLine(statement, tally.End(0), nil, signer)
	if err != nil {
		t.Fatal(err)
	}
	unfinished := export
	export = append(bytes.Clone(export), end...)
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, key := file("good", export), file("key.pub", []byte(public+"\n"))
	bad := file("bad", bytes.Replace(export, []byte("vera"), []byte("mara"), 1))
	_, stranger, err := ledger.NewKey("bank.example/audit")
	if err != nil {
		t.Fatal(err)
	}
	place := func() string {
		dir := t.TempDir()
		for name, text := range map[string]string{"checkpoint": checkpoint, "key.pub": public + "\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	published, shown, bare := place(), place(), t.TempDir()
	if err := os.Mkdir(filepath.Join(bare, "records"), 0o700); err != nil {
		t.Fatal(err)
	}
	forked, err := ledger.SignCheckpoint(ledger.Checkpoint{Origin: "bank.example/audit", Root: [32]byte{1}}, signer)
	if err != nil {
		t.Fatal(err)
	}
	unreadable := t.TempDir()
	if err := os.Mkdir(filepath.Join(unreadable, "checkpoints.jsonl"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"a key in a file":                        {[]string{good, "--key", key}, 0, `"holds": true`},
		"a key as words":                         {[]string{good, "--key", public}, 0, `"tenant": "acme"`},
		"two that agree":                         {[]string{good, good, "--key", key}, 0, `"holds": true`},
		"a witness":                              {[]string{good, "--key", key, "--checkpoint", file("witness", []byte(checkpoint))}, 0, `"holds": true`},
		"one that was changed":                   {[]string{bad, "--key", key}, 3, "their signature does not hold"},
		"one of two changed":                     {[]string{good, bad, "--key", key}, 3, "their signature does not hold"},
		"one that cannot be read":                {[]string{unreadable, good, "--key", key}, 1, `"holds": true`},
		"one that cannot be read and a changed":  {[]string{unreadable, bad, "--key", key}, 3, "their signature does not hold"},
		"one that is not finished":               {[]string{file("unfinished", unfinished), "--key", key}, 3, "headgate audit export --resume goes on with it"},
		"another's key":                          {[]string{good, "--key", stranger}, 3, "no trusted key has signed it"},
		"no witness":                             {[]string{good, "--key", key, "--checkpoint", file("empty", nil)}, 3, "checkpoint 1 from elsewhere does not hold"},
		"a published log":                        {[]string{published, "--key", key}, 0, `"holds": true`},
		"an export and a place":                  {[]string{good, published, "--key", key}, 0, `"holds": true`},
		"a place that was shown another":         {[]string{shown, "--key", key, "--checkpoint", file("forked", []byte(forked))}, 3, "two checkpoints of 0 records differ"},
		"a place with a stranger's key":          {[]string{published, "--key", stranger}, 3, "key.pub is not the key that is trusted"},
		"a ledger's folder without a checkpoint": {[]string{bare, "--key", key}, 3, "checkpoints.jsonl has no checkpoint: nothing was signed yet, or it was dropped"},
		"a folder of something else":             {[]string{t.TempDir(), "--key", key}, 2, ""},
		"a file that is absent":                  {[]string{filepath.Join(dir, "absent"), "--key", key}, 2, ""},
	} {
		var out, words bytes.Buffer
		code := cli.Run(t.Context(), append([]string{"audit", "verify", "-o", "json"}, c.args...), cli.IO{In: strings.NewReader(""), Out: &out, Err: &words, Env: func(string) string { return "" }})
		if code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: code %d\n%s\n%s", name, code, out.String(), words.String())
		}
	}
}
