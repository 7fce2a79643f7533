package policy

import (
	"fmt"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

const (
	sessionType = "headgate.Session"
	deviceType  = "headgate.Device"
)

// Ahead is how far a time of a session may lie in the future: what two machines' clocks may differ. Beyond it, the clock of one of them is wrong and
// nothing is judged by how long ago it was.
const Ahead = 30 * time.Second

// Session is what is known of how and since when a client works. A zero time and an empty text are not known.
type Session struct {
	// Started is when the client opened its session; requests of 2026-07-28 belong to none.
	Started time.Time
	// Issued is when its token was issued, AuthTime when the person signed in for it.
	Issued, AuthTime time.Time
	// ACR says how the person signed in and AMR by what means, in the issuer's terms.
	ACR string
	AMR []string
	// Client and ClientVersion are the client's own word.
	Client, ClientVersion string
	// Purpose is what the token was issued for: the issuer's word.
	Purpose string
}

// Device is what the token's issuer says of the person's device; nil is not known.
type Device struct {
	ID                 *string
	Managed, Compliant *bool
}

// SessionOf reads a session of the API.
func SessionOf(s *authzv1.Session) Session {
	out := Session{ACR: s.GetAcr(), AMR: s.GetAmr(), Client: s.GetClient(), ClientVersion: s.GetClientVersion(), Purpose: s.GetPurpose()}
	if s.GetStarted() != nil {
		out.Started = s.GetStarted().AsTime()
	}
	if s.GetIssued() != nil {
		out.Issued = s.GetIssued().AsTime()
	}
	if s.GetAuthTime() != nil {
		out.AuthTime = s.GetAuthTime().AsTime()
	}
	return out
}

// DeviceOf reads a device of the API.
func DeviceOf(d *authzv1.Device) Device {
	if d == nil {
		return Device{}
	}
	return Device{ID: d.Id, Managed: d.Managed, Compliant: d.Compliant}
}

// sessionView is a session as rules see it.
type sessionView struct{ req *Request }

// circumstanceShapes is what rules see of session and device.
func circumstanceShapes() map[string]shape {
	text := cel.StringType
	return map[string]shape{
		sessionType: {
			"started":       moment("session.started", func(s *Session) time.Time { return s.Started }),
			"age":           ago("session.age", func(s *Session) time.Time { return s.Started }),
			"issued":        moment("session.issued", func(s *Session) time.Time { return s.Issued }),
			"authTime":      moment("session.authTime", func(s *Session) time.Time { return s.AuthTime }),
			"authAge":       ago("session.authAge", func(s *Session) time.Time { return s.AuthTime }),
			"acr":           said("session.acr", func(s *Session) string { return s.ACR }),
			"amr":           optional(cel.ListType(text), func(v *sessionView) (any, bool) { return v.req.Session.AMR, len(v.req.Session.AMR) > 0 }),
			"client":        said("session.client", func(s *Session) string { return s.Client }),
			"clientVersion": said("session.clientVersion", func(s *Session) string { return s.ClientVersion }),
			"purpose":       said("session.purpose", func(s *Session) string { return s.Purpose }),
		},
		deviceType: {
			"id":        nullable(text, func(d *Device) *string { return d.ID }),
			"managed":   nullable(cel.BoolType, func(d *Device) *bool { return d.Managed }),
			"compliant": nullable(cel.BoolType, func(d *Device) *bool { return d.Compliant }),
		},
	}
}

// nullable is a field that is null when it is not known, so that a rule can ask for that.
func nullable[V any](t *cel.Type, get func(*Device) *V) *types.FieldType {
	return optional(cel.NullableType(t), func(d *Device) (any, bool) {
		if v := get(d); v != nil {
			return *v, true
		}
		return types.NullValue, false
	})
}

// needed is a field of a session that must be known when a rule reads it.
func needed(path string, t *cel.Type, set func(*Session) bool, get func(*sessionView) (any, error)) *types.FieldType {
	return &types.FieldType{
		Type: t,
		IsSet: func(v any) bool {
			s, ok := v.(*sessionView)
			return ok && set(&s.req.Session)
		},
		GetFrom: func(v any) (any, error) {
			s, ok := v.(*sessionView)
			if !ok {
				return nil, wrongType(s, v)
			}
			if !set(&s.req.Session) {
				return nil, fmt.Errorf("%s is not known for this call", path)
			}
			return get(s)
		},
	}
}

func said(path string, get func(*Session) string) *types.FieldType {
	set := func(s *Session) bool { return get(s) != "" }
	return needed(path, cel.StringType, set, func(v *sessionView) (any, error) { return get(&v.req.Session), nil })
}

func moment(path string, get func(*Session) time.Time) *types.FieldType {
	set := func(s *Session) bool { return !get(s).IsZero() }
	return needed(path, cel.TimestampType, set, func(v *sessionView) (any, error) { return get(&v.req.Session), nil })
}

func ago(path string, get func(*Session) time.Time) *types.FieldType {
	set := func(s *Session) bool { return !get(s).IsZero() }
	return needed(path, cel.DurationType, set, func(v *sessionView) (any, error) { return elapsed(path, get(&v.req.Session), v.req.At) })
}

// elapsed is how long ago something was; a time in the future is an error.
func elapsed(path string, at, now time.Time) (time.Duration, error) {
	since := now.Sub(at)
	if since < -Ahead {
		return 0, fmt.Errorf("%s: %s lies in the future of %s; check the clocks", path, at.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return max(since, 0), nil
}
