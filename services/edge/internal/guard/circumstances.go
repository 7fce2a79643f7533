package guard

import (
	"encoding/json"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
)

// maxPurpose is how long the purpose of a call may be, in bytes.
const maxPurpose = 256

// word is what a request says of itself beyond what it asks for.
type word struct {
	client  Client
	purpose string
}

// says takes the word of the request's message, behind that of its session's client.
func (in *Inbound) says(msg *mcp.Message) error {
	if msg.ClientName != "" {
		in.word.client.Name, in.word.client.Release = clip(msg.ClientName, 128), clip(msg.ClientVersion, 64)
	}
	raw := mcp.Get(msg.Meta, mcp.MetaPurpose)
	if raw == nil {
		return nil
	}
	if json.Unmarshal(raw, &in.word.purpose) != nil || in.word.purpose == "" || len(in.word.purpose) > maxPurpose {
		return fault.Invalid("The purpose of the call (%s in _meta) must be a text of 1 to %d bytes.", mcp.MetaPurpose, maxPurpose)
	}
	return nil
}

// question puts what the request and its token say of themselves to what is asked. The purpose of a call is the agent's own word; where the token was issued
// for one, it is that, whatever the agent says.
func (in *Inbound) question(q Question) Question {
	q.SourceIP = in.IP
	q.Session = policy.Session{Started: in.word.client.Began, Client: in.word.client.Name, ClientVersion: in.word.client.Release}
	q.Purpose = in.word.purpose
	claims := q.Caller.Claims
	if claims == nil {
		return q
	}
	q.Session.Issued, q.Session.AuthTime, q.Session.ACR, q.Session.AMR = claims.IssuedAt, claims.AuthTime, claims.ACR, claims.AMR
	if claims.Purpose != "" {
		q.Session.Purpose, q.Purpose = claims.Purpose, claims.Purpose
	}
	if d := claims.Device; d != nil {
		q.Device = policy.Device{ID: d.ID, Managed: d.Managed, Compliant: d.Compliant}
	}
	return q
}
