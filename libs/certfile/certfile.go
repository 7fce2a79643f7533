// Package certfile holds what certificates, and other files of an operator, say and reads them again when they change, so that a certificate is renewed without a restart
// and without dropping a connection.
package certfile

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookEvery is how often the files are looked at, at most: when somebody asks for what they hold.
const lookEvery = time.Second

// Held is what some files said when they were last in order together. Safe for concurrent use.
type Held[T any] struct {
	log   *slog.Logger
	read  func() (T, error)
	names []string

	mu     sync.Mutex
	value  T
	at     []os.FileInfo // the files as value was read from them
	looked time.Time
	broken bool
}

// Open reads the files for the first time; that they cannot be read is an error now. Later it is a warning, once, and what was read before stays.
func Open[T any](log *slog.Logger, read func() (T, error), names ...string) (*Held[T], error) {
	h := &Held[T]{log: log, read: read, names: names, looked: time.Now()}
	var err error
	if h.at, err = look(names); err != nil {
		return nil, err
	}
	if h.value, err = read(); err != nil {
		return nil, err
	}
	return h, nil
}

// Pair opens a certificate chain and its private key, both PEM.
func Pair(log *slog.Logger, certificate, key string) (*Held[*tls.Certificate], error) {
	return Open(log, func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, fmt.Errorf("TLS certificate %s with key %s: %w", certificate, key, err)
		}
		return &pair, nil
	}, certificate, key)
}

// Now is what the files hold. Whoever gets it may keep it for one handshake and must not change it.
func (h *Held[T]) Now() T {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.looked) < lookEvery {
		return h.value
	}
	h.looked = time.Now()
	at, err := look(h.names)
	if err == nil && same(at, h.at) {
		h.broken = false
		return h.value
	}
	var fresh T
	if err == nil {
		fresh, err = h.read()
	}
	if err != nil { // perhaps one file of two is written: the next look finds both
		if !h.broken {
			h.log.Warn("changed files cannot be used, so those from before stay in use", "files", h.names, "cause", err)
		}
		h.broken = true
		return h.value
	}
	h.value, h.at, h.broken = fresh, at, false
	h.log.Info("files were read again", "files", h.names)
	return h.value
}

func look(names []string) ([]os.FileInfo, error) {
	infos := make([]os.FileInfo, 0, len(names))
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("files: %w", err)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// same reports whether the files are those of an earlier look, neither replaced nor written to.
func same(a, b []os.FileInfo) bool {
	for i := range a {
		if !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() {
			return false
		}
	}
	return true
}
