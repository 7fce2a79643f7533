// Package ids makes names for things that happen: sortable by time, unguessable enough to be unique, never a secret.
package ids

import (
	"crypto/rand"
	"sync"

	"github.com/google/uuid"
)

// New returns a UUID of version 7. It panics only when the system has no randomness.
func New() string { return uuid.Must(uuid.NewV7()).String() }

// Prefixed is New with a word in front that says what it names, as "dec_0197...".
func Prefixed(prefix string) string { return prefix + "_" + New() }

// Source makes ids as New does and takes the system's randomness in larger pieces, for who makes many. The zero value is ready. Safe for concurrent use.
type Source struct{ pool sync.Pool }

// New returns a UUID of version 7. It panics only when the system has no randomness.
func (s *Source) New() string {
	some, ok := s.pool.Get().(*spare)
	if !ok {
		some = &spare{}
	}
	id := uuid.Must(uuid.NewV7FromReader(some))
	s.pool.Put(some)
	return id.String()
}

// spare is randomness that was read ahead. Each byte is given away once and is gone from here.
type spare struct {
	bytes [1024]byte
	left  int
}

// Read implements io.Reader.
func (s *spare) Read(into []byte) (int, error) {
	if s.left < len(into) {
		if len(into) > len(s.bytes) {
			return rand.Read(into)
		}
		if _, err := rand.Read(s.bytes[:]); err != nil {
			return 0, err
		}
		s.left = len(s.bytes)
	}
	from := s.bytes[s.left-len(into) : s.left]
	copy(into, from)
	clear(from)
	s.left -= len(into)
	return len(into), nil
}
