package mcp

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
)

// Reply is one strict message from a server: a response, or a notification or request of its own. Its raw fields are parts of the body.
type Reply struct {
	Kind   Kind
	ID     json.RawMessage // nil of a notification, and of an error that names no request
	Result json.RawMessage // an object, or nil
	Error  json.RawMessage // an object, or nil

	ErrorCode    int
	ErrorMessage string

	Method string // of a notification or request
	Params json.RawMessage

	Raw []byte
}

// ReadReply reads one strict message from a server. A refusal is an *Error.
func ReadReply(body []byte, lim Limits) (*Reply, error) {
	lim = lim.or(ReplyLimits())
	if err := strict(body, lim); err != nil {
		return nil, err
	}
	var f fields
	if err := f.read(body); err != nil {
		return nil, err
	}
	r := &Reply{Raw: body, Params: f.params, Result: f.result, Error: f.err}
	if err := r.judge(&f, lim); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Reply) judge(f *fields, lim Limits) *Error {
	if string(unquote(f.version)) != "2.0" {
		return malformed(`The message does not say "jsonrpc": "2.0".`)
	}
	// An error about a request whose id could not be read has none, or null.
	if f.id != nil && (f.err == nil || kind(f.id) != 'n') {
		if err := checkID(f.id, lim); err != nil {
			return err
		}
		r.ID = f.id
	}
	if f.method != nil {
		return r.own(f, lim)
	}
	switch {
	case (f.result == nil) == (f.err == nil):
		return malformed("The message has not exactly one of result and error.")
	case f.params != nil:
		return malformed("A response has no params.")
	case f.result != nil && r.ID == nil:
		return malformed("The response does not say which request it answers.")
	case wrong(f.result, '{'):
		return malformed("The result is not an object.")
	}
	r.Kind = Response
	if f.err != nil {
		return r.failure()
	}
	return nil
}

// own judges a notification or request that the server sends by itself.
func (r *Reply) own(f *fields, lim Limits) *Error {
	method := unquote(f.method)
	switch {
	case len(method) == 0 || len(method) > lim.Method:
		return malformed("The method is not a non-empty string of at most %d bytes.", lim.Method)
	case f.result != nil || f.err != nil:
		return malformed("The message is a request and a response at once.")
	case wrong(f.params, '{'):
		return malformed("The params are not an object.")
	}
	r.Kind, r.Method = Request, string(method)
	if r.ID == nil {
		r.Kind = Notification
	}
	return nil
}

func (r *Reply) failure() *Error {
	code, err := strconv.Atoi(string(Get(r.Error, "code")))
	message, ok := Text(r.Error, "message")
	if err != nil || !ok {
		return malformed("The error has no integer code or no message.")
	}
	r.ErrorCode, r.ErrorMessage = code, message
	return nil
}

// SameID reports whether two raw ids are the same id, however their strings are escaped.
func SameID(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return len(a) > 0
	}
	return kind(a) == '"' && kind(b) == '"' && bytes.Equal(unquote(a), unquote(b))
}

// Result is the message that answers a request.
func Result(id, result json.RawMessage) []byte {
	return slices.Concat([]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"result":`), result, []byte(`}`))
}

// ResultHead is Result without the result and the brace behind it.
func ResultHead(id json.RawMessage) []byte {
	return slices.Concat([]byte(`{"jsonrpc":"2.0","id":`), id, []byte(`,"result":`))
}

// ErrorReply is the message that refuses a request. Without an id it has no member id: MCP allows that and does not allow null.
func ErrorReply(id json.RawMessage, code int, message string, data any) []byte {
	out := append(make([]byte, 0, 128+len(id)+len(message)), `{"jsonrpc":"2.0",`...)
	if id != nil {
		out = append(append(append(out, `"id":`...), id...), ',')
	}
	out = strconv.AppendInt(append(out, `"error":{"code":`...), int64(code), 10)
	out = append(append(out, `,"message":`...), quote(message)...)
	if data != nil {
		// What cannot be written as JSON is left out: the refusal itself must reach the caller.
		if raw, err := json.Marshal(data); err == nil {
			out = append(append(out, `,"data":`...), raw...)
		}
	}
	return append(out, `}}`...)
}
