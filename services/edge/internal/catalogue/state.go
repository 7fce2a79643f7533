package catalogue

import (
	"encoding/json"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/mcp"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge/internal/guard"
)

const defaultTimeout = 60 * time.Second

// server is one upstream as trust last told of it. It does not change, but for what was seen of it.
type server struct {
	guard.Server
	standing     trustv1.Standing
	initial      bool // pins what it shows first
	instructions string
	definitions  map[string]*definition
	shown        map[string]string // what trust knows that it shows: name → hash
	seen         atomic.Pointer[seen]
}

// seen is what an upstream showed at a moment.
type seen struct {
	at     time.Time
	order  []string
	hashes map[string]string
}

// definition is one tool as it was approved.
type definition struct {
	name, hash  string
	state       trustv1.DefinitionState
	raw         json.RawMessage
	prefixed    json.RawMessage // the same with its name as server.tool
	labels      []string
	annotations json.RawMessage
	bindings    []mcp.Binding
	schema      func() *schema
}

// newServer reads a state. What was seen of the same URL before stays seen.
func newServer(state *trustv1.ServerState, before *server) *server {
	meta, spec := state.GetServer().GetMetadata(), state.GetServer().GetSpec()
	s := &server{
		Server: guard.Server{
			Tenant: meta.GetTenant(), Name: meta.GetName(), URL: spec.GetUrl(), Address: address(spec.GetUrl()), CA: spec.GetCa(),
			Labels: spec.GetLabels(), Timeout: defaultTimeout,
		},
		standing: state.GetStanding(), initial: spec.GetApprove() == "initial", instructions: state.GetInstructions(),
		definitions: map[string]*definition{}, shown: map[string]string{},
	}
	if limit, err := time.ParseDuration(spec.GetTimeout()); err == nil && limit > 0 {
		s.Timeout = limit
	}
	if spec.GetJournal() == "strict" {
		s.Journal = journal.Strict
	}
	for _, d := range state.GetDefinitions() {
		if d.GetSeenHash() != "" {
			s.shown[d.GetName()] = d.GetSeenHash()
		}
		s.definitions[d.GetName()] = newDefinition(s, d, spec)
	}
	if before != nil && before.URL == s.URL {
		s.seen.Store(before.seen.Load())
		for name, d := range s.definitions {
			if old := before.definitions[name]; old != nil && old.hash == d.hash && d.hash != "" {
				d.schema = old.schema // compiled once for each approved definition
			}
		}
	}
	return s
}

func newDefinition(s *server, d *trustv1.Definition, spec *trustv1.ServerSpec) *definition {
	one := &definition{name: d.GetName(), hash: d.GetApprovedHash(), state: d.GetState(), raw: d.GetApproved()}
	one.labels = slices.Concat(s.Labels, spec.GetToolLabels()[d.GetName()].GetLabels(), d.GetLabels())
	slices.Sort(one.labels)
	one.labels = slices.Compact(one.labels)
	if len(one.raw) == 0 {
		return one
	}
	// Trust's word is checked: what is served is what its hash names, under its own name.
	if said := (mcp.Definition{Name: one.name, Raw: one.raw}); said.Hash() != one.hash || said.Check() != nil {
		one.hash, one.raw = "", nil
		return one
	}
	if name, err := json.Marshal(s.Name + "." + one.name); err == nil {
		if renamed, err := mcp.Set(one.raw, name, "name"); err == nil {
			one.prefixed = renamed
		}
	}
	one.annotations = mcp.Get(one.raw, "annotations")
	input := mcp.Get(one.raw, "inputSchema")
	if bindings, err := mcp.Bindings(input); err == nil {
		one.bindings = bindings
	}
	one.schema = sync.OnceValue(func() *schema { return compile(one.name, input) })
	return one
}

// served reports whether the definition may be shown and called as far as trust goes.
func (d *definition) served() bool {
	return d.hash != "" && len(d.raw) > 0 && d.state == trustv1.DefinitionState_DEFINITION_STATE_APPROVED
}

// address is the host and port of a URL, always with the port.
func address(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}
