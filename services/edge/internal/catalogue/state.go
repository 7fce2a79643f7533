package catalogue

import (
	"crypto/sha256"
	"encoding/json"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"headgate.dev/libs/egress"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge/internal/guard"
)

const defaultTimeout = 60 * time.Second

// server is one upstream as trust last told of it. It does not change, but for what was seen of it.
type server struct {
	guard.Server
	standing     trustv1.Standing
	trust        map[string]any
	initial      bool // pins what it shows first
	recording    *resourcev1.Recording
	known        bool // trust knows what it shows where it is now
	instructions string
	definitions  map[string]*definition
	shown        map[string]string // what trust knows that it shows: name → hash
	seen         atomic.Pointer[seen]
	digest       atomic.Pointer[string] // of what was seen last, whether it is still believed or not
	serving      atomic.Pointer[serving]
}

// serving is what a server may serve of what it showed: approved, and shown as it was approved, each name once, in the server's order.
type serving struct {
	of    *seen
	tools []*definition
}

// serve is worked out once for each thing that was seen.
func (s *server) serve(shown *seen) []*definition {
	if known := s.serving.Load(); known != nil && known.of == shown {
		return known.tools
	}
	now := &serving{of: shown, tools: make([]*definition, 0, len(shown.order))}
	taken := make(map[string]bool, len(shown.order))
	for _, name := range shown.order {
		d := s.definitions[name]
		if d == nil || taken[name] || !d.served() || shown.hashes[name] != d.hash {
			continue
		}
		taken[name] = true
		now.tools = append(now.tools, d)
	}
	s.serving.Store(now)
	return now.tools
}

// seen is what an upstream showed at a moment.
type seen struct {
	at     time.Time
	order  []string
	hashes map[string]string
	report *trustv1.ReportRequest // the same for trust, of a program
}

// digest names all that is shown, in its order.
func (s *seen) digest() string {
	sum := sha256.New()
	for _, name := range s.order {
		_, _ = sum.Write([]byte(name + "\x00" + s.hashes[name] + "\x00"))
	}
	return string(sum.Sum(nil))
}

// shows notes what was seen last; false when it is the same as before.
func (s *server) shows(digest string) bool {
	before := s.digest.Swap(&digest)
	return before == nil || *before != digest
}

// definition is one tool as it was approved.
type definition struct {
	name, hash  string
	state       trustv1.DefinitionState
	raw         json.RawMessage
	prefixed    json.RawMessage // the same as clients of all servers see it
	labels      []string
	trust       map[string]any
	annotations json.RawMessage
	bindings    []mcp.Binding
	recording   *resourcev1.Recording
	schema      func() *schema
	method      bool // a method of the protocol, which is not pinned
}

// newServer reads a state. What was seen of the same URL before stays seen.
func newServer(state *trustv1.ServerState, before *server) *server {
	meta, spec := state.GetServer().GetMetadata(), state.GetServer().GetSpec()
	s := &server{
		Server: guard.Server{
			Tenant: meta.GetTenant(), Name: meta.GetName(), URL: spec.GetUrl(), Address: address(spec), CA: spec.GetCa(), Pins: spec.GetPins(),
			ClientCertificate: spec.GetClientCertificate(), Private: egress.Private(spec.GetUrl()) || spec.GetInsecure(), Labels: spec.GetLabels(), Timeout: defaultTimeout, Stdio: program(spec.GetStdio()), Delay: &guard.Delay{},
		},
		standing: state.GetStanding(), trust: policy.TrustOf(state, nil), initial: spec.GetApprove() == "initial", instructions: state.GetInstructions(), recording: spec.GetRecord(), known: state.GetSeenHash() != "",
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
		one := newDefinition(s, d, spec)
		one.trust = policy.TrustOf(state, d)
		s.definitions[d.GetName()] = one
	}
	if before != nil && !moved(&before.Server, &s.Server) {
		s.seen.Store(before.seen.Load())
		s.digest.Store(before.digest.Load())
		s.Delay = before.Delay
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
	one.recording = spec.GetToolRecord()[d.GetName()]
	one.labels = policy.LabelsOf(spec, d)
	if len(one.raw) == 0 {
		return one
	}
	// Trust's word is checked: what is served is what its hash names, under its own name.
	if said := (mcp.Definition{Name: one.name, Raw: one.raw}); said.Hash() != one.hash || said.Check() != nil {
		one.hash, one.raw = "", nil
		return one
	}
	if shown, err := guard.Shown(one.raw, s.Name, one.name); err == nil {
		one.prefixed = shown
	}
	one.annotations = mcp.Get(one.raw, "annotations")
	input := mcp.Get(one.raw, "inputSchema")
	if bindings, err := mcp.Bindings(input); err == nil {
		one.bindings = bindings
	}
	one.schema = sync.OnceValue(func() *schema { return compile(one.name, input, one.bindings) })
	return one
}

// recorded is what the record holds of a call besides keyed hashes: what the tool's declaration says, or the server's.
func (s *server) recorded(d *definition) *resourcev1.Recording {
	if d.recording != nil {
		return d.recording
	}
	return s.recording
}

// served reports whether the definition may be shown and called as far as trust goes.
func (d *definition) served() bool {
	return d.method || d.hash != "" && len(d.raw) > 0 && d.state == trustv1.DefinitionState_DEFINITION_STATE_APPROVED
}

// moved reports whether a server is another than before, whatever it is called.
func moved(a, b *guard.Server) bool { return a.URL != b.URL || a.Stdio.Key() != b.Stdio.Key() }

// program is a server's command as it is declared; nil for a server with a URL.
func program(s *trustv1.Stdio) *guard.Stdio {
	if s == nil {
		return nil
	}
	return &guard.Stdio{Command: s.GetCommand(), Env: s.GetEnv(), Inherit: s.GetInherit(), Directory: s.GetDirectory(), Person: s.GetScope() == "person"}
}

// address is the host and port of a URL, always with the port, or "stdio:" and the name of a program.
func address(spec *trustv1.ServerSpec) string {
	if command := spec.GetStdio().GetCommand(); len(command) > 0 {
		return mcp.StdioAddress(command[0])
	}
	u, err := url.Parse(spec.GetUrl())
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
