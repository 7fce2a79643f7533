// Package mcp reads and writes Model Context Protocol messages as the bytes that they are: strict JSON-RPC, the two sets of HTTP headers,
// Server-Sent Events and tool definitions. Nothing passes through typed structs, so nothing that this package does not know gets lost,
// and policy and upstream see the same bytes.
package mcp

// The released revisions of the protocol. The first is of the modern era: each request carries its own metadata. The others begin with initialize.
const (
	V20260728 = "2026-07-28"
	V20251125 = "2025-11-25"
	V20250618 = "2025-06-18"
	V20250326 = "2025-03-26"
	V20241105 = "2024-11-05"
)

// Methods that the gateway knows by name.
const (
	MethodInitialize   = "initialize"
	MethodInitialized  = "notifications/initialized"
	MethodCancelled    = "notifications/cancelled"
	MethodPing         = "ping"
	MethodDiscover     = "server/discover"
	MethodToolsList    = "tools/list"
	MethodToolsCall    = "tools/call"
	MethodPromptsGet   = "prompts/get"
	MethodResourceRead = "resources/read"
)

// Keys of params._meta.
const (
	MetaProtocolVersion = "io.modelcontextprotocol/protocolVersion"
	MetaClientInfo      = "io.modelcontextprotocol/clientInfo"
	MetaCapabilities    = "io.modelcontextprotocol/clientCapabilities"
	MetaLogLevel        = "io.modelcontextprotocol/logLevel"
	MetaServerInfo      = "io.modelcontextprotocol/serverInfo"
	MetaTraceParent     = "traceparent"
	MetaTraceState      = "tracestate"
	MetaBaggage         = "baggage"
	MetaProgressToken   = "progressToken"
	// MetaOwn is what Headgate's own keys begin with. Nobody else may write such a key.
	MetaOwn = "io.headgate/"
	// MetaDecision is Headgate's own key: why a call was refused or changed.
	MetaDecision = "io.headgate/decision"
	// MetaPurpose is Headgate's own key, for clients to write: what a request is for.
	MetaPurpose = "io.headgate/purpose"
	// MetaUnavailable is Headgate's own key: servers that a list leaves out because they do not answer.
	MetaUnavailable = "io.headgate/unavailable"
)

// Names of the HTTP headers of the protocol.
const (
	HeaderProtocolVersion = "Mcp-Protocol-Version"
	HeaderMethod          = "Mcp-Method"
	HeaderName            = "Mcp-Name"
	HeaderParamPrefix     = "Mcp-Param-"
	HeaderSessionID       = "Mcp-Session-Id"
)

// Header gives all values of one header field, whatever the case of its name. Adapters wrap the HTTP library in use.
type Header interface {
	Values(name string) []string
}

// Limits bound what is read. Zero means the default of that field.
type Limits struct {
	Bytes  int // of one message
	Depth  int // of nested objects and arrays
	ID     int // bytes of a request id
	Method int // bytes of a method
	Name   int // bytes of a tool name, prompt name or resource URI
}

// DefaultLimits are the limits of a message from a client: 4 MiB, depth 64.
func DefaultLimits() Limits {
	return Limits{Bytes: 4 << 20, Depth: 64, ID: 256, Method: 128, Name: 2048}
}

// ReplyLimits are the limits of a message from a server: 8 MiB, depth 128.
func ReplyLimits() Limits {
	return Limits{Bytes: 8 << 20, Depth: 128, ID: 256, Method: 128, Name: 2048}
}

// or fills each zero field from another set of limits.
func (l Limits) or(d Limits) Limits {
	for _, f := range [...]struct{ have, want *int }{
		{&l.Bytes, &d.Bytes}, {&l.Depth, &d.Depth}, {&l.ID, &d.ID}, {&l.Method, &d.Method}, {&l.Name, &d.Name},
	} {
		if *f.have <= 0 {
			*f.have = *f.want
		}
	}
	return l
}

// Supported lists the revisions that are spoken at the front, newest first.
func Supported() []string {
	return []string{V20260728, V20251125, V20250618, V20250326}
}

// Modern reports whether a revision is of the era of per-request metadata.
func Modern(version string) bool { return version == V20260728 }

// Legacy reports whether a revision is one of those that begin with initialize and are spoken at the front.
func Legacy(version string) bool {
	return version == V20251125 || version == V20250618 || version == V20250326
}

// Negotiate answers the revision of an initialize: what the client asks for if it is spoken, else the newest that begins with initialize.
func Negotiate(requested string) string {
	if Legacy(requested) {
		return requested
	}
	return V20251125
}
