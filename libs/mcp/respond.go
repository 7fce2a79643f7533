package mcp

import (
	"encoding/json"
	"slices"
)

// ErrorResult is the message that answers a request with an error as it came, a raw object.
func ErrorResult(id, failure json.RawMessage) []byte {
	return slices.Concat([]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"error":`), failure, []byte(`}`))
}

// Subscribed answers which subscription a notice of 2026-07-28 belongs to, as the raw id of the request that opened it; nil when it does not say.
func Subscribed(params json.RawMessage) json.RawMessage {
	return Get(params, "_meta", MetaSubscription)
}

// WithoutSubscription answers a notice without the id of its subscription. Every other byte stays.
func WithoutSubscription(notice []byte) []byte {
	out := Delete(notice, "params", "_meta", MetaSubscription)
	if len(out) == len(notice) {
		return notice
	}
	if empty(Get(out, "params", "_meta")) {
		return Delete(out, "params", "_meta")
	}
	return out
}
