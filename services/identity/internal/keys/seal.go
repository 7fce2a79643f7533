package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"headgate.dev/libs/fault"
)

const keyBytes = 32

// Seal encrypts private keys with the key of a file, AES-256-GCM, each bound to its name.
type Seal struct{ aead cipher.AEAD }

// OpenSeal reads the key file. It is made, with mode 0600, when it is not there and create says so.
func OpenSeal(path string, create bool) (*Seal, error) {
	content, err := readKeyFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		content, err = makeKeyFile(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Invalid("keyFile: %s is not there, but the database has signing keys that it sealed. Bring the file back.", path).Because(err)
	}
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(content))
	if err != nil || len(key) != keyBytes {
		return nil, fault.Invalid("keyFile: %s does not hold %d bytes in base64", path, keyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("using the key file: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("using the key file: %w", err)
	}
	return &Seal{aead: aead}, nil
}

func readKeyFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if open := info.Mode().Perm() & 0o077; open != 0 || !info.Mode().IsRegular() {
		return "", fault.Invalid("keyFile: %s must be a file that only its owner can reach, has mode %04o. Run chmod 600 on it, and consider the key known.",
			path, info.Mode().Perm())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fault.Invalid("keyFile: %s cannot be read", path).Because(err)
	}
	return string(content), nil
}

// makeKeyFile never replaces a file, and the file is durable when it returns.
func makeKeyFile(path string) (string, error) {
	const ownerOnly = 0o700
	if err := os.MkdirAll(filepath.Dir(path), ownerOnly); err != nil {
		return "", fault.Invalid("keyFile: the directory of %s cannot be made", path).Because(err)
	}
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return "", fmt.Errorf("making a key: %w", err)
	}
	content := base64.StdEncoding.EncodeToString(key) + "\n"
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fault.Invalid("keyFile: %s cannot be made", path).Because(err)
	}
	_, err = file.WriteString(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", fault.Invalid("keyFile: %s cannot be written", path).Because(errors.Join(err, os.Remove(path)))
	}
	return content, nil
}

func (s *Seal) close(name string, plain []byte) string {
	return base64.StdEncoding.EncodeToString(s.aead.Seal(nil, nil, plain, []byte("signing-key|"+name)))
}

func (s *Seal) open(name, sealed string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(sealed)
	if err != nil {
		return nil, fmt.Errorf("reading signing key %s: %w", name, err)
	}
	plain, err := s.aead.Open(nil, nil, raw, []byte("signing-key|"+name))
	if err != nil {
		return nil, fault.Invalid("keyFile: it does not open signing key %s. It is the key file of another database, or the row was changed.", name).Because(err)
	}
	return plain, nil
}
