package rpc

import (
	"errors"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// strictJSON is the JSON of people and scripts. Unlike connect's own it refuses an unknown field: a misspelt one would otherwise be a request
// for something else.
type strictJSON struct{ name string }

var errNotProto = errors.New("the message is not a protobuf message")

// Name implements connect.Codec.
func (c strictJSON) Name() string { return c.name }

// IsBinary says that the output is text, for Connect's GET requests.
func (c strictJSON) IsBinary() bool { return false }

// Marshal implements connect.Codec.
func (c strictJSON) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, errNotProto
	}
	return protojson.Marshal(m)
}

// MarshalStable is Marshal: protojson writes fields in order.
func (c strictJSON) MarshalStable(message any) ([]byte, error) { return c.Marshal(message) }

// Unmarshal implements connect.Codec.
func (c strictJSON) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return errNotProto
	}
	if len(data) == 0 {
		return errors.New("zero-length payload is not a valid JSON object")
	}
	return protojson.UnmarshalOptions{}.Unmarshal(data, m)
}
