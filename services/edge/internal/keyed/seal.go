package keyed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"strings"
)

// Seal encloses a text that a client carries and cannot read, change or hand on: it opens only for the same purpose and the same bound parts.
// What comes out has the characters of a URL.
func (k *Keys) Seal(purpose, text string, bound ...string) string {
	aead, err := k.aead(purpose)
	if err != nil {
		return ""
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(text)+aead.Overhead())
	_, _ = rand.Read(nonce) // it never fails: crypto/rand ends the process instead
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, []byte(text), parts(bound)))
}

// Open answers a sealed text; false when it is not one of these keys, of this purpose and of these parts.
func (k *Keys) Open(purpose, sealed string, bound ...string) (string, bool) {
	aead, err := k.aead(purpose)
	if err != nil {
		return "", false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil || len(raw) < aead.NonceSize() {
		return "", false
	}
	text, err := aead.Open(nil, raw[:aead.NonceSize()], raw[aead.NonceSize():], parts(bound))
	return string(text), err == nil
}

// aead makes the cipher of a purpose once.
func (k *Keys) aead(purpose string) (cipher.AEAD, error) {
	if known, ok := k.seals.Load(purpose); ok {
		if aead, ok := known.(cipher.AEAD); ok {
			return aead, nil
		}
	}
	block, err := aes.NewCipher(k.derive("seal", purpose))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	k.seals.Store(purpose, aead)
	return aead, nil
}

// parts keeps the borders between texts: none of them holds a zero byte, which the directory's names and OAuth's client ids cannot.
func parts(bound []string) []byte { return []byte(strings.Join(bound, "\x00")) }
