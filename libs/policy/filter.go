package policy

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"headgate.dev/libs/policy/sqltext"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// compileFilter makes the change of a statement that lets it see only some rows of a table.
func compileFilter(f *authzv1.SqlFilter) (func([]byte) ([]byte, error), error) {
	if err := sqltext.CheckFilter(f.GetTable(), f.GetSource(), f.GetWhere()); err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	return func(old []byte) ([]byte, error) {
		if jsontext.Value(old).Kind() != '"' {
			return nil, errors.New("filter needs a text with one SELECT")
		}
		plain, err := jsontext.AppendUnquote(nil, old)
		if err != nil {
			return nil, fmt.Errorf("filter: %w", err)
		}
		filtered, err := sqltext.Filter(string(plain), f.GetTable(), f.GetSource(), f.GetWhere(), f.GetOthers())
		if err != nil {
			return nil, err
		}
		if filtered == string(plain) {
			return old, nil
		}
		return jsontext.AppendQuote(nil, filtered)
	}, nil
}
