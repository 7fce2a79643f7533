// Package inspect looks at what a server sends back: hidden characters are taken out, leased secrets are redacted, in whatever simple form they
// come, and what cannot be read is refused. It is pure.
package inspect

import (
	"github.com/go-json-experiment/json/jsontext"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/hidden"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// Inspector implements guard.Inspector.
type Inspector struct{}

// Inspect cleans one strict JSON document. The caller has made sure that it is strict.
func (Inspector) Inspect(document []byte, lease *guard.Lease) ([]byte, guard.Inspection, error) {
	var found guard.Inspection
	clean, n := hidden.StripJSON(document)
	found.Hidden = n
	if lease == nil || lease.Forms.Empty() {
		return clean, found, nil
	}
	clean, found.Secrets = lease.Forms.Redact(clean)
	if found.Secrets > 0 && !jsontext.Value(clean).IsValid() {
		return nil, found, fault.New(faultv1.Reason_REASON_INSPECTION,
			"The server's answer held its own credential in a place where it cannot be taken out, so the answer was withheld.")
	}
	return clean, found, nil
}

// Text cleans one sentence.
func (Inspector) Text(sentence string, lease *guard.Lease) string {
	if lease == nil {
		return sentence
	}
	clean, _ := lease.Forms.RedactText(sentence)
	return clean
}
