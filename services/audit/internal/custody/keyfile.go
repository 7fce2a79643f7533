package custody

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ids"
	"headgate.dev/libs/wholefile"
)

const (
	keyBytes = 32
	// lookup is the line of the key that subjects are found by; all others are keys that subjects' keys are wrapped with.
	lookup = "lookup"
)

// ring is what the key file holds: a key to find subjects by, which stays, and the keys that wrap, the last of which is in use. It never leaves the process.
type ring struct {
	lookup []byte
	names  []string
	wraps  map[string]cipher.AEAD
	raw    map[string][]byte
}

// openRing reads the key file, or makes it where nothing was wrapped yet.
func openRing(path string, fresh bool) (*ring, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist) && fresh:
		return makeRing(path)
	case err != nil:
		return nil, fault.Invalid("The key %s, which wraps the keys of sealed records, cannot be read. Restore it from where it is kept: without it no sealed record can be opened.", path).Because(err)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fault.Invalid("The key %s, which wraps the keys of sealed records, can be read by others (%04o). Run chmod 600 on it, and then headgate audit key rotate --sealing.", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Invalid("The key %s cannot be read.", path).Because(err)
	}
	r := &ring{wraps: map[string]cipher.AEAD{}, raw: map[string][]byte{}}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		key, err := hex.DecodeString(value)
		if err != nil || len(key) != keyBytes || name == "" {
			return nil, fault.Invalid("The key file %s has a line that is no key. Restore it from where it is kept.", path) // the cause could show some of it
		}
		if err := r.take(name, key); err != nil {
			return nil, err
		}
	}
	if r.lookup == nil || len(r.names) == 0 {
		return nil, fault.Invalid("The key file %s is not whole. Restore it from where it is kept.", path)
	}
	return r, nil
}

func makeRing(path string) (*ring, error) {
	r := &ring{wraps: map[string]cipher.AEAD{}, raw: map[string][]byte{}}
	for _, name := range []string{lookup, ids.New()} {
		if err := r.add(name); err != nil {
			return nil, err
		}
	}
	return r, r.write(path)
}

func (r *ring) add(name string) error {
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	return r.take(name, key)
}

func (r *ring) take(name string, key []byte) error {
	if name == lookup {
		r.lookup = key
		return nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	wrap, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return err
	}
	r.names, r.wraps[name], r.raw[name] = append(r.names, name), wrap, key
	return nil
}

// clone is a ring with the same keys, to be changed.
func (r *ring) clone() *ring {
	return &ring{lookup: r.lookup, names: slices.Clone(r.names), wraps: maps.Clone(r.wraps), raw: maps.Clone(r.raw)}
}

// newest is the ring with its last key alone.
func (r *ring) newest() *ring {
	last := r.current()
	return &ring{lookup: r.lookup, names: []string{last}, wraps: map[string]cipher.AEAD{last: r.wraps[last]}, raw: map[string][]byte{last: r.raw[last]}}
}

func (r *ring) current() string { return r.names[len(r.names)-1] }

// write replaces the file in one step.
func (r *ring) write(path string) error {
	var text bytes.Buffer
	_, _ = fmt.Fprintf(&text, "%s %x\n", lookup, r.lookup)
	for _, name := range r.names {
		_, _ = fmt.Fprintf(&text, "%s %x\n", name, r.raw[name])
	}
	return wholefile.Replace(path, text.Bytes(), 0o600)
}

// subject is what a subject is found by: who has the database alone cannot tell whose a key is.
func (r *ring) subject(tenant, kind, name string) string {
	mac := hmac.New(sha256.New, r.lookup)
	for _, part := range []string{tenant, kind, name} {
		_, _ = fmt.Fprintf(mac, "%d:%s", len(part), part) // a hash never fails
	}
	return hex.EncodeToString(mac.Sum(nil))
}

func (r *ring) wrap(id, tenant string, private []byte) (wrapped, by string) {
	by = r.current()
	return base64.StdEncoding.EncodeToString(r.wraps[by].Seal(nil, nil, private, []byte(tenant+"\x00"+id))), by
}

func (r *ring) unwrap(id, tenant, wrapped, by string) ([]byte, error) {
	box, err := base64.StdEncoding.DecodeString(wrapped)
	wrap := r.wraps[by]
	if err != nil || wrap == nil {
		return nil, fmt.Errorf("key %s of a subject is wrapped by %s, which the key file does not have", id, by)
	}
	private, err := wrap.Open(nil, nil, box, []byte(tenant+"\x00"+id))
	if err != nil {
		return nil, fmt.Errorf("key %s of a subject does not open: it was changed or moved", id)
	}
	return private, nil
}
