// Package seal keeps secrets unreadable at rest with an envelope: a key-encryption key in a file wraps one data key for each tenant,
// and a data key seals each secret together with what it belongs to, so that moved ciphertext does not open.
package seal

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Binding is what a sealed secret belongs to. It is not stored in the ciphertext: whoever opens must know it.
type Binding struct {
	Tenant   string
	Provider string // where the credential comes from, as "managed"
	Subject  string // whose it is, as "organisation" or a person's name
	Record   string
	Version  int64
}

// associated is tenant|provider|subject|record|version. No part may hold the separator, so that two bindings never give the same bytes.
func (b Binding) associated() ([]byte, error) {
	parts := []string{b.Tenant, b.Provider, b.Subject, b.Record}
	for _, part := range parts {
		if part == "" || strings.Contains(part, "|") {
			return nil, fmt.Errorf("seal: %q cannot be part of a binding", part)
		}
	}
	return []byte(strings.Join(parts, "|") + "|" + strconv.FormatInt(b.Version, 10)), nil
}

// Key is the key-encryption key. It touches data keys only, never a secret. Safe for concurrent use.
type Key struct{ wrap tink.AEAD }

// NewDataKey makes a data key for one tenant and returns it wrapped: AES-256-GCM, openable only by this Key and for this tenant.
func (k *Key) NewDataKey(tenant string) ([]byte, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("seal: make a data key: %w", err)
	}
	var wrapped bytes.Buffer
	if err := handle.WriteWithAssociatedData(keyset.NewBinaryWriter(&wrapped), k.wrap, wrapping(tenant)); err != nil {
		return nil, fmt.Errorf("seal: wrap a data key: %w", err)
	}
	return wrapped.Bytes(), nil
}

// Unwrap opens a data key that NewDataKey wrapped for this tenant.
func (k *Key) Unwrap(tenant string, wrapped []byte) (*DataKey, error) {
	handle, err := keyset.ReadWithAssociatedData(keyset.NewBinaryReader(bytes.NewReader(wrapped)), k.wrap, wrapping(tenant))
	if err != nil {
		return nil, fmt.Errorf("seal: the data key of tenant %s does not open with this key file: %w", tenant, err)
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("seal: the data key of tenant %s is not an AEAD key: %w", tenant, err)
	}
	return &DataKey{tenant: tenant, aead: primitive}, nil
}

func wrapping(tenant string) []byte { return []byte("headgate data key|" + tenant) }

// DataKey seals the secrets of one tenant. Safe for concurrent use.
type DataKey struct {
	tenant string
	aead   tink.AEAD
}

// Seal encrypts plain for its binding.
func (d *DataKey) Seal(b Binding, plain []byte) ([]byte, error) {
	associated, err := d.check(b)
	if err != nil {
		return nil, err
	}
	sealed, err := d.aead.Encrypt(plain, associated)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed, nil
}

// Open decrypts what Seal made for exactly this binding; anything else is an error.
func (d *DataKey) Open(b Binding, sealed []byte) ([]byte, error) {
	associated, err := d.check(b)
	if err != nil {
		return nil, err
	}
	plain, err := d.aead.Decrypt(sealed, associated)
	if err != nil {
		return nil, fmt.Errorf("seal: %s of tenant %s does not open: it was changed, moved or sealed with another key: %w", b.Record, b.Tenant, err)
	}
	return plain, nil
}

func (d *DataKey) check(b Binding) ([]byte, error) {
	if b.Tenant != d.tenant {
		return nil, fmt.Errorf("seal: the data key of tenant %s is not for tenant %s", d.tenant, b.Tenant)
	}
	return b.associated()
}
