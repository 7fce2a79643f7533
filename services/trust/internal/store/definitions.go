package store

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"

	"headgate.dev/libs/sqlstore"
	"headgate.dev/services/trust/internal/pin"
)

// definition is one definition as it is kept. What a server wrote is bytes, which JSON writes as base64: a name need not be valid text.
type definition struct {
	Name     []byte    `json:"name"`
	Approved *approval `json:"approved,omitempty"`
	Seen     *shown    `json:"seen,omitempty"`
}

type approval struct {
	Hash string `json:"hash"`
	Raw  []byte `json:"raw"`
	By   string `json:"by"`
	At   string `json:"at"`
}

// shown has no bytes when they are those that were approved.
type shown struct {
	Hash    string `json:"hash"`
	Raw     []byte `json:"raw,omitempty"`
	Problem string `json:"problem,omitempty"`
}

func encode(all []pin.Definition) (string, error) {
	out := make([]definition, 0, len(all))
	for _, d := range all {
		kept := definition{Name: []byte(d.Name)}
		if d.Approved != nil {
			kept.Approved = &approval{Hash: d.Approved.Hash, Raw: d.Approved.Raw, By: d.Approved.By, At: moment(d.Approved.At)}
		}
		if d.Seen != nil {
			kept.Seen = &shown{Hash: d.Seen.Hash, Raw: d.Seen.Raw, Problem: d.Seen.Problem}
			if d.Approved != nil && bytes.Equal(d.Seen.Raw, d.Approved.Raw) {
				kept.Seen.Raw = nil
			}
		}
		out = append(out, kept)
	}
	document, err := json.Marshal(out)
	return string(document), err
}

// blob is what a server wrote, in a form that every database keeps to the byte: PostgreSQL's text takes no NUL.
func blob(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return sqlstore.Time(t)
}

// decoder remembers what could not be read.
type decoder struct{ err error }

func (d *decoder) text(encoded string) string {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	d.err = errors.Join(d.err, err)
	return string(raw)
}

func (d *decoder) moment(text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	t, err := sqlstore.ParseTime(text)
	d.err = errors.Join(d.err, err)
	return t
}

func (d *decoder) definitions(document string) []pin.Definition {
	var all []definition
	d.err = errors.Join(d.err, json.Unmarshal([]byte(document), &all))
	var out []pin.Definition
	for _, kept := range all {
		read := pin.Definition{Name: string(kept.Name)}
		if kept.Approved != nil {
			read.Approved = &pin.Approval{Hash: kept.Approved.Hash, Raw: kept.Approved.Raw, By: kept.Approved.By, At: d.moment(kept.Approved.At)}
		}
		if kept.Seen != nil {
			read.Seen = &pin.Shown{Name: read.Name, Hash: kept.Seen.Hash, Raw: kept.Seen.Raw, Problem: kept.Seen.Problem}
			if kept.Seen.Raw == nil && read.Approved != nil {
				read.Seen.Raw = read.Approved.Raw
			}
		}
		out = append(out, read)
	}
	return out
}
