package stdio_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/libs/secret"
	"headgate.dev/services/headgate/internal/stdio"
)

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	fresh := path + ".new" // as a careful writer does: nobody sees half a token
	if err := os.WriteFile(fresh, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(fresh, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(fresh, path); err != nil {
		t.Fatal(err)
	}
}

func TestT18ATokenFileThatOthersCanReadIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for mode, ok := range map[os.FileMode]bool{0o600: true, 0o400: true, 0o700: true, 0o640: false, 0o604: false, 0o620: false, 0o601: false, 0o644: false} {
		write(t, path, good, mode)
		_, err := stdio.TokenFile(path)
		if (err == nil) != ok {
			t.Errorf("mode %o: %v", mode, err)
		}
		if err != nil && (!strings.Contains(err.Error(), "chmod 600 "+path) || strings.Contains(err.Error(), good)) {
			t.Errorf("mode %o: %q does not say what to do, or tells the token", mode, err)
		}
	}
}

func TestATokenFileHoldsOneTokenAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "token")
	for text, ok := range map[string]bool{
		good: true, good + "\n": true, "  " + good + "\r\n\n": true,
		"": false, " \n": false, good + " " + good: false, good + "\n" + good: false, "t\x00ken": false, "tök": false, "\ufeff" + good: false,
		strings.Repeat("a", 16<<10): true, strings.Repeat("a", 16<<10+1): false, strings.Repeat("a", 1<<20): false,
	} {
		write(t, path, text, 0o600)
		tokens, err := stdio.TokenFile(path)
		if (err == nil) != ok {
			t.Errorf("%.20q: %v", text, err)
			continue
		}
		if err != nil {
			continue
		}
		if token, err := tokens.Token(false); err != nil || token.Reveal() != strings.TrimSpace(text) {
			t.Errorf("%.20q: read as %.20q, %v", text, token.Reveal(), err)
		}
	}
	for _, missing := range []string{filepath.Join(dir, "nothing"), dir} {
		if _, err := stdio.TokenFile(missing); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("%s: %v", missing, err)
		}
	}
	if _, err := stdio.Given(secret.New("a\nX-Evil: 1")); err == nil {
		t.Error("a token that would be two headers was taken")
	}
}

func TestATokenThatIsNotTakenIsSaidWithWhatToDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "old", 0o600)
	file, err := stdio.TokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for advice, tokens := range map[string]stdio.Tokens{"write it into " + path: file, "set it as HEADGATE_TOKEN": given(t, "old")} {
		g := open(t, nil)
		w := dial(t, stdio.Config{Endpoint: g.URL, Tokens: tokens})
		w.send(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		w.refused("1", -32600, "did not take the access token", "Sign in again.", advice)
		w.send(hello)
		w.refused(`"hello"`, -32600, advice)
		w.send(modern("2", "server/discover", ""))
		w.refused("2", -32600, advice)
		if n := len(g.all("tools/list")); n != 1 {
			t.Errorf("a token that has not changed was tried %d times", n)
		}
	}
}

func TestATokenFileIsReadAgainWhenItChangesAndAfterA401(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "first", 0o600)
	file, err := stdio.TokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g := open(t, func(w http.ResponseWriter, r request) { result(w, r, `{}`) })
	w := dial(t, stdio.Config{Endpoint: g.URL, Tokens: file})
	call := func() {
		t.Helper()
		w.send(`{"jsonrpc":"2.0","id":1,"method":"x"}`)
		w.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	}
	g.allow("first")
	call()
	write(t, path, "second", 0o600)
	g.allow("second")
	call()
	if n := len(g.all("x")); n != 2 {
		t.Errorf("%d requests for two calls: the change was seen only after a 401", n)
	}

	// Written in place, within the same tick of the clock, with the same length: only a 401 tells.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("thirdy"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	g.allow("thirdy")
	call()
	if n := len(g.all("x")); n != 4 {
		t.Errorf("%d requests for three calls", n)
	}
}

func TestT18ATokenFileThatOpensUpStopsTheCalls(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, good, 0o600)
	file, err := stdio.TokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g := open(t, nil)
	w := dial(t, stdio.Config{Endpoint: g.URL, Tokens: file})
	w.silent()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	w.send(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	w.refused("1", -32600, "was not sent", "chmod 600")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w.send(`{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	w.refused("2", -32600, "was not sent", path)
	write(t, path, good, 0o600)
	w.silent()
	if n := len(g.all("ping")); n != 2 {
		t.Errorf("the gate was sent %d requests", n)
	}
}
