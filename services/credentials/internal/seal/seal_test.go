package seal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/services/credentials/internal/seal"
)

const plain = "sk-live-0123456789"

func dataKey(t *testing.T, key *seal.Key, tenant string) *seal.DataKey {
	t.Helper()
	wrapped, err := key.NewDataKey(tenant)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := key.Unwrap(tenant, wrapped)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func newKey(t *testing.T) *seal.Key {
	t.Helper()
	key, err := seal.CreateKey(filepath.Join(t.TempDir(), "keys", "kek.json"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestASealedSecretOpensOnlyForItsBinding(t *testing.T) {
	own := seal.Binding{Tenant: "acme", Provider: "managed", Subject: "organisation", Record: "connection/crm", Version: 3}
	data := dataKey(t, newKey(t), "acme")
	sealed, err := data.Seal(own, []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte(plain)) {
		t.Fatal("the ciphertext shows the secret")
	}
	if opened, err := data.Open(own, sealed); err != nil || string(opened) != plain {
		t.Fatalf("the own binding does not open it: %q, %v", opened, err)
	}
	for name, change := range map[string]func(*seal.Binding){
		"another tenant":   func(b *seal.Binding) { b.Tenant = "rival" },
		"another provider": func(b *seal.Binding) { b.Provider = "github" },
		"another subject":  func(b *seal.Binding) { b.Subject = "ana" },
		"another record":   func(b *seal.Binding) { b.Record = "connection/erp" },
		"an older version": func(b *seal.Binding) { b.Version = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			moved := own
			change(&moved)
			if opened, err := data.Open(moved, sealed); err == nil {
				t.Errorf("it opened as %q", opened)
			} else if strings.Contains(err.Error(), plain) {
				t.Error("the error shows the secret")
			}
		})
	}
}

func TestABindingCannotBeReadTwoWays(t *testing.T) {
	data := dataKey(t, newKey(t), "acme")
	for _, b := range []seal.Binding{
		{Tenant: "acme", Provider: "a|b", Subject: "c", Record: "d"},
		{Tenant: "acme", Provider: "a", Subject: "", Record: "d"},
	} {
		if _, err := data.Seal(b, []byte(plain)); err == nil {
			t.Errorf("%+v was accepted", b)
		}
	}
}

func TestEveryFlippedByteIsRefused(t *testing.T) {
	own := seal.Binding{Tenant: "acme", Provider: "managed", Subject: "organisation", Record: "connection/crm", Version: 1}
	data := dataKey(t, newKey(t), "acme")
	sealed, err := data.Seal(own, []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		broken := bytes.Clone(sealed)
		broken[i] ^= 1
		if _, err := data.Open(own, broken); err == nil {
			t.Errorf("byte %d flipped, and it opened", i)
		}
	}
}

func TestADataKeyMovedToAnotherTenantIsRefused(t *testing.T) {
	key := newKey(t)
	wrapped, err := key.NewDataKey("acme")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.Unwrap("rival", wrapped); err == nil {
		t.Error("acme's data key opened for rival")
	}
	if _, err := newKey(t).Unwrap("acme", wrapped); err == nil {
		t.Error("another key file opened acme's data key")
	}
}

func TestTheKeyFileIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek.json")
	if _, err := seal.LoadKey(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a missing file: %v", err)
	}
	created, err := seal.CreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the file has mode %v, %v", info.Mode(), err)
	}
	if _, err := seal.CreateKey(path); !errors.Is(err, os.ErrExist) {
		t.Fatalf("a second creation: %v", err)
	}
	wrapped, err := created.NewDataKey("acme")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := seal.LoadKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loaded.Unwrap("acme", wrapped); err != nil {
		t.Fatalf("the loaded key is another: %v", err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o602, 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.LoadKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

func TestWhatIsNoKeyIsRefusedWithoutBeingPrinted(t *testing.T) {
	for name, content := range map[string]string{
		"empty":       "",
		"other JSON":  `{"a":"do-not-print"}`,
		"a passphase": "do-not-print",
		"too large":   strings.Repeat("x", 100<<10),
	} {
		path := filepath.Join(t.TempDir(), "kek.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := seal.LoadKey(path); err == nil {
			t.Errorf("%s was taken as a key", name)
		} else if strings.Contains(err.Error(), "do-not-print") {
			t.Errorf("%s: the error prints the file", name)
		}
	}
}
