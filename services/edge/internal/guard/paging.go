package guard

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"sync/atomic"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	sealCursor = "list-cursor"
	// maxCursor is how many bytes the cursor of one server may have, maxCursors how many what all servers gave have together: a client carries them.
	maxCursor  = 4 << 10
	maxCursors = 256 << 10
)

// place is where the list of one server goes on. Clients carry the places of all servers as one cursor, sealed, so that any edge can go on.
type place struct {
	Server string `json:"s"`
	// Is names the server by its address, so that no other that has its name by now is sent its cursor.
	Is string `json:"i"`
	// Cursor is the server's own, as raw JSON; empty for the beginning.
	Cursor string `json:"c,omitempty"`
	// Page counts the pages that were read. Mark is the digest of the cursor that came with the last page whose number is a power of two: a list that goes
	// round in a circle comes back to one of those (R. P. Brent, An improved Monte Carlo factorization algorithm, 1980).
	Page uint32 `json:"p,omitempty"`
	Mark string `json:"m,omitempty"`
}

func short(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

func placeOf(s *Server) place {
	return place{Server: s.Name, Is: short(s.URL + "\x00" + s.Stdio.Key())}
}

// on is the place after a page that came with a cursor; false when the list came back to where it was before.
func (p place) on(next json.RawMessage) (place, bool) {
	at := short(string(next))
	if string(next) == p.Cursor || at == p.Mark {
		return p, false
	}
	p.Cursor = string(next)
	if p.Page++; p.Page&(p.Page-1) == 0 {
		p.Mark = at
	}
	return p, true
}

// part is what one server adds to a page of the list of all.
type part struct {
	tool  *Tool
	at    place
	items []json.RawMessage
	found Inspection
	// more says that the list goes on, at next.
	more bool
	next place
	err  error
}

// parts are what a page is made of: without a cursor the beginning of every server's list, else what the cursor says that goes on. A server that the caller
// does not see any more is none of them.
func (g *Guard) parts(e *Entry, tools []*Tool) ([]*part, error) {
	var out []*part
	begins := e.msg.Cursor == nil || string(e.msg.Cursor) == `""`
	places := map[string]place{}
	if !begins {
		var err error
		if places, err = g.places(e); err != nil {
			return nil, err
		}
	}
	for _, tool := range tools {
		one := &part{tool: tool, at: placeOf(tool.Server)}
		if !begins {
			at, goesOn := places[tool.Server.Name]
			if !goesOn {
				continue
			}
			if at.Is != one.at.Is {
				one.err = fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s is another one than when the list began. Ask again without a cursor.", at.Server)
			}
			one.at = at
		}
		out = append(out, one)
	}
	return out, nil
}

// places reads the cursor that a client brings.
func (g *Guard) places(e *Entry) (map[string]place, error) {
	bad := fault.Invalid("This cursor is not good for this list: it is unknown, changed, another list's or another caller's. Ask again without a cursor.")
	var sealed string
	if json.Unmarshal(e.msg.Cursor, &sealed) != nil || len(sealed) > 2*maxCursors {
		return nil, bad
	}
	plain, ok := g.Keys.Open(sealCursor, sealed, append(bound(e.caller), e.msg.Method)...)
	if !ok {
		return nil, bad
	}
	var all []place
	if json.Unmarshal([]byte(plain), &all) != nil {
		return nil, bad
	}
	out := make(map[string]place, len(all))
	for _, one := range all {
		out[one.Server] = one
	}
	return out, nil
}

// cursor is what a client goes on with, of the parts that do; empty when none does. A server whose own does not fit any more is left out, and has an error.
func (g *Guard) cursor(e *Entry, parts []*part) (string, error) {
	var out bytes.Buffer
	for _, one := range parts {
		if !one.more {
			continue
		}
		raw, err := json.Marshal(one.next)
		if err != nil {
			return "", err
		}
		if len(one.next.Cursor) > maxCursor || out.Len()+len(raw)+2 > maxCursors {
			one.err = fault.New(faultv1.Reason_REASON_UPSTREAM, "The cursor of the server %s is too long.", one.tool.Server.Name)
			continue
		}
		separator := byte(',')
		if out.Len() == 0 {
			separator = '['
		}
		out.WriteByte(separator)
		out.Write(raw)
	}
	if out.Len() == 0 {
		return "", nil
	}
	out.WriteByte(']')
	return g.Keys.Seal(sealCursor, out.String(), append(bound(e.caller), e.msg.Method)...), nil
}

// take puts a page of a server's list into its part. What has no room beside the pages of others comes with the next page; a page that is too long for one is
// an error.
func (p *part) take(result json.RawMessage, member string, room *atomic.Int64) error {
	server := p.tool.Server.Name
	tooLong := fault.New(faultv1.Reason_REASON_UPSTREAM, "A page of the list of the server %s is too long.", server)
	if len(result) > maxListed {
		return tooLong
	}
	if room.Add(-int64(len(result))) < 0 {
		p.more, p.next = true, p.at
		return nil
	}
	result = renamed(result, server)
	items := mcp.Elements(mcp.Get(result, member))
	if len(items) > maxItems {
		return tooLong
	}
	if member == "prompts" {
		for i, one := range items {
			items[i] = prefixedNames(one, server)
		}
	}
	p.items = items
	next := mcp.Get(result, "nextCursor")
	if next == nil || string(next) == "null" {
		return nil
	}
	if p.next, p.more = p.at.on(next); !p.more {
		return fault.New(faultv1.Reason_REASON_UPSTREAM, "The list of the server %s goes round in a circle.", server)
	}
	return nil
}
