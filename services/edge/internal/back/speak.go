package back

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

const (
	clientName    = "headgate"
	clientVersion = "1"
	// probeLimit bounds one question that finds out how a server speaks, or opens a session.
	probeLimit = 10 * time.Second
	// maxSessions is how many sessions are open at one upstream at most.
	maxSessions = 10_000
	// maxPages and maxTools bound what a server may list.
	maxPages = 100
	maxTools = 10_000
)

// eras is what revisions a server speaks.
type eras struct{ modern, legacy bool }

// whose names who a session with the upstream belongs to. The edge's own has neither.
type whose struct{ person, agent, client string }

func whoseOf(c *guard.Caller) whose {
	if c == nil {
		return whose{}
	}
	return whose{c.Person, c.Agent, c.ClientID}
}

// session is one session with a server of the revisions that have them.
type session struct{ id, version string }

// way is the revision to speak with a server: the client's era where the server has both.
func (u *upstream) way(ctx context.Context, lease *guard.Lease, modern bool) (string, error) {
	speaks := u.speaks.Load()
	if speaks == nil {
		var err error
		speaks, err = u.probing.Do(ctx, struct{}{}, u.limit, func(ctx context.Context) (*eras, error) { return u.probe(ctx, lease) })
		if err != nil {
			return "", err
		}
		u.speaks.Store(speaks)
	}
	if speaks.modern && (modern || !speaks.legacy) {
		return mcp.V20260728, nil
	}
	return mcp.V20251125, nil
}

// probe asks server/discover; a server that does not know it is one of the older revisions, which initialize will show.
func (u *upstream) probe(ctx context.Context, lease *guard.Lease) (*eras, error) {
	id := mcp.NewID(u.ids.Add(1))
	out := mcp.Speaker{Version: mcp.V20260728, ClientName: clientName, ClientVersion: clientVersion}.Discover(id)
	r, err := u.post(ctx, message{body: out.Body, headers: out.Headers, lease: lease}, u.now().Add(u.limit))
	if err != nil {
		return nil, err // it was not reached, which says nothing of its era
	}
	reply, err := u.answer(ctx, r, id, nil)
	switch {
	case fault.Is(err, faultv1.Reason_REASON_UPSTREAM) && ctx.Err() == nil:
		return &eras{legacy: true}, nil // what it says is not of 2026-07-28
	case err != nil:
		return nil, err
	case reply.Result == nil:
		return &eras{legacy: true}, nil
	}
	var versions []string
	if json.Unmarshal(mcp.Get(reply.Result, "supportedVersions"), &versions) != nil {
		return &eras{legacy: true}, nil
	}
	speaks := &eras{modern: slices.Contains(versions, mcp.V20260728), legacy: slices.ContainsFunc(versions, mcp.Legacy)}
	if !speaks.modern && !speaks.legacy {
		return nil, u.outside(nil, "it speaks none of the revisions %s", strings.Join(mcp.Supported(), ", "))
	}
	return speaks, nil
}

// session answers the caller's session with this server, and opens one where there is none.
func (u *upstream) session(ctx context.Context, who whose, lease *guard.Lease) (*session, error) {
	u.mu.Lock()
	mine := u.sessions[who]
	u.mu.Unlock()
	if mine != nil {
		return mine, nil
	}
	return u.opening.Do(ctx, who, u.limit, func(ctx context.Context) (*session, error) { return u.open(ctx, who, lease) })
}

func (u *upstream) open(ctx context.Context, who whose, lease *guard.Lease) (*session, error) {
	id := mcp.NewID(u.ids.Add(1))
	speaker := mcp.Speaker{Version: mcp.V20251125, ClientName: clientName, ClientVersion: clientVersion}
	out := speaker.Initialize(id)
	r, err := u.post(ctx, message{body: out.Body, headers: out.Headers, lease: lease}, u.now().Add(u.limit))
	if err != nil {
		return nil, err
	}
	mine := &session{id: r.session}
	reply, err := u.answer(ctx, r, id, nil)
	if err != nil {
		return nil, err
	}
	if reply.Result == nil {
		u.speaks.Store(nil)
		return nil, u.outside(nil, "it refused to initialize")
	}
	version, _ := mcp.Text(reply.Result, "protocolVersion")
	if !mcp.Legacy(version) && version != mcp.V20241105 || !printable(mine.id) {
		return nil, u.outside(nil, "it initialized with a revision or session id that cannot be used")
	}
	mine.version = version
	speaker.Version = version
	out = speaker.Initialized()
	r, err = u.post(ctx, message{body: out.Body, headers: out.Headers, lease: lease, session: mine.id}, u.now().Add(u.limit))
	if err != nil {
		return nil, err
	}
	r.finish(false)
	if r.status >= 300 {
		return nil, u.outside(nil, "HTTP status %d to notifications/initialized", r.status)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.sessions) >= maxSessions {
		clear(u.sessions)
	}
	u.sessions[who] = mine
	return mine, nil
}

// lose forgets a session that the server does not know any more.
func (u *upstream) lose(who whose, lost *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sessions[who] == lost {
		delete(u.sessions, who)
	}
}

// printable reports whether a session id can be a header: visible ASCII (2025-11-25, transports).
func printable(id string) bool {
	for i := range len(id) {
		if id[i] < 0x21 || id[i] > 0x7e {
			return false
		}
	}
	return len(id) <= 1024
}

// callBody writes a tools/call of the edge's own: the arguments are the caller's bytes, the metadata is that of the server's era.
func callBody(id json.RawMessage, ex guard.Exchange, version string) ([]byte, error) {
	meta, err := metadata(ex.Meta, version)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 128+len(ex.Tool)+len(ex.Arguments)+len(meta))
	b = append(append(b, `{"jsonrpc":"2.0","id":`...), id...)
	b = append(b, `,"method":"tools/call","params":{"name":`...)
	if b, err = jsontext.AppendQuote(b, ex.Tool); err != nil {
		return nil, err
	}
	if ex.Arguments != nil {
		b = append(append(b, `,"arguments":`...), ex.Arguments...)
	}
	if meta != nil {
		b = append(append(b, `,"_meta":`...), meta...)
	}
	return append(b, "}}"...), nil
}

// metadata is the client's _meta as the server may see it: the gateway relays no questions to the client, so it offers no capabilities.
func metadata(meta json.RawMessage, version string) (json.RawMessage, error) {
	if !mcp.Modern(version) {
		for _, name := range [...]string{mcp.MetaProtocolVersion, mcp.MetaCapabilities, mcp.MetaClientInfo, mcp.MetaLogLevel} {
			if meta == nil {
				return nil, nil
			}
			meta = mcp.Delete(meta, name)
		}
		return meta, nil
	}
	if meta == nil {
		return json.RawMessage(`{"` + mcp.MetaProtocolVersion + `":"` + version + `","` + mcp.MetaCapabilities + `":{},"` +
			mcp.MetaClientInfo + `":{"name":"` + clientName + `","version":"` + clientVersion + `"}}`), nil
	}
	for _, set := range [...]struct{ name, value string }{{mcp.MetaProtocolVersion, `"` + version + `"`}, {mcp.MetaCapabilities, `{}`}} {
		if string(mcp.Get(meta, set.name)) == set.value {
			continue
		}
		changed, err := mcp.Set(meta, json.RawMessage(set.value), set.name)
		if err != nil {
			return nil, err
		}
		meta = changed
	}
	return meta, nil
}

// Definitions lists all tools that a server shows, page by page.
func (b *Back) Definitions(ctx context.Context, s *guard.Server, lease *guard.Lease) ([]mcp.Definition, error) {
	u, err := b.of(s)
	if err != nil {
		return nil, err
	}
	way, err := u.way(ctx, lease, true)
	if err != nil {
		return nil, err
	}
	var all []mcp.Definition
	var cursor *string
	for range maxPages {
		result, err := u.page(ctx, way, lease, cursor)
		if err != nil {
			return nil, err
		}
		tools, next, more, err := mcp.Tools(result)
		if err != nil {
			return nil, u.outside(err, "its list of tools: %s", err.Error())
		}
		all = append(all, tools...)
		if len(all) > maxTools {
			return nil, u.outside(nil, "it lists more than %d tools", maxTools)
		}
		if !more {
			return all, unique(u, all)
		}
		cursor = &next
	}
	return nil, u.outside(nil, "its list of tools has more than %d pages", maxPages)
}

func unique(u *upstream, all []mcp.Definition) error {
	names := make(map[string]bool, len(all))
	for _, one := range all {
		if names[one.Name] {
			return u.outside(nil, "it lists a tool twice")
		}
		names[one.Name] = true
	}
	return nil
}

// page asks for one page of tools.
func (u *upstream) page(ctx context.Context, way string, lease *guard.Lease, cursor *string) (json.RawMessage, error) {
	id := mcp.NewID(u.ids.Add(1))
	for range 2 {
		m := message{lease: lease}
		speaker := mcp.Speaker{Version: way, ClientName: clientName, ClientVersion: clientVersion}
		var at *session
		if !mcp.Modern(way) {
			var err error
			if at, err = u.session(ctx, whose{}, lease); err != nil {
				return nil, err
			}
			speaker.Version, m.session = at.version, at.id
		}
		out := speaker.ListTools(id, cursor)
		m.body, m.headers = out.Body, out.Headers
		r, err := u.post(ctx, m, u.now().Add(u.limit))
		if err != nil {
			return nil, err
		}
		if r.status == 404 && at != nil && at.id != "" && r.events == nil {
			u.lose(whose{}, at)
			continue
		}
		reply, err := u.answer(ctx, r, id, nil)
		if err != nil {
			return nil, err
		}
		if reply.Result == nil {
			u.speaks.Store(nil)
			return nil, u.outside(nil, "it refused to list its tools")
		}
		return reply.Result, nil
	}
	return nil, u.outside(nil, "it knows none of the sessions that it opens")
}
