package mcp

import (
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"
)

// Era answers which revision a message is written in, and whether that is one of per-request metadata. Initialize is always of the other era and
// is answered with another version rather than an error (2025-11-25, basic/lifecycle); a request that names no version is of 2025-03-26.
func Era(m *Message, h Header) (version string, modern bool, err error) {
	said, fault := single(h, HeaderProtocolVersion)
	if fault != nil {
		return "", false, fault
	}
	if m.Method == MethodInitialize && !m.metaHolds && !Modern(said) {
		return Negotiate(m.ProtocolVersion), false, nil
	}
	if Modern(said) || Modern(m.metaVersion()) {
		return V20260728, true, nil
	}
	if v := m.metaVersion(); v != "" && !Legacy(v) {
		return "", false, unsupported(v)
	}
	switch {
	case said == "" && m.metaHolds:
		return m.ProtocolVersion, false, nil
	case said == "":
		return V20250326, false, nil
	case !Legacy(said):
		return "", false, unsupported(said)
	}
	return said, false, nil
}

// metaVersion is the version that _meta names; of initialize, ProtocolVersion is from elsewhere.
func (m *Message) metaVersion() string {
	if !m.metaHolds {
		return ""
	}
	return m.ProtocolVersion
}

// CheckHeaders holds a request of 2026-07-28 to its headers (basic/transports/streamable-http, "Server Validation"): each that is due is there
// once and says what the body says, and the metadata that is required is in the body. A refusal is an *Error.
func CheckHeaders(m *Message, h Header) error {
	if err := checkHeaders(m, h); err != nil {
		err.ID = m.ID
		return err
	}
	return nil
}

func checkHeaders(m *Message, h Header) *Error {
	said, fault := single(h, HeaderProtocolVersion)
	if fault != nil {
		return fault
	}
	if m.Kind == Response {
		return malformed("Revision %s has no responses from clients.", V20260728)
	}
	if m.metaVersion() == "" && m.Kind == Request {
		return badParams("params._meta lacks %s.", MetaProtocolVersion)
	}
	switch {
	case said == "":
		return mismatch("The header %s is missing.", HeaderProtocolVersion)
	case m.metaHolds && said != m.ProtocolVersion:
		return mismatch("The header %s says %q, the body says %q.", HeaderProtocolVersion, clip(said, 32), clip(m.ProtocolVersion, 32))
	case m.ClientCapabilities == nil && m.Kind == Request:
		return badParams("params._meta lacks %s.", MetaCapabilities)
	}
	method, fault := single(h, HeaderMethod)
	switch {
	case fault != nil:
		return fault
	case method == "" && m.Kind == Request:
		return mismatch("The header %s is missing.", HeaderMethod)
	case method != "" && method != m.Method:
		return m.otherMethod(method)
	}
	return m.checkName(h)
}

func (m *Message) otherMethod(said string) *Error {
	return mismatch("The header %s says %q, the body says %q.", HeaderMethod, clip(said, 64), clip(m.Method, 64))
}

// CheckNamed holds a message of the revisions before 2026-07-28, which do not need them, to the headers that say what it is: where they are, they say what
// the body says. Whoever stands in front may go by them. A refusal is an *Error.
func CheckNamed(m *Message, h Header) error {
	err := func() *Error {
		method, fault := single(h, HeaderMethod)
		switch {
		case fault != nil:
			return fault
		case method != "" && method != m.Method:
			return m.otherMethod(method)
		case len(h.Values(HeaderName)) > 0:
			return m.checkName(h)
		}
		return nil
	}()
	if err != nil {
		err.ID = m.ID
		return err
	}
	return nil
}

func (m *Message) checkName(h Header) *Error {
	want, due := m.Name, m.Name != ""
	switch m.Method {
	case MethodTaskGet, MethodTaskUpdate, MethodTaskCancel:
		want, due = m.taskID, m.taskID != ""
	}
	values := h.Values(HeaderName)
	if len(values) > 1 {
		return mismatch("The header %s is there %d times.", HeaderName, len(values))
	}
	if len(values) == 0 {
		if due {
			return mismatch("The header %s is missing.", HeaderName)
		}
		return nil
	}
	said, ok := DecodeHeader(values[0])
	switch {
	case !ok:
		return mismatch("The header %s is not plain ASCII text and not the Base64 form of UTF-8 text.", HeaderName)
	case said != want:
		return mismatch("The header %s says %q, the body says %q.", HeaderName, clip(said, 128), clip(want, 128))
	}
	return nil
}

// single answers the one value of a header, "" without one. More than one is refused: which of them counts depends on the reader.
func single(h Header, name string) (string, *Error) {
	values := h.Values(name)
	switch len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", mismatch("The header %s is there %d times.", name, len(values))
}

// The form of header values that plain ASCII cannot carry (2026-07-28, streamable-http, "Value Encoding").
const (
	sentinelPrefix = "=?base64?"
	sentinelSuffix = "?="
)

// EncodeHeader answers a header value for any text: itself where it is plain ASCII without tabs and without blanks at its ends, else the Base64 form.
func EncodeHeader(text string) string {
	if plain(text) && !sentinel(text) && !strings.Contains(text, "\t") && strings.TrimSpace(text) == text {
		return text
	}
	return sentinelPrefix + base64.StdEncoding.EncodeToString([]byte(text)) + sentinelSuffix
}

// DecodeHeader answers the text of a header value; false for bytes that no header may hold, Base64 that is not canonical and text that is not UTF-8.
func DecodeHeader(value string) (string, bool) {
	if !plain(value) {
		return "", false
	}
	if !sentinel(value) {
		return value, true
	}
	inner := value[len(sentinelPrefix) : len(value)-len(sentinelSuffix)]
	// Strict refuses stray bits, and a length test the line breaks that the decoder would skip: one text has one form.
	text, err := base64.StdEncoding.Strict().DecodeString(inner)
	if err != nil || base64.StdEncoding.EncodedLen(len(text)) != len(inner) || !utf8.Valid(text) {
		return "", false
	}
	return string(text), true
}

func sentinel(s string) bool {
	return len(s) >= len(sentinelPrefix)+len(sentinelSuffix) && strings.HasPrefix(s, sentinelPrefix) && strings.HasSuffix(s, sentinelSuffix)
}

func plain(s string) bool {
	for i := range len(s) {
		if (s[i] < 0x20 && s[i] != '\t') || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// Headers are those of net/http as a Header.
type Headers http.Header

// Values implements Header.
func (h Headers) Values(name string) []string { return http.Header(h).Values(name) }
