package keep

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"headgate.dev/libs/policy"
	"headgate.dev/libs/policy/textclass"
	"headgate.dev/libs/secret/shapes"
)

const (
	// aSecret stands in the place of what is a secret by its name or its form.
	aSecret = "[redacted:secret]"
	// nested is how deep JSON within texts of JSON is looked into.
	nested = 3
)

// secretNames end the names of members whose values are secrets, in lower case and without what joins words.
func secretNames() []string {
	return []string{
		"password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey", "secretkey", "authorization", "credential", "credentials", "cookie",
		"sessionid", "clientsecret", "connectionstring",
	}
}

// scrubber takes secrets, and texts of some classes of data, out of JSON.
type scrubber struct {
	names   []string
	shapes  *shapes.Shapes
	classes []string
	// pointers are what is left out of JSON within texts, and hit is told which of them led to something.
	pointers []string
	hit      func(pointer string)
}

// document answers the JSON without them.
func (s scrubber) document(doc []byte, depth int) ([]byte, error) {
	var out bytes.Buffer
	in, to := jsontext.NewDecoder(bytes.NewReader(doc)), jsontext.NewEncoder(&out)
	member := ""
	for {
		within, n := in.StackIndex(in.StackDepth())
		isName := within == jsontext.KindBeginObject && n%2 == 0 && in.PeekKind() == jsontext.KindString
		switch {
		case isName:
			token, err := in.ReadToken()
			if err != nil {
				return nil, err
			}
			member = token.String()
			if err := to.WriteToken(jsontext.String(member)); err != nil {
				return nil, err
			}
		default:
			if err := s.next(in, to, within == jsontext.KindBeginObject && n%2 == 1 && s.secretName(member), depth); err != nil {
				return nil, err
			}
		}
		if in.StackDepth() == 0 {
			return bytes.TrimSpace(out.Bytes()), nil
		}
	}
}

// next carries one token or value over.
func (s scrubber) next(in *jsontext.Decoder, to *jsontext.Encoder, secret bool, depth int) error {
	kind := in.PeekKind()
	switch {
	case secret && kind != jsontext.KindNull:
		if err := in.SkipValue(); err != nil {
			return err
		}
		return to.WriteToken(jsontext.String(aSecret))
	case kind == jsontext.KindString:
		token, err := in.ReadToken()
		if err != nil {
			return err
		}
		return to.WriteToken(jsontext.String(s.text(token.String(), depth)))
	case kind == jsontext.KindNumber:
		value, err := in.ReadValue() // with every digit as it was written
		if err != nil {
			return err
		}
		return to.WriteValue(s.number(value))
	default:
		token, err := in.ReadToken()
		if err != nil {
			return err
		}
		return to.WriteToken(token)
	}
}

// text is a text without what may not be kept. One that is JSON itself is looked into, and so are objects of JSON that stand in it.
func (s scrubber) text(text string, depth int) string {
	if trimmed := strings.TrimSpace(text); depth < nested && len(trimmed) > 1 && (trimmed[0] == '{' || trimmed[0] == '[') && jsontext.Value(trimmed).IsValid() {
		within, err := s.inside([]byte(trimmed), depth)
		if err != nil { // the pointers cannot be carried out, so nothing of it is kept
			return aSecret
		}
		return within
	}
	text = s.pairs(s.shapes.Redact(text, aSecret), depth)
	if class := s.class(text); class != "" {
		return "[redacted:" + class + "]"
	}
	return text
}

// inside is JSON that stands in a text, without what may not be kept.
func (s scrubber) inside(doc []byte, depth int) (string, error) {
	if len(s.pointers) > 0 {
		out, taken, err := policy.RedactResult(doc, s.pointers)
		if err != nil {
			return "", err
		}
		for _, pointer := range taken.Hit {
			s.hit(pointer)
		}
		doc = out
	}
	out, err := s.document(doc, depth+1)
	return string(out), err
}

// number is a number, or a text in its place where it is one of a person's.
func (s scrubber) number(value jsontext.Value) jsontext.Value {
	if class := s.class(string(value)); class != "" {
		return jsontext.Value(`"[redacted:` + class + `]"`)
	}
	return value
}

func (s scrubber) class(text string) string {
	if len(s.classes) == 0 {
		return ""
	}
	if len(text) > textclass.MaxBytes {
		return "unread" // too long to be looked at, so it may hold anything
	}
	for _, found := range textclass.Find(text) {
		if slices.Contains(s.classes, found) {
			return found
		}
	}
	return ""
}

func (s scrubber) secretName(name string) bool {
	plain := strings.Map(func(r rune) rune {
		if strings.ContainsRune("_-. ", r) {
			return -1
		}
		return r
	}, strings.ToLower(name))
	return slices.ContainsFunc(s.names, func(end string) bool { return strings.HasSuffix(plain, end) })
}

func unquote(value []byte) (string, bool) {
	text, err := jsontext.AppendUnquote(nil, value)
	return string(text), err == nil
}
