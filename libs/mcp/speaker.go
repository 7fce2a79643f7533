package mcp

import (
	"encoding/json"
	"slices"
	"strconv"
)

// Field is one HTTP header.
type Field struct{ Name, Value string }

// Outgoing is one message for a server with the headers of the protocol that go with it. Content-Type, Accept and the session are the sender's.
type Outgoing struct {
	Body    []byte
	Headers []Field
}

// Speaker writes messages to servers in one revision, as one client.
type Speaker struct {
	Version       string // a revision; it decides the era
	ClientName    string
	ClientVersion string
	Capabilities  json.RawMessage // an object; nil means none
}

// NewID answers a request id of the gateway's own.
func NewID(n uint64) json.RawMessage { return strconv.AppendUint(make([]byte, 0, 20), n, 10) }

// Initialize begins a session of the revisions before 2026-07-28.
func (s Speaker) Initialize(id json.RawMessage) Outgoing {
	params := slices.Concat([]byte(`{"protocolVersion":`), quote(s.Version), []byte(`,"capabilities":`), s.capabilities(),
		[]byte(`,"clientInfo":`), s.info(), []byte(`}`))
	return Outgoing{Body: request(id, MethodInitialize, params)}
}

// Initialized ends the handshake.
func (s Speaker) Initialized() Outgoing {
	return Outgoing{Body: []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`), Headers: s.Headers(MethodInitialized, "")}
}

// Cancelled tells a server of the revisions before 2026-07-28 that the answer to a request is not wanted any more.
func (s Speaker) Cancelled(id json.RawMessage) Outgoing {
	body := slices.Concat([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`), id, []byte(`}}`))
	return Outgoing{Body: body, Headers: s.Headers(MethodCancelled, "")}
}

// Discover asks a server of 2026-07-28 what it is.
func (s Speaker) Discover(id json.RawMessage) Outgoing { return s.ask(id, MethodDiscover, "", nil) }

// ListTools asks for one page of tools; nil is the first, and the empty string is a cursor like any other.
func (s Speaker) ListTools(id json.RawMessage, cursor *string) Outgoing {
	var params []byte
	if cursor != nil {
		params = slices.Concat([]byte(`"cursor":`), quote(*cursor))
	}
	return s.ask(id, MethodToolsList, "", params)
}

// Call calls a tool. The arguments are a strict JSON object, or nil.
func (s Speaker) Call(id json.RawMessage, name string, arguments json.RawMessage, more ...Field) Outgoing {
	params := slices.Concat([]byte(`"name":`), quote(name))
	if arguments != nil {
		params = slices.Concat(params, []byte(`,"arguments":`), arguments)
	}
	out := s.ask(id, MethodToolsCall, name, params)
	out.Headers = append(out.Headers, more...)
	return out
}

// Headers are those that this revision wants with a message. Name is of tools/call, prompts/get and resources/read.
func (s Speaker) Headers(method, name string) []Field {
	switch {
	case Modern(s.Version):
		out := append(make([]Field, 0, 3), Field{HeaderProtocolVersion, s.Version}, Field{HeaderMethod, method})
		if name != "" {
			out = append(out, Field{HeaderName, EncodeHeader(name)})
		}
		return out
	case method == MethodInitialize || s.Version == V20250326 || s.Version == V20241105:
		return nil // the header came with 2025-06-18
	}
	return []Field{{HeaderProtocolVersion, s.Version}}
}

// ask writes a request with the members of its params, and the metadata that the era wants.
func (s Speaker) ask(id json.RawMessage, method, name string, members []byte) Outgoing {
	params := slices.Concat([]byte("{"), members)
	if Modern(s.Version) {
		if members != nil {
			params = append(params, ',')
		}
		params = slices.Concat(params, []byte(`"_meta":`), s.meta())
	}
	params = append(params, '}')
	return Outgoing{Body: request(id, method, params), Headers: s.Headers(method, name)}
}

// Adapt rewrites a client's request for a server of this speaker's revision: the metadata of the era is set or taken away, nothing else changes.
func (s Speaker) Adapt(body []byte) ([]byte, error) {
	if !Modern(s.Version) {
		for _, key := range [...]string{MetaProtocolVersion, MetaClientInfo, MetaCapabilities, MetaLogLevel} {
			body = Delete(body, "params", "_meta", key)
		}
		if meta := Get(body, "params", "_meta"); meta != nil && empty(meta) {
			body = Delete(body, "params", "_meta")
		}
		return body, nil
	}
	var err error
	for _, set := range [...]struct {
		key   string
		value json.RawMessage
	}{{MetaProtocolVersion, quote(s.Version)}, {MetaClientInfo, s.info()}, {MetaCapabilities, s.capabilities()}} {
		if body, err = Set(body, set.value, "params", "_meta", set.key); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// AdaptResult rewrites a server's result for a client of the era: 2026-07-28 wants resultType, the others do not know it nor the cache members.
func AdaptResult(result json.RawMessage, modern bool) (json.RawMessage, error) {
	if modern {
		if Get(result, "resultType") != nil {
			return result, nil
		}
		return Set(result, json.RawMessage(`"complete"`), "resultType")
	}
	for _, key := range [...]string{"resultType", "ttlMs", "cacheScope"} {
		result = Delete(result, key)
	}
	return result, nil
}

func (s Speaker) meta() []byte {
	return slices.Concat([]byte(`{"`+MetaProtocolVersion+`":`), quote(s.Version), []byte(`,"`+MetaClientInfo+`":`), s.info(),
		[]byte(`,"`+MetaCapabilities+`":`), s.capabilities(), []byte(`}`))
}

func (s Speaker) info() []byte {
	return slices.Concat([]byte(`{"name":`), quote(s.ClientName), []byte(`,"version":`), quote(s.ClientVersion), []byte(`}`))
}

func (s Speaker) capabilities() []byte {
	if s.Capabilities == nil {
		return []byte("{}")
	}
	return s.Capabilities
}

func request(id json.RawMessage, method string, params []byte) []byte {
	return slices.Concat([]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"method":`), quote(method), []byte(`,"params":`), params, []byte(`}`))
}
