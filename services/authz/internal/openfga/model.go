package openfga

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"reflect"

	sdk "github.com/openfga/go-sdk"
	"github.com/openfga/language/pkg/go/transformer"
)

// The model as code. deployments/openfga carries the same file for those who run a server of their own; a test compares them.
//
//go:embed model.fga
var modelDSL string

// condition is the model's only one: the tuple brings until, the question brings current_time.
const (
	condition      = "active"
	conditionUntil = "until"
	contextNow     = "current_time"
)

// model is the authorization model in the form that is written to a store.
func model() (sdk.WriteAuthorizationModelRequest, error) {
	var req sdk.WriteAuthorizationModelRequest
	text, err := transformer.TransformDSLToJSON(modelDSL)
	if err != nil {
		return req, fmt.Errorf("openfga: the built-in model does not parse: %w", err)
	}
	if err := json.Unmarshal([]byte(text), &req); err != nil {
		return req, fmt.Errorf("openfga: the built-in model has no JSON form: %w", err)
	}
	return req, nil
}

// sameModel reports whether a model of a store says what the built-in one says. Both are compared as documents, because the server leaves
// out what is empty.
func sameModel(stored *sdk.AuthorizationModel, want sdk.WriteAuthorizationModelRequest) (bool, error) {
	if stored == nil {
		return false, nil
	}
	have, err := document(sdk.WriteAuthorizationModelRequest{
		SchemaVersion: stored.SchemaVersion, TypeDefinitions: stored.TypeDefinitions, Conditions: stored.Conditions,
	})
	if err != nil {
		return false, err
	}
	wanted, err := document(want)
	if err != nil {
		return false, err
	}
	return reflect.DeepEqual(have, wanted), nil
}

func document(req sdk.WriteAuthorizationModelRequest) (any, error) {
	text, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("openfga: write the model as JSON: %w", err)
	}
	var doc any
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("openfga: read the model as JSON: %w", err)
	}
	return prune(doc), nil
}

// prune takes out null, "" and empty objects and arrays, except the empty object that stands for "this".
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			value = prune(value)
			if key != "this" && empty(value) {
				delete(v, key)
				continue
			}
			v[key] = value
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
	}
	return v
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}
