package mcp

import (
	"encoding/json"
	"slices"
)

// Methods that a gateway relays, and what is said about them.
const (
	MethodToolsListChanged     = "notifications/tools/list_changed"
	MethodPromptsListChanged   = "notifications/prompts/list_changed"
	MethodResourcesListChanged = "notifications/resources/list_changed"
	MethodResourceUpdated      = "notifications/resources/updated"
	MethodProgress             = "notifications/progress"
	MethodLog                  = "notifications/message"
	MethodRootsListChanged     = "notifications/roots/list_changed"
	MethodTasks                = "notifications/tasks"
	MethodElicitationComplete  = "notifications/elicitation/complete"
	MethodAcknowledged         = "notifications/subscriptions/acknowledged"

	MethodPromptsList       = "prompts/list"
	MethodResourcesList     = "resources/list"
	MethodTemplatesList     = "resources/templates/list"
	MethodSubscribe         = "resources/subscribe"
	MethodUnsubscribe       = "resources/unsubscribe"
	MethodComplete          = "completion/complete"
	MethodSetLevel          = "logging/setLevel"
	MethodListen            = "subscriptions/listen"
	MethodElicit            = "elicitation/create"
	MethodSample            = "sampling/createMessage"
	MethodRoots             = "roots/list"
	MethodTaskGet           = "tasks/get"
	MethodTaskUpdate        = "tasks/update"
	MethodTaskCancel        = "tasks/cancel"
	MethodTaskResult        = "tasks/result"                         // of 2025-11-25
	MethodTaskStatus        = "notifications/tasks/status"           // of 2025-11-25
	MetaRelatedTask         = "io.modelcontextprotocol/related-task" // of 2025-11-25
	MetaSubscription        = "io.modelcontextprotocol/subscriptionId"
	ResultComplete          = "complete"
	ResultInputRequired     = "input_required"
	ResultTask              = "task"
	MemberInputResponses    = "inputResponses"
	MemberRequestState      = "requestState"
	CodeResourceNotFound    = -32002 // of the revisions before 2026-07-28
	CodeElicitationRequired = -32042 // of 2025-11-25
)

// relayed are the capabilities of a client that a gateway can relay: it carries each of their requests to the client and back. Extensions are those of
// them in extensions, which clients and servers of the revisions before 2026-07-28 have as well: their tasks are in another place.
var (
	relayed          = []string{"elicitation", "sampling", "roots"}
	extended         = []string{"elicitation", "sampling", "roots", "extensions"}
	legacyExtensions = []string{ExtensionUI}
	modernExtensions = []string{ExtensionTasks, ExtensionUI}
)

// Extensions. That of tasks is of 2026-07-28.
const (
	ExtensionTasks = "io.modelcontextprotocol/tasks"
	ExtensionUI    = "io.modelcontextprotocol/ui"
)

// Everything is what a look at a server's tools offers, so that it shows those too that it has for capable clients only.
const Everything = `{"elicitation":{"form":{},"url":{}},"sampling":{},"roots":{},"extensions":{"io.modelcontextprotocol/ui":{"mimeTypes":["text/html;profile=mcp-app"]}}}`

// Offer answers which of a client's capabilities, a JSON object or nil, a server of the revisions before 2026-07-28 may be offered: those that are
// relayed, byte for byte. Nil is none.
func Offer(capabilities json.RawMessage) json.RawMessage {
	return offer(capabilities, legacyExtensions)
}

// OfferModern is Offer for a server of 2026-07-28.
func OfferModern(capabilities json.RawMessage) json.RawMessage {
	return offer(capabilities, modernExtensions)
}

func offer(capabilities json.RawMessage, extensions []string) json.RawMessage {
	all := Get(capabilities, "extensions")
	if all == nil {
		return only(capabilities, relayed)
	}
	some := only(all, extensions)
	if some == nil {
		return only(capabilities, relayed)
	}
	if len(some) != len(all) {
		changed, err := Set(capabilities, some, "extensions")
		if err != nil {
			return only(capabilities, relayed)
		}
		capabilities = changed
	}
	return only(capabilities, extended)
}

// only answers the members of an object that have one of these names and are objects; nil when there are none.
func only(capabilities json.RawMessage, names []string) json.RawMessage {
	if capabilities == nil || empty(capabilities) {
		return nil
	}
	c := cursor{b: capabilities}
	if !c.open('{') {
		return nil
	}
	out, all := []byte{'{'}, true
	for name, ok := c.name(); ok; name, ok = c.name() {
		value := c.value()
		if !slices.Contains(names, string(name)) || kind(value) != '{' {
			all = false
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(append(out, quote(string(name))...), ':'), value...)
	}
	switch {
	case len(out) == 1:
		return nil
	case all:
		return capabilities
	}
	return append(out, '}')
}

// Params rewrites the params of a client's request, a strict JSON object or nil, for a server of this speaker's revision: the metadata of the era is
// set or taken away. Every other byte stays.
func (s Speaker) Params(params json.RawMessage) (json.RawMessage, error) {
	if !Modern(s.Version) {
		return withoutEra(params), nil
	}
	if params == nil {
		return slices.Concat([]byte(`{"_meta":`), s.meta(), []byte{'}'}), nil
	}
	meta := Get(params, "_meta")
	if meta == nil {
		return Set(params, s.meta(), "_meta")
	}
	changed := meta
	for _, set := range [...]struct {
		key   string
		value json.RawMessage
		keep  bool
	}{{MetaProtocolVersion, quote(s.Version), false}, {MetaCapabilities, s.capabilities(), false}, {MetaClientInfo, s.info(), true}} {
		if have := Get(changed, set.key); have != nil && (set.keep || string(have) == string(set.value)) {
			continue
		}
		var err error
		if changed, err = Set(changed, set.value, set.key); err != nil {
			return nil, err
		}
	}
	if string(changed) == string(meta) {
		return params, nil
	}
	return Set(params, changed, "_meta")
}

// withoutEra takes away what only 2026-07-28 has: its metadata, and what its clients bring when they make a request again.
func withoutEra(params json.RawMessage) json.RawMessage {
	for _, name := range [...]string{MemberInputResponses, MemberRequestState} {
		params = Delete(params, name)
	}
	meta := Get(params, "_meta")
	if meta == nil {
		return params
	}
	rest := meta
	for _, name := range [...]string{MetaProtocolVersion, MetaCapabilities, MetaClientInfo, MetaLogLevel} {
		rest = Delete(rest, name)
	}
	if len(rest) == len(meta) {
		return params
	}
	if empty(rest) {
		return Delete(params, "_meta")
	}
	out, err := Set(params, rest, "_meta")
	if err != nil {
		return Delete(params, "_meta") // what cannot be put back in order is left out
	}
	return out
}

// LogLevel answers the rank of a level of the log: the higher, the less is said. False for what is no level.
func LogLevel(name string) (rank int, known bool) {
	rank = slices.Index([]string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}, name)
	return rank, rank >= 0
}

// NewRequest writes a request around params that are a strict JSON object, or nil.
func NewRequest(id json.RawMessage, method string, params json.RawMessage) []byte {
	out := make([]byte, 0, 64+len(method)+len(params))
	out = append(append(append(out, `{"jsonrpc":"2.0","id":`...), id...), `,"method":`...)
	out = append(out, quote(method)...)
	if params != nil {
		out = append(append(out, `,"params":`...), params...)
	}
	return append(out, '}')
}

// Notice writes a notification around params that are a strict JSON object, or nil.
func Notice(method string, params json.RawMessage) []byte {
	out := append(make([]byte, 0, 48+len(method)+len(params)), `{"jsonrpc":"2.0","method":`...)
	out = append(out, quote(method)...)
	if params != nil {
		out = append(append(out, `,"params":`...), params...)
	}
	return append(out, '}')
}

// Quote answers text as a JSON string.
func Quote(text string) []byte { return quote(text) }
