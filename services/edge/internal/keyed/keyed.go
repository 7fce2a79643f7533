// Package keyed makes fingerprints that only this deployment can make: of arguments and results for the record, and of session ids.
// A keyed hash of a small value cannot be guessed by hashing all candidates.
package keyed

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"os"
	"strings"
	"sync"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
)

const keyBytes = 32

// Keys hashes with one key per tenant, derived from the deployment's. Safe for concurrent use.
type Keys struct {
	root    []byte
	tenants sync.Map // tenant → *sync.Pool of hash.Hash
	seals   sync.Map // purpose → cipher.AEAD
}

// New takes the deployment's key, 64 hexadecimal digits. All edges of a deployment have the same.
func New(key secret.String) (*Keys, error) {
	root, err := hex.DecodeString(strings.TrimSpace(key.Reveal()))
	if err != nil || len(root) != keyBytes {
		return nil, fault.Invalid("The edge's key is not 64 hexadecimal digits. Make one with: openssl rand -hex 32")
	}
	return &Keys{root: root}, nil
}

// Read reads the key from a file that others cannot read.
func Read(file string) (secret.String, error) {
	info, err := os.Stat(file)
	if err != nil {
		return secret.String{}, fault.Invalid("The edge's key file %s cannot be read. Make it with: openssl rand -hex 32 > %s && chmod 600 %s",
			file, file, file).Because(err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return secret.String{}, fault.Invalid("The edge's key file %s can be read by others. Run: chmod 600 %s", file, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return secret.String{}, fault.Invalid("The edge's key file %s cannot be read.", file).Because(err)
	}
	return secret.New(string(text)), nil
}

// Sum is HMAC-SHA-256 in hex, keyed for the tenant.
func (k *Keys) Sum(tenant string, document []byte) string {
	pool := k.pool(tenant)
	mac, ok := pool.Get().(hash.Hash)
	if !ok {
		return ""
	}
	mac.Reset()
	_, _ = mac.Write(document) // a hash never fails
	var sum [sha256.Size]byte
	var out [2 * sha256.Size]byte
	hex.Encode(out[:], mac.Sum(sum[:0]))
	pool.Put(mac)
	return string(out[:])
}

// Mac is HMAC-SHA-256 under a key of its own for one purpose.
func (k *Keys) Mac(purpose string, parts ...string) []byte {
	mac := hmac.New(sha256.New, k.derive("purpose", purpose))
	for _, part := range parts {
		_, _ = mac.Write([]byte(part))
		_, _ = mac.Write([]byte{0})
	}
	return mac.Sum(nil)
}

func (k *Keys) pool(tenant string) *sync.Pool {
	if pool, ok := k.tenants.Load(tenant); ok {
		if pool, ok := pool.(*sync.Pool); ok {
			return pool
		}
	}
	key := k.derive("tenant", tenant)
	pool := &sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}
	k.tenants.Store(tenant, pool)
	return pool
}

func (k *Keys) derive(kind, name string) []byte {
	mac := hmac.New(sha256.New, k.root)
	_, _ = mac.Write([]byte("headgate/edge/" + kind + "/" + name))
	return mac.Sum(nil)
}
