package openfga

import (
	"maps"
	"slices"
	"strings"

	sdk "github.com/openfga/go-sdk"

	"headgate.dev/libs/fault"
)

// Knows refuses a relation that the model does not have: OpenFGA would answer with an error that helps nobody.
func (s *Store) Knows(object, relation string) error {
	kind, _, _ := strings.Cut(object, ":")
	at := slices.IndexFunc(s.types, func(t sdk.TypeDefinition) bool { return t.Type == kind })
	if at < 0 {
		names := make([]string, len(s.types))
		for i, t := range s.types {
			names[i] = t.Type
		}
		return fault.Invalid("The relations know no objects of type %.60q; there are %s.", kind, strings.Join(slices.Sorted(slices.Values(names)), ", "))
	}
	known := s.types[at].GetRelations()
	if _, ok := known[relation]; !ok {
		return fault.Invalid("The relations know no %.60q of a %s; there are %s.", relation, kind, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	return nil
}
