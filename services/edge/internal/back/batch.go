package back

import (
	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

// replies reads what one event or body of a session holds: one message, and in 2025-03-26 perhaps a batch of them.
func (u *upstream) replies(raw []byte, version string) ([]*mcp.Reply, error) {
	parts, err := mcp.Split(raw, version, u.limits)
	if err != nil {
		return nil, err
	}
	out := make([]*mcp.Reply, len(parts))
	for i, part := range parts {
		if out[i], err = mcp.ReadReply(part, u.limits); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// heard has hear take what one event or body of a call holds besides the answer, wherever that stands in a batch, and answers the answer; nil for none.
func (u *upstream) heard(raw []byte, version string, hear func(*mcp.Reply) error) (answer *mcp.Reply, err error) {
	replies, err := u.replies(raw, version)
	if err != nil {
		return nil, u.outside(err, "an event of its stream is not one strict JSON-RPC message")
	}
	for _, one := range replies {
		switch {
		case one.Kind != mcp.Response:
			if err := hear(one); err != nil {
				return nil, err
			}
		case answer != nil:
			return nil, u.outside(nil, "it answered one request twice")
		default:
			answer = one
		}
	}
	return answer, nil
}

// unbatch takes the answer out of a body that is a batch, and hands on the notices in it. Every other body stays as it is.
func (u *upstream) unbatch(at *session, ex *guard.Exchange, h *hearer, r *response) error {
	if parts, err := mcp.Split(r.body, at.version, u.limits); err != nil || len(parts) == 1 && len(parts[0]) == len(r.body) {
		return nil // what is no batch is judged with the status that it came with
	}
	answer, err := u.heard(r.body, at.version, func(one *mcp.Reply) error {
		if one.Kind == mcp.Request {
			return u.outside(nil, "it asked for something in the body that holds its answer")
		}
		return u.heed(at, ex, h, one)
	})
	if err != nil {
		return err
	}
	r.body = nil
	if answer != nil {
		r.body = answer.Raw
	}
	return nil
}
