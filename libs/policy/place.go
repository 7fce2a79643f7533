package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// places are where a pointer with * leads in a document, the last first, so that taking one out moves none of the others.
func places(doc []byte, tokens []string) ([][]string, error) {
	star := slices.Index(tokens, every)
	if star < 0 {
		return [][]string{tokens}, nil
	}
	at, _, err := locate(doc, tokens[:star])
	if err != nil || !at.found {
		return nil, err
	}
	names, err := within(doc[at.start:at.end])
	if err != nil {
		return nil, err
	}
	var all [][]string
	for _, name := range slices.Backward(names) {
		more, err := places(doc, slices.Concat(tokens[:star], []string{name}, tokens[star+1:]))
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

// errNoMembers says that * stands where nothing has members or elements.
var errNoMembers = errors.New("there is a value that is neither an object nor a list where * stands")

// within are the tokens of the members of an object or the elements of an array; a member that is called * cannot be told from all of them.
func within(value jsontext.Value) ([]string, error) {
	var names []string
	switch value.Kind() {
	case '[':
		var elements []json.RawMessage
		if err := json.Unmarshal(value, &elements); err != nil {
			return nil, broken(err)
		}
		for i := range elements {
			names = append(names, strconv.Itoa(i))
		}
	case '{':
		var members map[string]json.RawMessage
		if err := json.Unmarshal(value, &members); err != nil {
			return nil, broken(err)
		}
		names = slices.Sorted(maps.Keys(members))
		if slices.Contains(names, every) {
			return nil, fmt.Errorf("a member is called %s, which stands for all of them", every)
		}
	case 'n':
	default:
		return nil, errNoMembers
	}
	return names, nil
}
