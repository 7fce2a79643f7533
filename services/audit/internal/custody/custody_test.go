package custody_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/sealed"
	"headgate.dev/libs/sqlstore"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/custody"
)

func open(t *testing.T, cfg custody.Config) *custody.Custody {
	t.Helper()
	c, err := custody.Open(t.Context(), cfg, clock.System)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// freely lets every erasure be.
func freely(*sqlstore.Tx) error { return nil }

// seal closes a document for a subject of acme as an edge does.
func seal(t *testing.T, c *custody.Custody, kind, name, document string) (sealed.Binding, []byte) {
	t.Helper()
	key, err := c.Key(t.Context(), "acme", kind, name)
	if err != nil {
		t.Fatal(err)
	}
	public, err := sealed.ParsePublic(key.Public)
	if err != nil {
		t.Fatal(err)
	}
	b := sealed.Binding{Tenant: "acme", Key: key.ID, Call: "c1", Part: sealed.Arguments}
	box, err := public.Seal(b, []byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return b, box
}

func TestEachSubjectHasOneKeyWhoeverAsksFirst(t *testing.T) {
	c := open(t, custody.Config{}.Within(t.TempDir()))
	var wg sync.WaitGroup
	ids := make([]string, 20)
	for i := range ids {
		wg.Go(func() {
			key, err := c.Key(context.Background(), "acme", "patient", "P-1")
			if err != nil {
				t.Error(err)
			}
			ids[i] = key.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("one subject has the keys %v", ids)
		}
	}
	for _, other := range [][3]string{{"globex", "patient", "P-1"}, {"acme", "person", "P-1"}, {"acme", "patient", "P-2"}} {
		if key, err := c.Key(t.Context(), other[0], other[1], other[2]); err != nil || key.ID == ids[0] {
			t.Errorf("%v has the key of another subject (%v)", other, err)
		}
	}
}

func TestWhatWasErasedOpensNeverAgainAndLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	cfg := custody.Config{}.Within(dir)
	c := open(t, cfg)
	b, box := seal(t, c, "patient", "P-1", "secret")
	other, otherBox := seal(t, c, "patient", "P-2", "kept")
	if text, err := c.Open(t.Context(), b, box); err != nil || string(text) != "secret" {
		t.Fatalf("%q, %v", text, err)
	}
	stolen := b
	stolen.Tenant = "globex"
	if _, err := c.Open(t.Context(), stolen, box); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("another tenant: %v", err)
	}
	before := content(t, dir)
	gone, err := c.Erase(t.Context(), "acme", "patient", "P-1", freely)
	if err != nil || len(gone) != 1 || gone[0] != b.Key {
		t.Fatalf("erased %v, %v", gone, err)
	}
	if _, err := c.Open(t.Context(), b, box); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) || !strings.Contains(err.Error(), "erased") {
		t.Errorf("%v", err)
	}
	if again, err := c.Erase(t.Context(), "acme", "patient", "P-1", freely); err != nil || len(again) != 0 {
		t.Errorf("erased again: %v, %v", again, err)
	}
	if text, err := c.Open(t.Context(), other, otherBox); err != nil || string(text) != "kept" {
		t.Errorf("another subject: %q, %v", text, err)
	}
	if fresh, _ := seal(t, c, "patient", "P-1", "later"); fresh.Key == b.Key {
		t.Error("the erased key came back")
	}
	wrapped := wrappedOf(before, b.Key)
	if len(wrapped) < 40 {
		t.Fatalf("the test does not find the key in the file: %q", wrapped)
	}
	if bytes.Contains(content(t, dir), wrapped) {
		t.Error("the erased key is still in the files")
	}
}

// wrappedOf is what stands behind the last base64 of a row: the wrapped key, which follows the public one.
func wrappedOf(all []byte, id string) []byte {
	at := bytes.Index(all, []byte(id+"acme"))
	if at < 0 {
		return nil
	}
	row := all[at+len(id)+4+64+44:] // id, tenant, subject in hex, public key in base64
	return row[:60]
}

func content(t *testing.T, dir string) []byte {
	t.Helper()
	var all []byte
	for _, name := range []string{"custody.db", "custody.db-wal"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	return all
}

func TestANewWrappingKeyOpensEverythingAndTheOldOneNothing(t *testing.T) {
	cfg := custody.Config{}.Within(t.TempDir())
	c := open(t, cfg)
	b, box := seal(t, c, "person", "ana", "x")
	old, err := os.ReadFile(cfg.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Rotate(t.Context()); err != nil || n != 1 {
		t.Fatalf("%d keys were wrapped anew, %v", n, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	if text, err := again.Open(t.Context(), b, box); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}
	if gone, err := again.Erase(t.Context(), "acme", "person", "ana", freely); err != nil || len(gone) != 1 {
		t.Errorf("the subject is not found any more: %v, %v", gone, err)
	}
	other, otherBox := seal(t, again, "person", "bob", "y")
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.KeyFile, old, 0o600); err != nil {
		t.Fatal(err)
	}
	stale := open(t, cfg)
	if _, err := stale.Open(t.Context(), other, otherBox); err == nil {
		t.Error("the old wrapping key opens what was wrapped after it was dropped")
	}
}

func TestACrashWhileKeysAreWrappedAnewIsFinished(t *testing.T) {
	cfg := custody.Config{}.Within(t.TempDir())
	c := open(t, cfg)
	b, box := seal(t, c, "person", "ana", "x")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cfg.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	// As a rotation leaves it that was cut short behind its first step: the new key stands, nothing is wrapped with it yet.
	if err := os.WriteFile(cfg.KeyFile, append(text, []byte("next "+strings.Repeat("5a", 32)+"\n")...), 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	if opened, err := again.Open(t.Context(), b, box); err != nil || string(opened) != "x" {
		t.Errorf("%q, %v", opened, err)
	}
	if left, err := os.ReadFile(cfg.KeyFile); err != nil || strings.Count(string(left), "\n") != 2 || !strings.Contains(string(left), "next ") {
		t.Errorf("the old key stays: %d lines, %v", strings.Count(string(left), "\n"), err)
	}
}

func TestACustodyWithoutItsKeyDoesNotOpen(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"gone":       os.Remove,
		"for others": func(path string) error { return os.Chmod(path, 0o644) },
		"not a key":  func(path string) error { return os.WriteFile(path, []byte("lookup 12\n"), 0o600) },
		"without its last": func(path string) error {
			return os.WriteFile(path, []byte("lookup "+strings.Repeat("5a", 32)+"\n"), 0o600)
		},
	} {
		cfg := custody.Config{}.Within(t.TempDir())
		c := open(t, cfg)
		seal(t, c, "person", "ana", "x")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(cfg.KeyFile); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the key file has mode %v, %v", info.Mode(), err)
		}
		if err := spoil(cfg.KeyFile); err != nil {
			t.Fatal(err)
		}
		if _, err := custody.Open(t.Context(), cfg, clock.System); err == nil || strings.Contains(err.Error(), strings.Repeat("5a", 32)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
