package certfile_test

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate.dev/libs/certfile"
	"headgate.dev/libs/rpc/rpctest"
)

// log is what was logged. Safe for concurrent use.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("it never held: %s", what)
		}
	}
}

func serial(pair *tls.Certificate) string { return pair.Leaf.SerialNumber.String() }

func TestAReplacedPairIsReadAgainAndABrokenOneIsNotAndSaidOnce(t *testing.T) {
	said := &log{}
	a := rpctest.NewAuthority(t)
	cert, key := a.Issue(t, "door")
	held, err := certfile.Pair(slog.New(slog.NewTextHandler(said, nil)), cert, key)
	if err != nil {
		t.Fatal(err)
	}
	first := serial(held.Now())

	good, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, key, "no key")
	eventually(t, "the broken pair is seen", func() bool { held.Now(); return said.count("level=WARN") == 1 })
	looks := time.Now()
	eventually(t, "two more looks", func() bool { held.Now(); return time.Since(looks) > 2100*time.Millisecond })
	if got := serial(held.Now()); got != first || said.count("level=WARN") != 1 {
		t.Errorf("a broken pair is in use or was said %d times", said.count("level=WARN"))
	}
	if said.count("no key") != 0 || !strings.Contains(said.text.String(), key) {
		t.Errorf("the log holds what is in the file, or not its name: %s", said.text.String())
	}

	write(t, key, string(good))
	a.Issue(t, "door")
	eventually(t, "the new pair is in use", func() bool { return serial(held.Now()) != first })
	if said.count("read again") == 0 {
		t.Error("nothing was said of the new pair")
	}
	write(t, cert, "no certificate")
	eventually(t, "breaking again is said again", func() bool { held.Now(); return said.count("level=WARN") == 2 })
}

func TestFilesThatWereReplacedByALinkAreSeen(t *testing.T) {
	a, b := rpctest.NewAuthority(t), rpctest.NewAuthority(t)
	type files struct{ cert, key string }
	var one, two files
	one.cert, one.key = a.Issue(t, "door")
	two.cert, two.key = b.Issue(t, "door")
	dir := t.TempDir()
	link := files{dir + "/tls.crt", dir + "/tls.key"}
	point(t, one.cert, link.cert)
	point(t, one.key, link.key)
	held, err := certfile.Pair(slog.New(slog.DiscardHandler), link.cert, link.key)
	if err != nil {
		t.Fatal(err)
	}
	first := serial(held.Now())
	point(t, two.cert, link.cert)
	point(t, two.key, link.key)
	eventually(t, "the other pair is in use", func() bool { return serial(held.Now()) != first })
}

func TestFilesThatCannotBeReadAtFirstAreRefusedWithTheirNames(t *testing.T) {
	a := rpctest.NewAuthority(t)
	cert, key := a.Issue(t, "door")
	_, other := a.Issue(t, "other")
	for name, files := range map[string][2]string{"missing": {cert, "/nowhere/key.pem"}, "another key": {cert, other}, "swapped": {key, cert}} {
		_, err := certfile.Pair(slog.New(slog.DiscardHandler), files[0], files[1])
		if err == nil || !strings.Contains(err.Error(), files[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// point makes name a link to a file, in one step, as a mounted secret is replaced.
func point(t *testing.T, to, name string) {
	t.Helper()
	if err := os.Symlink(to, name+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}
