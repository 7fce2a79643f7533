// Package ids makes names for things that happen: sortable by time, unguessable enough to be unique, never a secret.
package ids

import "github.com/google/uuid"

// New returns a UUID of version 7. It panics only when the system has no randomness.
func New() string { return uuid.Must(uuid.NewV7()).String() }

// Prefixed is New with a word in front that says what it names, as "dec_0197...".
func Prefixed(prefix string) string { return prefix + "_" + New() }
