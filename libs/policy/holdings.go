package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"weak"

	"headgate.dev/libs/policy/terms"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// Holdings lets principals who hold the same share it: of ten thousand people with the same roles each takes a name. What nobody holds any more is given back.
// Safe for concurrent use.
type Holdings struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]weak.Pointer[holding]
	sweep int // how many may be known before those that are gone are taken out
}

// fewest is below how many nothing is taken out.
const fewest = 64

// NewHoldings shares nothing yet.
func NewHoldings() *Holdings {
	return &Holdings{known: map[[sha256.Size]byte]weak.Pointer[holding]{}, sweep: fewest}
}

// Entitlements is NewEntitlements, shared with whoever holds the same.
func (s *Holdings) Entitlements(es []*authzv1.Entitlement) *Entitlements {
	head := commonHead(es)
	key := fingerprint(es, head)
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.known[key].Value(); found != nil {
		return &Entitlements{head: head, holding: found}
	}
	made := newHolding(es, head)
	s.known[key] = weak.Make(made)
	if len(s.known) > s.sweep {
		for key, of := range s.known {
			if of.Value() == nil {
				delete(s.known, key)
			}
		}
		s.sweep = max(2*len(s.known), fewest)
	}
	return &Entitlements{head: head, holding: made}
}

// fingerprint names what a principal holds, without who it is.
func fingerprint(es []*authzv1.Entitlement, head string) [sha256.Size]byte {
	var text []byte
	for _, one := range es {
		for _, part := range [...]string{one.GetServer(), one.GetTool(), one.GetBlocked(), one.GetVia()[len(head):], terms.Key(one.GetCallIf())} {
			text = binary.AppendUvarint(text, uint64(len(part)))
			text = append(text, part...)
		}
		flags := byte(0)
		if one.GetCanSee() {
			flags |= 1
		}
		if one.GetCanCall() {
			flags |= 2
		}
		if one.GetUntil() != nil {
			flags |= 4
		}
		text = append(text, flags)
		text = binary.AppendVarint(text, one.GetUntil().GetSeconds())
		text = binary.AppendVarint(text, int64(one.GetUntil().GetNanos()))
	}
	return sha256.Sum256(text)
}
