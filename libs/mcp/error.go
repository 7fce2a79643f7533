package mcp

import (
	"encoding/json"
	"fmt"
	"net/http"

	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Codes of JSON-RPC and of MCP 2026-07-28, basic/index, "Error Codes".
const (
	CodeParse              = -32700
	CodeInvalidRequest     = -32600
	CodeMethodNotFound     = -32601
	CodeInvalidParams      = -32602
	CodeInternal           = -32603
	CodeHeaderMismatch     = -32020
	CodeMissingCapability  = -32021
	CodeUnsupportedVersion = -32022
)

// Error is a refusal in the protocol's own terms, with the HTTP status that goes with it and the reason for the record.
type Error struct {
	Code       int
	Message    string
	Data       any
	HTTPStatus int
	Reason     faultv1.Reason
	// ID is the request's id when it could be read though the message was refused.
	ID json.RawMessage
}

// Error is the message alone.
func (e *Error) Error() string { return e.Message }

// Reply is the error as a message to the client.
func (e *Error) Reply(id json.RawMessage) []byte {
	if id == nil {
		id = e.ID
	}
	return ErrorReply(id, e.Code, e.Message, e.Data)
}

func tooLarge(format string, args ...any) *Error {
	return &Error{
		Code: CodeInvalidRequest, Message: fmt.Sprintf(format, args...),
		HTTPStatus: http.StatusRequestEntityTooLarge, Reason: faultv1.Reason_REASON_TOO_LARGE,
	}
}

func unparsable(format string, args ...any) *Error {
	return &Error{Code: CodeParse, Message: fmt.Sprintf(format, args...), HTTPStatus: http.StatusBadRequest, Reason: faultv1.Reason_REASON_PARSE}
}

func malformed(format string, args ...any) *Error {
	return &Error{Code: CodeInvalidRequest, Message: fmt.Sprintf(format, args...), HTTPStatus: http.StatusBadRequest, Reason: faultv1.Reason_REASON_PARSE}
}

func badParams(format string, args ...any) *Error {
	return &Error{Code: CodeInvalidParams, Message: fmt.Sprintf(format, args...), HTTPStatus: http.StatusBadRequest, Reason: faultv1.Reason_REASON_PARSE}
}

func mismatch(format string, args ...any) *Error {
	return &Error{
		Code: CodeHeaderMismatch, Message: fmt.Sprintf(format, args...),
		HTTPStatus: http.StatusBadRequest, Reason: faultv1.Reason_REASON_HEADER_MISMATCH,
	}
}

func unsupported(requested string) *Error {
	return &Error{
		Code: CodeUnsupportedVersion, Message: "Unsupported protocol version. Use one of those in data.supported.",
		Data:       map[string]any{"supported": Supported(), "requested": clip(requested, 64)},
		HTTPStatus: http.StatusBadRequest, Reason: faultv1.Reason_REASON_PROTOCOL_VERSION,
	}
}

// clip keeps what a client wrote short and printable before it is said back.
func clip(s string, n int) string {
	out := make([]rune, 0, min(n, len(s)))
	for _, r := range s {
		if len(out) == n {
			break
		}
		if r < 0x20 || r > 0x7e {
			r = '?'
		}
		out = append(out, r)
	}
	return string(out)
}
