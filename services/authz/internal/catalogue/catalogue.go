// Package catalogue keeps what trust says of servers: their labels, and their tools as they were approved. Policies are held against it when
// they are applied, and decisions see the labels that an edge sees.
package catalogue

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// Catalogue is safe for concurrent use.
type Catalogue struct {
	mu      sync.RWMutex
	servers map[key]*server
}

type key struct{ tenant, name string }

type server struct {
	labels   []string
	trust    map[string]any
	standing trustv1.Standing
	tools    map[string]tool
	shown    map[string]trustv1.DefinitionState // every tool that trust knows of, approved or not
}

type tool struct {
	labels      []string
	annotations json.RawMessage
	trust       map[string]any
	definition  policy.Definition
	served      bool // what the server shows now is what was approved
}

// New is empty until it hears of servers.
func New() *Catalogue { return &Catalogue{servers: map[key]*server{}} }

// Apply takes one message of trust's stream.
func (c *Catalogue) Apply(m *trustv1.WatchResponse) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.GetSnapshot() {
		c.servers = map[key]*server{}
	}
	for _, state := range m.GetUpserts() {
		meta := state.GetServer().GetMetadata()
		c.servers[key{meta.GetTenant(), meta.GetName()}] = read(state)
	}
	for _, gone := range m.GetDeletions() {
		delete(c.servers, key{gone.GetTenant(), gone.GetName()})
	}
	return nil
}

func read(state *trustv1.ServerState) *server {
	spec := state.GetServer().GetSpec()
	out := &server{
		labels: spec.GetLabels(), trust: policy.TrustOf(state, nil), standing: state.GetStanding(),
		tools: map[string]tool{}, shown: map[string]trustv1.DefinitionState{},
	}
	for _, d := range state.GetDefinitions() {
		out.shown[d.GetName()] = d.GetState()
		// Trust approves no definition that is not JSON. Members are looked up as an edge does: by exact name.
		if !json.Valid(d.GetApproved()) {
			continue
		}
		annotations := mcp.Get(d.GetApproved(), "annotations")
		out.tools[d.GetName()] = tool{
			labels: policy.LabelsOf(spec, d), annotations: annotations, trust: policy.TrustOf(state, d),
			definition: policy.Definition{Schema: mcp.Get(d.GetApproved(), "inputSchema"), ReadOnly: string(mcp.Get(annotations, "readOnlyHint")) == "true"},
			served:     d.GetState() == trustv1.DefinitionState_DEFINITION_STATE_APPROVED,
		}
	}
	return out
}

// Servers are the servers of a tenant, each with its approved tools by name.
func (c *Catalogue) Servers(tenant string) map[string]map[string]policy.Definition {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := map[string]map[string]policy.Definition{}
	for at, s := range c.servers {
		if at.tenant != tenant {
			continue
		}
		out[at.name] = make(map[string]policy.Definition, len(s.tools))
		for name, t := range s.tools {
			out[at.name][name] = t.definition
		}
	}
	return out
}

// Tools are the approved tools of a server, or of all servers of a tenant where it is every server that is meant.
func (c *Catalogue) Tools(tenant, of string) policy.Tools {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := policy.Tools{}
	if of != policy.AnyServer {
		c.servers[key{tenant, of}].add(out)
		return out
	}
	for at, s := range c.servers {
		if at.tenant == tenant {
			s.add(out)
		}
	}
	return out
}

func (s *server) add(to policy.Tools) {
	if s == nil {
		return
	}
	for name, t := range s.tools {
		to[name] = append(to[name], t.definition)
	}
}

// Look says what rules see of a server and one of its tools, and what is known of the trust in them. What is not known has its name alone.
func (c *Catalogue) Look(tenant, name, toolName string) (policy.Server, policy.Tool, map[string]any) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.servers[key{tenant, name}]
	if s == nil {
		return policy.Server{Name: name}, policy.Tool{Name: toolName}, nil
	}
	t, known := s.tools[toolName]
	if !known {
		t.trust = s.trust
	}
	return policy.Server{Name: name, Labels: s.labels}, policy.Tool{Name: toolName, Labels: t.labels, Annotations: t.annotations}, t.trust
}

// Served names the tools of a server that an edge serves, in order: none while the server is not approved or is in quarantine.
func (c *Catalogue) Served(tenant, name string) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.servers[key{tenant, name}]
	if s == nil || s.standing != trustv1.Standing_STANDING_APPROVED {
		return nil
	}
	out := make([]string, 0, len(s.tools))
	for tool, t := range s.tools {
		if t.served {
			out = append(out, tool)
		}
	}
	slices.Sort(out)
	return out
}

// Refuses says why an edge serves nobody a tool or method of a server, as the edge finds it; nil where it serves it.
func (c *Catalogue) Refuses(tenant, name, toolName string) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.servers[key{tenant, name}]
	if s == nil {
		return unknown("server", name, c.names(tenant))
	}
	method := isMethod(toolName)
	state, shown := s.shown[toolName]
	if !method && !shown {
		return unknown("tool", toolName, slices.Collect(maps.Keys(s.shown)))
	}
	switch {
	case s.standing == trustv1.Standing_STANDING_QUARANTINED:
		return fault.New(faultv1.Reason_REASON_QUARANTINED, "The server %s is quarantined.", name)
	case s.standing != trustv1.Standing_STANDING_APPROVED:
		return fault.New(faultv1.Reason_REASON_NOT_APPROVED, "The server %s waits for approval.", name)
	case method:
		return nil
	case state == trustv1.DefinitionState_DEFINITION_STATE_CHANGED || state == trustv1.DefinitionState_DEFINITION_STATE_GONE:
		return fault.New(faultv1.Reason_REASON_DEFINITION_CHANGED, "The definition of %s changed since it was approved.", toolName)
	case !s.tools[toolName].served:
		return fault.New(faultv1.Reason_REASON_NOT_APPROVED, "The definition of %s waits for approval.", toolName)
	}
	return nil
}

func unknown(what, name string, known []string) error {
	said := policy.Unknown(what, name, known)
	return fault.New(faultv1.Reason_REASON_UNKNOWN_TOOL, "%s%s.", strings.ToUpper(said[:1]), said[1:])
}

func (c *Catalogue) names(tenant string) []string {
	var out []string
	for at := range c.servers {
		if at.tenant == tenant {
			out = append(out, at.name)
		}
	}
	return out
}

// isMethod reports whether relations take a name for a tool of every server. A tool cannot have such a name.
func isMethod(name string) bool {
	return name == mcp.MethodResourceRead || name == mcp.MethodPromptsGet || name == mcp.MethodComplete
}

// Known reports whether there is such a server.
func (c *Catalogue) Known(tenant, name string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.servers[key{tenant, name}] != nil
}
