// Package secret holds values that must never be printed: every way of formatting one gives "[redacted]".
package secret

import "log/slog"

const redacted = "[redacted]"

// String is a secret text. Only Reveal gives it away.
type String struct{ value string }

// New wraps a secret.
func New(value string) String { return String{value: value} }

// Reveal returns the secret itself.
func (s String) Reveal() string { return s.value }

// Empty reports whether there is no secret.
func (s String) Empty() bool { return s.value == "" }

// String implements fmt.Stringer.
func (s String) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (s String) GoString() string { return redacted }

// LogValue implements slog.LogValuer.
func (s String) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, which JSON and YAML use.
func (s String) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes the secret from a configuration file.
func (s *String) UnmarshalText(text []byte) error {
	s.value = string(text)
	return nil
}
