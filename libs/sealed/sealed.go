// Package sealed closes documents for the record so that only the holder of a subject's private key reads them: who seals needs the public key and keeps
// nothing with which it could be opened again. It is HPKE (RFC 9180) with X25519, HKDF-SHA-256 and AES-256-GCM.
package sealed

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/binary"
	"errors"
	"fmt"
)

// label keeps what is sealed here apart from whatever else the same key could be used for.
const label = "headgate record v1"

// KeyBytes is how long a public and a private key are.
const KeyBytes = 32

// Part is which of a call's documents it is.
type Part string

// The documents of a call.
const (
	Arguments Part = "arguments"
	Result    Part = "result"
)

// Binding is what a sealed document belongs to. It is not in the box: one that was moved to another record does not open.
type Binding struct {
	Tenant, Key, Call string
	Part              Part
}

// info is each part with its length before it, so that no two bindings give the same bytes.
func (b Binding) info() []byte {
	var out []byte
	for _, part := range []string{label, b.Tenant, b.Key, b.Call, string(b.Part)} {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(part))), part...)
	}
	return out
}

// NewKey makes a pair of keys.
func NewKey() (private, public []byte, err error) {
	key, err := hpke.DHKEM(ecdh.X25519()).GenerateKey()
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	private, err = key.Bytes()
	return private, key.PublicKey().Bytes(), err
}

// Public is a key to seal with. Safe for concurrent use.
type Public struct{ key hpke.PublicKey }

// ParsePublic reads a public key.
func ParsePublic(public []byte) (Public, error) {
	key, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(public)
	if err != nil {
		return Public{}, fmt.Errorf("%d bytes that should be a public key are none: %w", len(public), err)
	}
	return Public{key}, nil
}

// Seal closes a document.
func (p Public) Seal(b Binding, document []byte) ([]byte, error) {
	if p.key == nil {
		return nil, errors.New("there is no key to seal with")
	}
	return hpke.Seal(p.key, hpke.HKDFSHA256(), hpke.AES256GCM(), b.info(), document)
}

// Open reads what was sealed for that key and that binding.
func Open(private []byte, b Binding, box []byte) ([]byte, error) {
	key, err := hpke.DHKEM(ecdh.X25519()).NewPrivateKey(private)
	if err != nil {
		return nil, errors.New("the private key is none") // the cause could show some of it
	}
	document, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), b.info(), box)
	if err != nil {
		return nil, errors.New("the box does not open: it was changed, or belongs to another record")
	}
	return document, nil
}
