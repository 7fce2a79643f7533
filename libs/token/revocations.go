package token

import (
	"sync"
	"time"
)

// Revocation ends one token by its id, or all of a person's that were issued before a moment.
type Revocation struct {
	Tenant  string
	TokenID string
	Person  string
	Before  time.Time
	// Until is when the tokens have expired anyway and the revocation can be forgotten.
	Until time.Time
}

// Revocations is the set of tokens that do not hold though they have not expired. Safe for concurrent use; the zero value is empty.
type Revocations struct {
	mu     sync.RWMutex
	tokens map[within]time.Time
	people map[within]Revocation
}

// within names something of one tenant.
type within struct{ tenant, name string }

// Add remembers revocations. A later moment for a person replaces an earlier one.
func (r *Revocations) Add(revocations ...Revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(revocations)
}

// Replace forgets what was known and remembers these.
func (r *Revocations) Replace(revocations []Revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens, r.people = nil, nil
	r.add(revocations)
}

func (r *Revocations) add(revocations []Revocation) {
	if r.tokens == nil {
		r.tokens, r.people = map[within]time.Time{}, map[within]Revocation{}
	}
	for _, each := range revocations {
		if each.TokenID != "" {
			r.tokens[within{each.Tenant, each.TokenID}] = each.Until
		}
		key := within{each.Tenant, each.Person}
		if each.Person != "" && each.Before.After(r.people[key].Before) {
			r.people[key] = each
		}
	}
}

// Revoked reports whether a token does not hold any more. Tokens know their time to the second: one that was issued within the second of a person's
// revocation counts as issued before it, so that whoever issues afterwards must date it a second later (see Floor).
func (r *Revocations) Revoked(c *Claims) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if _, ok := r.tokens[within{c.Tenant, c.ID}]; ok {
		return true
	}
	all, ok := r.people[within{c.Tenant, c.Subject}]
	return ok && c.IssuedAt.Before(all.Before)
}

// Floor is the earliest time at which a new token of a person may say that it was issued, a whole second; zero when any will do.
func (r *Revocations) Floor(tenant, name string) time.Time {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return Floor(r.people[within{tenant, name}].Before)
}

// Floor is the first whole second at which a token may be dated that a person's revocation does not end.
func Floor(before time.Time) time.Time {
	if floor := before.Truncate(time.Second); floor.Before(before) {
		return floor.Add(time.Second)
	}
	return before
}

// All lists what is remembered, in no order.
func (r *Revocations) All() []Revocation {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]Revocation, 0, len(r.tokens)+len(r.people))
	for key, until := range r.tokens {
		all = append(all, Revocation{Tenant: key.tenant, TokenID: key.name, Until: until})
	}
	for _, each := range r.people {
		all = append(all, each)
	}
	return all
}

// Prune forgets what has expired anyway.
func (r *Revocations) Prune(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, until := range r.tokens {
		if !until.After(now) {
			delete(r.tokens, id)
		}
	}
	for key, each := range r.people {
		if !each.Until.After(now) {
			delete(r.people, key)
		}
	}
}
