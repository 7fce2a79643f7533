package guard

import (
	"encoding/json"
	"slices"
	"sync"

	"headgate.dev/libs/mcp"
)

// keptNotices is how many bytes of notices are kept for a client that has not made its request again yet.
const keptNotices = 64 << 10

// told brings the notices of a parked call to the request that is answered now, whichever that is.
type told struct {
	mu     sync.Mutex
	notify func([]byte) error // nil while no request of the client is open
	// token is that of the progress which the server was asked for; as is that of the request which is answered now, which may have one of its own.
	token, as json.RawMessage
	kept      [][]byte
	size      int
}

func progressOf(e *Entry) json.RawMessage {
	return slices.Clone(mcp.Get(e.msg.Meta, mcp.MetaProgressToken))
}

// tell is guard.Exchange's Notify.
func (t *told) tell(notice []byte) error {
	t.mu.Lock() // held, so that nothing is told to a request after it was answered
	defer t.mu.Unlock()
	if t.notify == nil {
		t.keep(notice)
		return nil
	}
	return t.pass(notice)
}

// hearing says where notices go from now on, and under which token those of progress. Those that came while nobody heard go there first.
func (t *told) hearing(notify func([]byte) error, as json.RawMessage) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notify, t.as = notify, as
	kept := t.kept
	t.kept, t.size = nil, 0
	if notify == nil {
		return nil
	}
	for _, notice := range kept {
		if err := t.pass(notice); err != nil {
			return err
		}
	}
	return nil
}

func (t *told) nobody() {
	t.mu.Lock()
	t.notify = nil
	t.mu.Unlock()
}

func (t *told) pass(notice []byte) error {
	if t.ours(notice) {
		if t.as == nil {
			return nil
		}
		renamed, err := mcp.Set(notice, t.as, "params", mcp.MetaProgressToken)
		if err != nil {
			return err
		}
		notice = renamed
	}
	return t.notify(notice)
}

// ours reports whether a notice is of the progress that was asked for.
func (t *told) ours(notice []byte) bool {
	method, _ := mcp.Text(notice, "method")
	return method == mcp.MethodProgress && t.token != nil && mcp.SameID(t.token, mcp.Get(notice, "params", mcp.MetaProgressToken))
}

// keep holds a notice back: of progress the last one alone, which says all that those before it said. What there is no room for is not told.
func (t *told) keep(notice []byte) {
	if t.ours(notice) {
		t.kept = slices.DeleteFunc(t.kept, func(old []byte) bool {
			same := t.ours(old)
			if same {
				t.size -= len(old)
			}
			return same
		})
	}
	if t.size+len(notice) > keptNotices {
		return
	}
	t.kept, t.size = append(t.kept, slices.Clone(notice)), t.size+len(notice)
}
