// Package catalogue is the edge's replica of trust: servers, their approved definitions and the kills in force. It serves a definition only
// while the upstream itself shows exactly what was approved, which it looks at anew at most a second before each use.
package catalogue

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge/internal/flight"
	"headgate.dev/services/edge/internal/guard"
)

// Upstream lists what a server shows.
type Upstream interface {
	// Definitions are all pages of the server's own tools/list, in its order.
	Definitions(ctx context.Context, s *guard.Server, lease *guard.Lease) ([]mcp.Definition, error)
	// About is what a server says of itself.
	About(ctx context.Context, s *guard.Server, lease *guard.Lease) (guard.About, error)
}

// Trust is told what differs from what it knows.
type Trust interface {
	Report(ctx context.Context, r *connect.Request[trustv1.ReportRequest]) (*connect.Response[trustv1.ReportResponse], error)
}

// Reach says what relation a caller has to a tool.
type Reach interface {
	Lookup(server, tool string, now time.Time) policy.Relation
	Servers(now time.Time) []string
}

// Relations resolves a caller's reach.
type Relations func(ctx context.Context, c *guard.Caller) (Reach, error)

// Parts are what the catalogue works with.
type Parts struct {
	Relations Relations
	// Changes counts what happened to relations and to those who have them.
	Changes  func() int64
	Upstream Upstream
	Lender   guard.Lender
	Trust    Trust
	Now      clock.Now
	Log      *slog.Logger
	// Fresh is how long what was seen of an upstream is believed; 0 means a second.
	Fresh time.Duration
	// LookEvery is how often servers are looked at that only an edge can look at; 0 means 30 s, as trust does with the others.
	LookEvery time.Duration
}

// Catalogue implements guard.Catalogue. Safe for concurrent use.
type Catalogue struct {
	Parts
	looking    flight.Group[look, *seen]
	generation atomic.Int64

	mu       sync.RWMutex
	servers  map[key]*server
	kills    map[kill]string // → reason
	reported map[key]string
	heard    chan struct{} // holds a value when trust said something since the last look
}

type key struct{ tenant, name string }

type kill struct{ tenant, kind, name string }

type look struct{ tenant, name, url, program string }

// New makes an empty catalogue, in which nothing exists.
func New(parts Parts) *Catalogue {
	if parts.Fresh == 0 {
		parts.Fresh = time.Second
	}
	if parts.LookEvery == 0 {
		parts.LookEvery = 30 * time.Second
	}
	return &Catalogue{Parts: parts, servers: map[key]*server{}, kills: map[kill]string{}, reported: map[key]string{}, heard: make(chan struct{}, 1)}
}

// Apply takes one message of trust's stream.
func (c *Catalogue) Apply(m *trustv1.WatchResponse) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.servers
	if m.GetSnapshot() {
		c.servers, c.kills = map[key]*server{}, map[kill]string{}
	}
	for _, state := range m.GetUpserts() {
		meta := state.GetServer().GetMetadata()
		at := key{meta.GetTenant(), meta.GetName()}
		c.servers[at] = newServer(state, before[at])
	}
	for _, gone := range m.GetDeletions() {
		delete(c.servers, key{gone.GetTenant(), gone.GetName()})
	}
	for _, k := range m.GetRevived() {
		delete(c.kills, kill{k.GetTenant(), k.GetTarget().GetKind(), k.GetTarget().GetName()})
	}
	for _, k := range m.GetKills() {
		c.kills[kill{k.GetTenant(), k.GetTarget().GetKind(), k.GetTarget().GetName()}] = k.GetReason()
	}
	if m.GetSnapshot() || len(m.GetUpserts())+len(m.GetDeletions())+len(m.GetRevived())+len(m.GetKills()) > 0 {
		c.generation.Add(1)
		select {
		case c.heard <- struct{}{}:
		default:
		}
	}
	return nil
}

// Stopped implements guard.Catalogue.
func (c *Catalogue) Stopped(who *guard.Caller) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.stopped(who)
}

func (c *Catalogue) stopped(who *guard.Caller) error {
	if reason, ok := c.kills[kill{who.Tenant, "person", who.Person}]; ok {
		return killed("You were", reason)
	}
	if who.Agent == "" {
		return nil
	}
	if reason, ok := c.kills[kill{who.Tenant, "agent", who.Agent}]; ok {
		return killed("The agent "+who.Agent+" was", reason)
	}
	return nil
}

func (c *Catalogue) halted(s *server, tool string) error {
	if len(c.kills) == 0 {
		return nil
	}
	if reason, ok := c.kills[kill{s.Tenant, "server", s.Name}]; ok {
		return killed("The server "+s.Name+" was", reason)
	}
	if reason, ok := c.kills[kill{s.Tenant, "tool", s.Name + "." + tool}]; ok {
		return killed("The tool "+s.Name+"."+tool+" was", reason)
	}
	return nil
}

func killed(what, reason string) error {
	if reason != "" {
		reason = " (" + reason + ")"
	}
	return fault.New(faultv1.Reason_REASON_KILLED, "%s stopped by your security team%s. Ask them before you try again.", what, reason)
}

// Resolve implements guard.Catalogue. What may be learned of a tool is checked from the caller's side first, so that what is not theirs costs
// as little time as what is not there.
func (c *Catalogue) Resolve(ctx context.Context, who *guard.Caller, endpoint, visible string) (*guard.Tool, error) {
	mark := c.mark() // before the rest is looked up: what changes meanwhile makes another
	reach, err := c.Relations(ctx, who)
	if err != nil {
		return nil, err
	}
	s, d := c.find(who.Tenant, endpoint, visible)
	if s == nil {
		return nil, guard.Invisible(faultv1.Reason_REASON_UNKNOWN_TOOL, "There is no tool of this name.")
	}
	tool := c.tool(s, d, reach)
	tool.Mark = mark
	if err := invisible(s, d, tool.Relation); err != nil {
		return tool, err
	}
	c.mu.RLock()
	stop := c.stopped(who)
	if stop == nil {
		stop = c.halted(s, d.name)
	}
	c.mu.RUnlock()
	if stop != nil {
		return tool, stop
	}
	shown, err := c.look(ctx, s)
	if err != nil {
		return tool, err
	}
	if shown.hashes[d.name] != d.hash {
		return tool, guard.Invisible(faultv1.Reason_REASON_DEFINITION_CHANGED, "The server shows another definition of %s than the one that was approved.", d.name)
	}
	return tool, nil
}

// Tool finds one tool of a server by the server's own name for it, under the same conditions as Resolve.
func (c *Catalogue) Tool(ctx context.Context, who *guard.Caller, server, tool string) (*guard.Tool, error) {
	return c.Resolve(ctx, who, server, tool)
}

func (c *Catalogue) tool(s *server, d *definition, reach Reach) *guard.Tool {
	t := &guard.Tool{
		Server: &s.Server, Name: d.name, Hash: d.hash, Labels: d.labels, Annotations: d.annotations, Bindings: d.bindings, Recording: s.recorded(d),
		Relation: reach.Lookup(s.Name, d.name, c.Now()), Reach: reach,
	}
	if t.Trust = d.trust; d.method {
		t.Trust = s.trust
	}
	if d.schema != nil {
		t.Arguments = d.schema()
	}
	return t
}

// invisible says why a tool looks as if it were not there; nil when it does not.
func invisible(s *server, d *definition, r policy.Relation) error {
	switch {
	case !r.See:
		reason := r.Reason
		if reason == faultv1.Reason_REASON_UNSPECIFIED {
			reason = faultv1.Reason_REASON_NOT_GRANTED
		}
		if reason == faultv1.Reason_REASON_BLOCK_LISTED {
			return guard.Invisible(reason, "A block list keeps this caller from %s of %s: %s.", d.name, s.Name, r.Via)
		}
		return guard.Invisible(reason, "No relation gives %s of %s to this caller.", d.name, s.Name)
	case s.standing == trustv1.Standing_STANDING_QUARANTINED:
		return guard.Invisible(faultv1.Reason_REASON_QUARANTINED, "The server %s is quarantined.", s.Name)
	case s.standing != trustv1.Standing_STANDING_APPROVED:
		return guard.Invisible(faultv1.Reason_REASON_NOT_APPROVED, "The server %s waits for approval.", s.Name)
	case d.state == trustv1.DefinitionState_DEFINITION_STATE_CHANGED || d.state == trustv1.DefinitionState_DEFINITION_STATE_GONE:
		return guard.Invisible(faultv1.Reason_REASON_DEFINITION_CHANGED, "The definition of %s changed since it was approved.", d.name)
	case !d.served():
		return guard.Invisible(faultv1.Reason_REASON_NOT_APPROVED, "The definition of %s waits for approval.", d.name)
	}
	return nil
}

// find takes the visible name apart: at an endpoint of one server it is the tool's own, else server.tool.
func (c *Catalogue) find(tenant, endpoint, visible string) (*server, *definition) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if endpoint != "" {
		s := c.servers[key{tenant, endpoint}]
		if s == nil || s.definitions[visible] == nil {
			return nil, nil
		}
		return s, s.definitions[visible]
	}
	name, tool, ok := guard.SplitName(visible)
	if !ok {
		return nil, nil
	}
	if s := c.servers[key{tenant, name}]; s != nil && s.definitions[tool] != nil {
		return s, s.definitions[tool]
	}
	return nil, nil
}

// List implements guard.Catalogue.
func (c *Catalogue) List(ctx context.Context, who *guard.Caller, endpoint string, before func(asked []*guard.Server) error) (guard.Listing, error) {
	reach, err := c.Relations(ctx, who)
	if err != nil {
		return guard.Listing{}, err
	}
	look := c.look
	if endpoint == "" {
		look = c.glance
	}
	asked := c.within(who.Tenant, endpoint, reach)
	if old := c.old(asked); len(old) > 0 {
		if err := before(old); err != nil {
			return guard.Listing{}, err
		}
	}
	shown := make([]*seen, len(asked))
	failed := make([]error, len(asked))
	var all sync.WaitGroup
	for i, s := range asked {
		all.Go(func() { shown[i], failed[i] = look(ctx, s) })
	}
	all.Wait()
	var out guard.Listing
	for i, s := range asked {
		if failed[i] != nil {
			if endpoint != "" {
				return out, failed[i]
			}
			out.Unavailable = append(out.Unavailable, s.Name)
			continue
		}
		c.add(&out, s, shown[i], reach, endpoint == "")
	}
	return out, nil
}

// old are those of the servers that have to be asked what they show now.
func (c *Catalogue) old(servers []*server) []*guard.Server {
	var out []*guard.Server
	for _, s := range servers {
		if last := s.seen.Load(); last == nil || c.Now().Sub(last.at) >= c.Fresh {
			out = append(out, &s.Server)
		}
	}
	return out
}

// add puts in what the caller may see of one server, in the server's order.
func (c *Catalogue) add(out *guard.Listing, s *server, shown *seen, reach Reach, prefixed bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	tools, now := s.serve(shown), c.Now()
	out.Total += len(tools)
	out.Tools = slices.Grow(out.Tools, len(tools))
	for _, d := range tools {
		raw := d.raw
		if prefixed {
			raw = d.prefixed
		}
		if raw == nil || c.halted(s, d.name) != nil || !reach.Lookup(s.Name, d.name, now).See {
			continue
		}
		out.Tools = append(out.Tools, raw)
	}
}

// within are the servers of an endpoint that the caller has any relation to and that may be shown, by name.
func (c *Catalogue) within(tenant, endpoint string, reach Reach) []*server {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []*server
	for _, name := range reach.Servers(c.Now()) {
		s := c.servers[key{tenant, name}]
		if s == nil || endpoint != "" && name != endpoint || endpoint == "" && !guard.Nameable(name) || c.halted(s, "") != nil {
			continue
		}
		if s.standing == trustv1.Standing_STANDING_APPROVED || s.standing == trustv1.Standing_STANDING_PENDING && s.initial {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *server) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Instructions implements guard.Catalogue.
func (c *Catalogue) Instructions(ctx context.Context, who *guard.Caller, name string) string {
	reach, err := c.Relations(ctx, who)
	if err != nil {
		return ""
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.servers[key{who.Tenant, name}]
	if s == nil || s.standing != trustv1.Standing_STANDING_APPROVED || !slices.Contains(reach.Servers(c.Now()), name) {
		return ""
	}
	return s.instructions
}

// look answers what a server shows, as of a second ago at most.
func (c *Catalogue) look(ctx context.Context, s *server) (*seen, error) {
	if last := s.seen.Load(); last != nil && c.Now().Sub(last.at) < c.Fresh {
		return last, nil
	}
	shown, err := c.looking.Do(ctx, look{s.Tenant, s.Name, s.URL, s.Stdio.Key()}, min(s.Timeout, lookLimit), func(ctx context.Context) (*seen, error) {
		began := time.Now()
		shown, err := c.ask(ctx, s)
		if err == nil {
			s.Delay.Answered(time.Since(began))
		}
		return shown, err
	})
	if err != nil {
		why := fault.From(err)
		if why.Reason == faultv1.Reason_REASON_CREDENTIAL || why.Reason == faultv1.Reason_REASON_UPSTREAM_TIMEOUT {
			return nil, err
		}
		reason := faultv1.Reason_REASON_UPSTREAM
		if why.Reason == faultv1.Reason_REASON_INSPECTION {
			reason = why.Reason
		}
		return nil, fault.New(reason,
			"The server %s could not be asked what it shows now, so nothing of it is used: %s", s.Name, why.Sentence).Because(err)
	}
	return shown, nil
}

// glance is look for the list of all, which one server must not delay much (guard.Delay). The look goes on meanwhile, so that the server is there again as
// soon as it answered.
func (c *Catalogue) glance(ctx context.Context, s *server) (*seen, error) {
	ctx, done := s.Delay.Bound(ctx)
	shown, err := c.look(ctx, s)
	done(err)
	return shown, err
}

// Close ends the looks under way and returns when they have ended. It is for after the last request.
func (c *Catalogue) Close() { c.looking.Close() }

// lookLimit bounds one look.
const lookLimit = 10 * time.Second

func (c *Catalogue) ask(ctx context.Context, s *server) (*seen, error) {
	at := c.Now()
	lease, err := c.Lender.Lease(ctx, guard.LeaseRequest{Server: &s.Server})
	if err != nil {
		return nil, err
	}
	tools, err := c.Upstream.Definitions(ctx, &s.Server, lease)
	if err != nil {
		why := fault.From(err)
		sentence, _ := lease.Forms.RedactText(why.Sentence)
		return nil, fault.New(why.Reason, "%s", sentence).Because(err)
	}
	if err := c.uncredentialed(s, tools, lease); err != nil {
		return nil, err
	}
	shown := &seen{at: at, hashes: make(map[string]string, len(tools))}
	raw := make([][]byte, len(tools))
	for i, tool := range tools {
		shown.order = append(shown.order, tool.Name)
		shown.hashes[tool.Name] = tool.Hash()
		raw[i] = tool.Raw
	}
	about, err := c.own(ctx, s, lease)
	if err != nil {
		return nil, err
	}
	report := &trustv1.ReportRequest{Tenant: s.Tenant, Server: s.Name, Tools: raw, About: about}
	if s.Stdio != nil {
		shown.report = report
	}
	s.seen.Store(shown)
	if digest := shown.digest(); s.shows(digest) {
		c.generation.Add(1) // whoever was judged by what was seen before is judged again
	}
	if !c.told(s, shown, report) {
		c.report(ctx, s, shown, report)
	}
	return shown, nil
}

// uncredentialed refuses what a server shows when its credential is in it: nothing of it is kept, used or reported.
func (c *Catalogue) uncredentialed(s *server, tools []mcp.Definition, lease *guard.Lease) error {
	for _, tool := range tools {
		if lease.Forms.Found(tool.Raw) {
			return c.exposed(s)
		}
	}
	return nil
}

func (c *Catalogue) exposed(s *server) error {
	c.Log.Error("a server shows its own credential", "tenant", s.Tenant, "server", s.Name)
	return fault.New(faultv1.Reason_REASON_INSPECTION,
		"it shows the credential that it was sent, so what it shows was thrown away. An administrator must replace the credential and ask its owner.")
}
