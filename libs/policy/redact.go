package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// Redacted stands in the place of what was taken out of a result.
const Redacted = "[redacted:policy]"

const (
	// every member or element, in a pointer of a redaction.
	every = "*"
	// A tool's result has its structured form here, and usually once more as JSON in a text.
	structured  = "structuredContent"
	contentPart = "content"
)

func checkRedactions(r *authzv1.Rule) error {
	paths := slices.Concat(r.GetRedact(), r.GetRedactIfThere())
	switch {
	case r.GetEffect() == Redact && len(paths) == 0:
		return errors.New("the effect redact needs at least one pointer under redact, as /structuredContent/ssn")
	case r.GetEffect() != Redact && len(paths) > 0:
		return fmt.Errorf("redact is given, but the effect is %s; only a rule with effect redact takes something out of a result", r.GetEffect())
	}
	for _, path := range paths {
		tokens, err := parsePointer(path)
		if err != nil {
			return err
		}
		if len(tokens) == 0 {
			return errors.New("redact must name a place in the result, as /structuredContent/ssn")
		}
	}
	return nil
}

// Taken is what a redaction did.
type Taken struct {
	// Hit are the pointers that led to something, which is gone.
	Hit []string
	// Missed are those that led to nothing, wholly or in one of the branches of a *. What they mean may stand at another place of the result.
	Missed []string
}

// RedactResult takes the values at the pointers out of a tool's result, and their echoes out of all of it: a text that is JSON is treated like the
// structured form, and what was taken out is looked for in every text, number and name. An error means that the result must not be shown; nor
// must one be where a pointer that had to lead to something did not.
func RedactResult(result json.RawMessage, paths []string) (json.RawMessage, Taken, error) {
	var taken Taken
	if !jsontext.Value(result).IsValid() {
		return nil, taken, errors.New("the result is not strict JSON")
	}
	r := redaction{doc: bytes.TrimSpace(result), echoes: newEchoes()}
	for _, path := range paths {
		tokens, err := parsePointer(path)
		if err != nil {
			return nil, Taken{}, err
		}
		if len(tokens) == 0 {
			return nil, Taken{}, errors.New("redact must name a place in the result, as /structuredContent/ssn")
		}
		before := r.taken
		if err := r.path(tokens); err != nil {
			return nil, Taken{}, fmt.Errorf("redact %s: %w", path, err)
		}
		if r.taken > before {
			taken.Hit = append(taken.Hit, path)
		}
		if r.missed {
			taken.Missed = append(taken.Missed, path)
		}
	}
	out, err := r.echoes.takeOut(r.doc)
	if err != nil {
		return nil, Taken{}, err
	}
	return out, taken, nil
}

type redaction struct {
	doc    []byte
	taken  int
	missed bool // the pointer at work led to nothing somewhere
	echoes *echoes
}

// path takes out what one pointer leads to. A pointer into the structured form also leads into texts that are JSON; they stand for that form where it
// is missing, and then all that the result shows must be such a text.
func (r *redaction) path(tokens []string) (err error) {
	r.missed = false
	if r.doc, err = r.cut(r.doc, tokens); err != nil || tokens[0] != structured || len(tokens) == 1 {
		return err
	}
	missed := r.missed
	at, _, err := locate(r.doc, tokens[:1])
	if err != nil {
		return err
	}
	if !at.found {
		if missed, err = r.showsMore(); err != nil {
			return err
		}
	}
	r.missed = false
	err = r.texts(func(text string) (string, error) { return r.inText(text, tokens[1:]) })
	r.missed = missed || !at.found && r.missed
	return err
}

// showsMore says whether the content of the result is something else than texts.
func (r *redaction) showsMore() (bool, error) {
	at, _, err := locate(r.doc, []string{contentPart})
	if err != nil || !at.found {
		return true, err
	}
	var items []struct {
		Text     *string
		Resource *struct{ Text *string }
	}
	if json.Unmarshal(r.doc[at.start:at.end], &items) != nil || len(items) == 0 {
		return true, nil
	}
	for _, item := range items {
		if item.Text == nil && (item.Resource == nil || item.Resource.Text == nil) {
			return true, nil
		}
	}
	return false, nil
}

// cut puts Redacted in the place of every value that tokens lead to.
func (r *redaction) cut(doc []byte, tokens []string) ([]byte, error) {
	for i, token := range tokens {
		if token != every {
			continue
		}
		at, _, err := locate(doc, tokens[:i])
		if err != nil || !at.found {
			r.missed = true
			return doc, err
		}
		inner, err := r.each(doc[at.start:at.end], tokens[i+1:])
		if err != nil {
			return nil, err
		}
		return splice(doc, at.start, at.end, inner), nil
	}
	at, _, err := locate(doc, tokens)
	if err != nil || !at.found {
		r.missed = true
		return doc, err
	}
	taken, err := r.take(doc[at.start:at.end])
	if err != nil {
		return nil, err
	}
	return splice(doc, at.start, at.end, taken), nil
}

// take is what stands in the place of a value.
func (r *redaction) take(value []byte) ([]byte, error) {
	const instead = `"` + Redacted + `"`
	if string(value) == instead {
		return value, nil
	}
	r.taken++
	return []byte(instead), r.echoes.remember(value)
}

// each cuts within every member or element of a container.
func (r *redaction) each(doc []byte, rest []string) ([]byte, error) {
	kind := jsontext.Value(doc).Kind()
	if kind != '{' && kind != '[' {
		r.missed = true
		return doc, nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(doc))
	if _, err := dec.ReadToken(); err != nil {
		return nil, broken(err)
	}
	out := []byte{byte(kind)}
	for dec.PeekKind() != '}' && dec.PeekKind() != ']' {
		if len(out) > 1 {
			out = append(out, ',')
		}
		if kind == '{' {
			name, err := dec.ReadValue()
			if err != nil {
				return nil, broken(err)
			}
			out = append(append(out, name...), ':')
		}
		value, err := dec.ReadValue()
		if err != nil {
			return nil, broken(err)
		}
		inner, err := r.within(value, rest)
		if err != nil {
			return nil, err
		}
		out = append(out, inner...)
	}
	return append(out, byte(kind)+2), nil // } and ] come two after { and [
}

// within is cut for a value that may itself be what is meant.
func (r *redaction) within(value []byte, rest []string) ([]byte, error) {
	if len(rest) > 0 {
		return r.cut(value, rest)
	}
	return r.take(value)
}

// texts lets change see every text of the result's content.
func (r *redaction) texts(change func(string) (string, error)) error {
	at, _, err := locate(r.doc, []string{contentPart})
	if err != nil || !at.found || jsontext.Value(r.doc[at.start:at.end]).Kind() != '[' {
		return err
	}
	var items []json.RawMessage
	if err := json.Unmarshal(r.doc[at.start:at.end], &items); err != nil {
		return broken(err)
	}
	any := false
	for i := range items {
		for _, tokens := range [][]string{{"text"}, {"resource", "text"}} {
			item, err := changeText(items[i], tokens, change)
			if err != nil {
				return err
			}
			any = any || len(item) != len(items[i]) || !bytes.Equal(item, items[i])
			items[i] = item
		}
	}
	if any {
		r.doc = splice(r.doc, at.start, at.end, slices.Concat([]byte{'['}, bytes.Join(raw(items), []byte{','}), []byte{']'}))
	}
	return nil
}

func raw(items []json.RawMessage) [][]byte {
	out := make([][]byte, len(items))
	for i, item := range items {
		out[i] = item
	}
	return out
}

func changeText(item []byte, tokens []string, change func(string) (string, error)) ([]byte, error) {
	at, _, err := locate(item, tokens)
	if err != nil || !at.found || jsontext.Value(item[at.start:at.end]).Kind() != '"' {
		return item, err
	}
	old, err := jsontext.AppendUnquote(nil, item[at.start:at.end])
	if err != nil {
		return nil, broken(err)
	}
	changed, err := change(string(old))
	if err != nil || changed == string(old) {
		return item, err
	}
	quoted, err := jsontext.AppendQuote(nil, changed)
	if err != nil {
		return nil, broken(err)
	}
	return splice(item, at.start, at.end, quoted), nil
}

// inText cuts in a text that is JSON.
func (r *redaction) inText(text string, tokens []string) (string, error) {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" || trimmed[0] != '{' && trimmed[0] != '[' || !jsontext.Value(trimmed).IsValid() {
		r.missed = true
		return text, nil
	}
	out, err := r.cut([]byte(trimmed), tokens)
	return string(out), err
}
