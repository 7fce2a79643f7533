package ledger_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"headgate.dev/libs/ids"
	"headgate.dev/libs/journal"
	base "headgate.dev/libs/ledger"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/audit/internal/export"
	"headgate.dev/services/audit/internal/ledger"
)

// observer is a witness as C2SP tlog-witness has it: it signs what continues what it signed, and nothing else.
type observer struct {
	t       *testing.T
	private ed25519.PrivateKey
	public  string
	server  *httptest.Server

	mu     sync.Mutex
	keys   *base.Keyring
	known  base.Checkpoint
	signed chan int64
	down   bool
	forged bool // it signs something else
	asked  chan struct{}
}

func newObserver(t *testing.T) *observer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := append([]byte{4}, public...)
	sum := sha256.Sum256(append([]byte("witness.example/w1\n"), key...))
	o := &observer{t: t, private: private, public: fmt.Sprintf("witness.example/w1+%x+%s", sum[:4], base64.StdEncoding.EncodeToString(key)),
		signed: make(chan int64, 100), asked: make(chan struct{}, 1000)}
	o.server = httptest.NewServer(o)
	t.Cleanup(o.server.Close)
	return o
}

func (o *observer) config() []ledger.WitnessConfig {
	return []ledger.WitnessConfig{{URL: o.server.URL, PublicKey: o.public}}
}

func (o *observer) trust(l *ledger.Ledger) {
	public, _ := l.PublicKey()
	keys, err := base.NewKeyring(public)
	if err != nil {
		o.t.Fatal(err)
	}
	o.mu.Lock()
	o.keys = keys
	o.mu.Unlock()
}

func (o *observer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.asked <- struct{}{}:
	default:
	}
	body, _ := io.ReadAll(r.Body)
	head, text, _ := strings.Cut(string(body), "\n\n")
	lines := strings.Split(head, "\n")
	var old int64
	if _, err := fmt.Sscanf(lines[0], "old %d", &old); err != nil || r.Method != http.MethodPost || r.URL.Path != "/add-checkpoint" {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	if o.down {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	c, err := o.keys.Checkpoint(text)
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	var proof tlog.TreeProof
	for _, line := range lines[1:] {
		var h tlog.Hash
		data, _ := base64.StdEncoding.DecodeString(line)
		copy(h[:], data)
		proof = append(proof, h)
	}
	switch {
	case old != o.known.Size, old == c.Size && c.Root != o.known.Root:
		w.WriteHeader(http.StatusConflict)
		_, _ = fmt.Fprintf(w, "%d\n", o.known.Size)
		return
	case old > 0 && old < c.Size && tlog.CheckTree(proof, c.Size, c.Root, old, o.known.Root) != nil:
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	o.known = c
	_, _ = io.WriteString(w, o.sign(text))
	select {
	case o.signed <- c.Size:
	default:
	}
}

func (o *observer) sign(text string) string {
	msg, _, _ := strings.Cut(text, "\n\n")
	msg += "\n"
	if o.forged {
		msg = "another\n" + msg
	}
	at := uint64(noon.Unix())
	sig := ed25519.Sign(o.private, fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at, msg))
	key := append([]byte{4}, o.private.Public().(ed25519.PublicKey)...)
	sum := sha256.Sum256(append([]byte("witness.example/w1\n"), key...))
	all := append(append([]byte{}, sum[:4]...), binary.BigEndian.AppendUint64(nil, at)...)
	return "— witness.example/w1 " + base64.StdEncoding.EncodeToString(append(all, sig...)) + "\n"
}

// alerts takes what is recorded of a witness's word.
type alerts chan *eventsv1.Event

func (a alerts) Append(ev *eventsv1.Event, _ journal.Mode) error {
	a <- ev
	return nil
}

// showing shows the log to its witnesses until the test ends.
func showing(t *testing.T, l *ledger.Ledger) alerts {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	told := make(alerts, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Show(ctx, told)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return told
}

func (o *observer) until(size int64) {
	o.t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case got := <-o.signed:
			if got == size {
				return
			}
		case <-deadline:
			o.t.Fatalf("the witness never signed %d records", size)
		}
	}
}

func grown(t *testing.T, l *ledger.Ledger, w *writer, n int) {
	t.Helper()
	add(t, l, w.many(n)...)
	if err := l.Checkpoint(); err != nil {
		t.Fatal(err)
	}
}

// witnessed is what the ledger keeps of its witness.
func witnessed(t *testing.T, dir string, o *observer, size int64) string {
	t.Helper()
	key, err := base.ParseWitness(o.public)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		files, _ := filepath.Glob(filepath.Join(dir, "log", "witnessed", "*"))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil || strings.HasPrefix(filepath.Base(file), ".new") {
				continue
			}
			open, err := note.Open(text, note.VerifierList(key))
			if err == nil && strings.Contains(open.Text, fmt.Sprintf("\n%d\n", size)) {
				return string(text)
			}
		}
		select {
		case <-deadline:
			t.Fatalf("no signature of %d records was kept: %v", size, files)
		case <-tick.C:
		}
	}
}

// exportOf is the whole log with proofs.
func exportOf(t *testing.T, l *ledger.Ledger) []byte {
	t.Helper()
	at, _ := l.Signed()
	view, err := l.View(at.Size)
	if err != nil {
		t.Fatal(err)
	}
	_, handovers := l.PublicKey()
	var out []byte
	err = export.Proved{
		View: view, Checkpoint: at.Note, Handovers: handovers, Signer: l.Signer(), Statement: base.Statement{Origin: at.Origin, Size: at.Size, Made: noon, By: "vera"},
	}.Write(t.Context(), func(lines []byte) error {
		out = append(out, lines...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAWitnessSignsEveryCheckpointAlsoAfterItWasAway(t *testing.T) {
	o := newObserver(t)
	cfg := ledger.Config{Dir: t.TempDir(), CheckpointEvery: 5 * time.Millisecond, Witnesses: o.config()}
	l := open(t, cfg)
	o.trust(l)
	w := &writer{name: "edge"}
	grown(t, l, w, 3)
	told := showing(t, l)
	o.until(3)
	grown(t, l, w, 4)
	o.until(7)
	o.mu.Lock()
	o.down = true
	o.mu.Unlock()
	grown(t, l, w, 5)
	for len(o.asked) > 0 {
		<-o.asked
	}
	<-o.asked
	<-o.asked // it is tried again
	o.mu.Lock()
	o.down = false
	o.mu.Unlock()
	o.until(12)
	if err := l.Rotate(); err != nil {
		t.Fatal(err)
	}
	o.trust(l)
	grown(t, l, w, 1)
	o.until(13)
	witnessed(t, cfg.Dir, o, 13)
	if len(told) > 0 {
		t.Errorf("an alert: %v", <-told)
	}
}

func TestAWitnessFindsAForkAndTheVerifierByItsWord(t *testing.T) {
	o := newObserver(t)
	cfg := ledger.Config{Dir: t.TempDir(), CheckpointEvery: 5 * time.Millisecond, Witnesses: o.config()}
	l := open(t, cfg)
	o.trust(l)
	w := &writer{name: "edge"}
	grown(t, l, w, 5)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	forked := cfg
	forked.Dir = t.TempDir()
	if err := os.CopyFS(forked.Dir, os.DirFS(cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(forked.Dir, "key"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, cfg)
	grown(t, l, w, 5)
	showing(t, l)
	o.until(10)
	seen := witnessed(t, cfg.Dir, o, 10)

	other := open(t, forked) // the same key, the same first records, and then others
	grown(t, other, &writer{name: "forger"}, 8)
	told := showing(t, other)
	select {
	case ev := <-told:
		if !ev.GetAlert() || ev.GetTenant() != "system" || !strings.Contains(ev.GetDecision().GetSentence(), "another log") {
			t.Errorf("%v", ev)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody was told of the fork")
	}
	for range 3 { // the log grows, and the witness refuses it anew each time: that is the same news
		grown(t, other, &writer{name: ids.New()}, 1)
		for len(o.asked) > 0 {
			<-o.asked
		}
		<-o.asked
		<-o.asked
	}
	if len(told) > 0 {
		t.Errorf("told once more: %v", <-told)
	}
	public, _ := other.PublicKey()
	keys, err := base.NewKeyring(public)
	if err != nil {
		t.Fatal(err)
	}
	report, err := base.Verify(bytes.NewReader(exportOf(t, other)), keys, seen)
	if err != nil || report.Holds() || !strings.Contains(strings.Join(report.Problems, "\n"), "forked") {
		t.Errorf("%+v, %v", report, err)
	}
	if report, err := base.Verify(bytes.NewReader(exportOf(t, l)), keys, seen); err != nil || !report.Holds() {
		t.Errorf("the log itself: %+v, %v", report, err)
	}
}

func TestWhatIsNotTheWitnessesSignatureIsNotKept(t *testing.T) {
	o := newObserver(t)
	o.forged = true
	cfg := ledger.Config{Dir: t.TempDir(), CheckpointEvery: 5 * time.Millisecond, Witnesses: o.config()}
	l := open(t, cfg)
	o.trust(l)
	grown(t, l, &writer{name: "edge"}, 3)
	showing(t, l)
	o.until(3)
	<-o.asked
	<-o.asked // it asks again, because it did not take the answer
	if files, _ := filepath.Glob(filepath.Join(cfg.Dir, "log", "witnessed", "*")); len(files) > 0 {
		t.Errorf("%v were kept", files)
	}
	for name, bad := range map[string]ledger.WitnessConfig{
		"no URL": {URL: "witness", PublicKey: o.public}, "no key": {URL: o.server.URL, PublicKey: "w+00+AA"},
		"a key of another kind": {URL: o.server.URL, PublicKey: strings.Replace(o.public, "+", "+00", 1)},
	} {
		broken := ledger.Config{Dir: t.TempDir(), Witnesses: []ledger.WitnessConfig{bad}}
		if err := broken.Check(); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
