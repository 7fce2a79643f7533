package guard

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
)

const (
	// maxClients is how many clients' wishes are kept on one edge, maxSubscriptions how many resources one client may subscribe to.
	maxClients       = 100_000
	maxSubscriptions = 1000
	// maxWished is how many bytes the URIs of one client may have, maxWishedAll those of all.
	maxWished    = 256 << 10
	maxWishedAll = 64 << 20
	// partOfAll is what part of all one caller's clients may have: what they wish for beyond it pushes out their own older wishes and nobody else's.
	partOfAll = 16
	// wishedFor is how long wishes are kept of a client that neither has a stream nor says anything.
	wishedFor = 24 * time.Hour
	sampled   = 64
	// maxOffer is how many bytes of a client's capabilities the id of its session holds, or are kept of one without a session.
	maxOffer = 2048
)

// clients are what clients of the revisions with sessions wish for beyond one request: which resources they want to hear of, and how much of the log.
// It is kept on the edge that their session began at, by session, and by caller for those who never send one.
type clients struct {
	mu     sync.Mutex
	all    map[string]*wishes
	owners map[string]*owned
	bytes  int
}

// owned is what the clients of one caller have.
type owned struct {
	all   map[string]*wishes
	bytes int
}

type wishes struct {
	owner     string
	level     string
	offer     json.RawMessage // of the client that initialized last, until it uses its session's id
	session   string
	resources map[string]map[string]bool // server → its own URIs
	count     int
	bytes     int
	used      time.Time
}

func newClients() *clients { return &clients{all: map[string]*wishes{}, owners: map[string]*owned{}} }

func clientKey(in *Inbound, c *Caller) string {
	return ownerOf(c) + ofClient + in.Endpoint + "\x00" + in.Session
}

// strayKey is the key of the client of a caller that sends no session's id.
func strayKey(in *Inbound, c *Caller) string {
	return ownerOf(c) + ofClient + in.Endpoint + "\x00"
}

// ofClient stands in a client's key behind its owner, in which it cannot be.
const ofClient = "\x00\x00"

func ownerIn(key string) string {
	owner, _, _ := strings.Cut(key, ofClient)
	return owner
}

// wishes finds those of a client that begins to have some. Without room, those go that were not used for longest: their clients can say them again. The
// lock is held.
func (c *clients) wishes(key string, now time.Time) *wishes {
	w := c.all[key]
	if w == nil {
		of := ownerIn(key)
		mine := c.owners[of]
		if mine != nil && len(mine.all) >= maxClients/partOfAll {
			c.evict(mine.all, key)
		}
		for len(c.all) >= maxClients && c.evict(c.all, key) {
		}
		if mine = c.owners[of]; mine == nil {
			mine = &owned{all: map[string]*wishes{}}
			c.owners[of] = mine
		}
		w = &wishes{owner: of, resources: map[string]map[string]bool{}}
		c.all[key], mine.all[key] = w, w
	}
	w.used = now
	return w
}

// evict forgets, of some wishes at random, those that were not used for longest, but not those of one client. The lock is held.
func (c *clients) evict(among map[string]*wishes, but string) bool {
	oldest, looked := "", 0
	for key, w := range among {
		if key != but && (oldest == "" || w.used.Before(among[oldest].used)) {
			oldest = key
		}
		if looked++; looked == sampled {
			break
		}
	}
	if oldest == "" {
		return false
	}
	c.remove(oldest)
	return true
}

func (c *clients) remove(key string) {
	w := c.all[key]
	if w == nil {
		return
	}
	c.grow(w, -w.bytes)
	delete(c.all, key)
	mine := c.owners[w.owner]
	if delete(mine.all, key); len(mine.all) == 0 {
		delete(c.owners, w.owner)
	}
}

// fit makes room after something grew: at the same caller first. The lock is held.
func (c *clients) fit(key string, w *wishes) {
	for mine := c.owners[w.owner]; mine.bytes > maxWishedAll/partOfAll && c.evict(mine.all, key); {
	}
	for c.bytes > maxWishedAll && c.evict(c.all, key) {
	}
}

// grow counts more bytes, or less, of a client. The lock is held.
func (c *clients) grow(w *wishes, by int) {
	w.bytes += by
	c.owners[w.owner].bytes += by
	c.bytes += by
}

func (c *clients) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(key)
}

// sweep forgets what nobody used for long. A client with a stream uses its wishes.
func (c *clients) sweep(now time.Time, streams func(key string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, w := range c.all {
		if now.Sub(w.used) < wishedFor {
			continue
		}
		if streams(key) {
			w.used = now
			continue
		}
		c.remove(key)
	}
}

// room refuses a subscription that a client has no room for, before its server is told of it.
func (c *clients) room(key, server, uri string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.all[key]
	if w == nil {
		w = &wishes{}
	}
	switch {
	case w.resources[server][uri]:
		return nil
	case w.count >= maxSubscriptions:
		return fault.Invalid("This client subscribes to %d resources already. Unsubscribe from some first.", maxSubscriptions)
	case w.bytes+len(uri) > maxWished:
		return fault.Invalid("The URIs that this client subscribes to have more than %d bytes. Unsubscribe from some first.", maxWished)
	}
	return nil
}

// subscribe adds a resource to what a client wishes to hear of.
func (c *clients) subscribe(key, server, uri string, now time.Time) error {
	if err := c.room(key, server, uri); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.wishes(key, now)
	if w.resources[server][uri] {
		return nil
	}
	if w.resources[server] == nil {
		w.resources[server] = map[string]bool{}
	}
	w.resources[server][uri] = true
	w.count++
	c.grow(w, len(uri))
	c.fit(key, w)
	return nil
}

// subscribes reports whether a client wishes to hear of a resource now.
func (c *clients) subscribes(key, server, uri string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.all[key]
	return w != nil && w.resources[server][uri]
}

// unsubscribe takes a resource out; false when it was not there.
func (c *clients) unsubscribe(key, server, uri string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.all[key]
	if w == nil || !w.resources[server][uri] {
		return false
	}
	if delete(w.resources[server], uri); len(w.resources[server]) == 0 {
		delete(w.resources, server)
	}
	w.count--
	c.grow(w, -len(uri))
	return true
}

// says notes how much of the log a client wants.
func (c *clients) says(key, level string, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wishes(key, now).level = level
}

// introduce keeps what a client offers that may never send the id of its session.
func (c *clients) introduce(key, session string, offer json.RawMessage, now time.Time) {
	if len(offer) > maxOffer {
		offer = nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if offer == nil && c.all[key] == nil {
		return
	}
	w := c.wishes(key, now)
	c.grow(w, len(offer)-len(w.offer))
	w.offer, w.session = slices.Clone(offer), session
	c.fit(key, w)
}

// offered is what the client offers that sends no session's id; nil for nothing.
func (c *clients) offered(key string, now time.Time) json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.all[key]
	if w == nil {
		return nil
	}
	w.used = now
	return w.offer
}

// returned says that a client sends its session's id, so that what it offers is nobody else's.
func (c *clients) returned(key, session string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.all[key]; w != nil && w.session == session {
		c.grow(w, -len(w.offer))
		w.offer, w.session = nil, ""
	}
}

// of copies the wishes of a client: its level and its resources by server, in order.
func (c *clients) of(key string) (level string, resources map[string][]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.all[key]
	if w == nil {
		return "", nil
	}
	resources = map[string][]string{}
	for server, uris := range w.resources {
		resources[server] = slices.Sorted(maps.Keys(uris))
	}
	return w.level, resources
}

// level adds the level that a client set to a request, for a server that wants it in each (2026-07-28); others do not see it.
func (c *clients) level(e *Entry, params json.RawMessage, now time.Time) (json.RawMessage, error) {
	c.mu.Lock()
	w := c.all[clientKey(e.in, e.caller)]
	level := ""
	if w != nil {
		level, w.used = w.level, now
	}
	c.mu.Unlock()
	if level == "" {
		return params, nil
	}
	if params == nil {
		params = json.RawMessage(`{}`)
	}
	return mcp.Set(params, mcp.Quote(level), "_meta", mcp.MetaLogLevel)
}
