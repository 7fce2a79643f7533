package custody_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/sealed"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/audit/internal/custody"
)

func TestAllSpellingsOfASubjectAreErasedAtOnce(t *testing.T) {
	c := open(t, custody.Config{}.Within(t.TempDir()))
	type copied struct {
		b   sealed.Binding
		box []byte
	}
	var all []copied
	for _, name := range []string{"17", "17.0", " 17"} {
		b, box := seal(t, c, "patient", name, "secret")
		all = append(all, copied{b, box})
	}
	if gone, err := c.Erase(t.Context(), "acme", "patient", "1.7e1", freely); err != nil || len(gone) != 1 {
		t.Fatalf("erased %v, %v", gone, err)
	}
	for _, one := range all {
		if text, err := c.Open(t.Context(), one.b, one.box); err == nil {
			t.Errorf("still opens: %q", text)
		}
	}
	b, _ := seal(t, c, "person", "Ana@X", "x")
	if other, _ := seal(t, c, "person", "ana@x", "x"); other.Key != b.Key {
		t.Error("the case of a name makes another subject")
	}
}

// TestKeysAreMadeAndUsedWhileAllAreWrappedAnew goes on sealing and opening while the key file shows that a rotation is in its midst.
func TestKeysAreMadeAndUsedWhileAllAreWrappedAnew(t *testing.T) {
	cfg := custody.Config{}.Within(t.TempDir())
	c := open(t, cfg)
	first, box := seal(t, c, "patient", "P-first", "x")
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 300 {
				if _, err := c.Key(context.Background(), "acme", "patient", fmt.Sprintf("P-%d-%d", worker, i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	midst := func() bool { // three lines: what subjects are found by, the old and the new key
		text, err := os.ReadFile(cfg.KeyFile)
		return err == nil && bytes.Count(text, []byte("\n")) == 3
	}
	done := make(chan error, 1)
	go func() {
		n, err := c.Rotate(context.Background())
		if n < 1201 {
			err = errors.Join(err, fmt.Errorf("only %d keys were wrapped anew", n))
		}
		done <- err
	}()
	made := map[string][]byte{}
	bindings := map[string]sealed.Binding{}
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
			before := midst()
			name := fmt.Sprintf("M-%d", len(made))
			b, sealedBox := seal(t, c, "patient", name, name)
			if text, err := c.Open(t.Context(), first, box); err != nil || string(text) != "x" {
				t.Fatalf("%q, %v", text, err)
			}
			if before && midst() {
				made[name], bindings[name] = sealedBox, b
			}
		}
	}
	if len(made) == 0 {
		t.Fatal("nothing was sealed while the keys were wrapped anew")
	}
	t.Logf("%d keys were made meanwhile", len(made))
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, cfg)
	for name, one := range made {
		if text, err := again.Open(t.Context(), bindings[name], one); err != nil || string(text) != name {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestAnErasedKeyThatIsStillInTheFilesIsSaidToBe(t *testing.T) {
	dir := t.TempDir()
	c := open(t, custody.Config{}.Within(dir))
	b, box := seal(t, c, "patient", "P-1", "secret")
	wrapped := wrappedOf(content(t, dir), b.Key)
	rows, err := c.Database().Query(t.Context(), "SELECT id FROM subject_keys") // somebody reads the state before
	if err != nil || !rows.Next() {
		t.Fatal(err)
	}
	gone, err := c.Erase(t.Context(), "acme", "patient", "P-1", freely)
	if len(gone) != 1 || !fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE) || !strings.Contains(err.Error(), "do the same again") {
		t.Errorf("erased %v, %v", gone, err)
	}
	if _, err := c.Open(t.Context(), b, box); !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		t.Errorf("%v", err)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	if again, err := c.Erase(t.Context(), "acme", "patient", "P-1", freely); err != nil || len(again) != 0 {
		t.Errorf("again: %v, %v", again, err)
	}
	if len(wrapped) < 40 || bytes.Contains(content(t, dir), wrapped) {
		t.Error("the erased key is still in the files")
	}
}

func TestARotationGoesOnWhenNobodyWaitsForIt(t *testing.T) {
	cfg := custody.Config{}.Within(t.TempDir())
	c := open(t, cfg)
	b, box := seal(t, c, "patient", "P-1", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := c.Rotate(ctx); err != nil || n != 1 {
		t.Errorf("%d keys, %v", n, err)
	}
	if text, err := c.Open(t.Context(), b, box); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}
}
