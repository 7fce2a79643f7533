package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// maxKeyFile bounds what is read: a keyset of a few keys is far smaller.
const maxKeyFile = 64 << 10

// LoadKey reads the key-encryption key. It returns an error that is os.ErrNotExist when there is no file, and refuses a file that anyone but
// its owner can read or write.
func LoadKey(path string) (*Key, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("seal: open the key file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("seal: look at the key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("seal: the key file %s is not a regular file", path)
	}
	if open := info.Mode().Perm() & 0o077; open != 0 {
		return nil, fmt.Errorf("seal: the key file %s has mode %04o, so others than its owner can reach it. Run chmod 600 on it, and consider the key known",
			path, info.Mode().Perm())
	}
	content, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("seal: read the key file: %w", err)
	}
	if len(content) > maxKeyFile {
		return nil, fmt.Errorf("seal: the key file %s is larger than %d bytes: that is no key", path, maxKeyFile)
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(content)))
	if err != nil {
		return nil, fmt.Errorf("seal: the key file %s does not hold a Tink keyset in JSON", path)
	}
	return keyOf(handle)
}

// CreateKey makes a new key-encryption key and writes it with mode 0600. It never replaces a file.
func CreateKey(path string) (*Key, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("seal: make a key: %w", err)
	}
	var content bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&content)); err != nil {
		return nil, fmt.Errorf("seal: encode the key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("seal: make the key file's directory: %w", err)
	}
	if err := writeNew(path, content.Bytes()); err != nil {
		return nil, fmt.Errorf("seal: write the key file: %w", err)
	}
	return keyOf(handle)
}

// writeNew is durable when it returns nil: a key that is lost with the power takes every secret with it.
func writeNew(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func keyOf(handle *keyset.Handle) (*Key, error) {
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("seal: the key file's key is not an AEAD key: %w", err)
	}
	return &Key{wrap: primitive}, nil
}
