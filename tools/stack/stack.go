// Package stack runs Headgate as in production, on one machine: each service a process of its own with its own data folder and certificate, talking
// over mutual TLS; a broker beside them, and an ingress that takes people's API calls to the service that serves them.
package stack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"headgate.dev/tools/proc"
)

const readyWithin = 60 * time.Second

// Config says what to start.
type Config struct {
	// Binary is the people's binary: it serves each service.
	Binary string
	Dir    string
	// Edges is how many edges to run; 0 means one.
	Edges int
	// Doors are binaries that serve the edges themselves, as their image does, one an edge; empty means Binary serves them too.
	Doors []string
	// Balanced puts something before the edges that gives each request to the next of them; otherwise each is reached by itself.
	Balanced bool
	// Kafka is the HOST:PORT of a broker that somebody else runs; empty starts one beside the services.
	Kafka string
	// Elasticsearch is the URL of a node that somebody else runs, where records are then searched; empty means the embedded index.
	Elasticsearch string
	// Streams is how many streams an edge holds open at once, also of one caller; 0 means what it does by itself.
	Streams int
	// Countries is the file of a database of countries for the edges; empty means that no country is known.
	Countries string
	// Journals are where the journals of processes lie, by process; those that are not named lie in their own folder.
	Journals map[string]Journal
	// Ledger and Index are the folder of audit's ledger and the file of its index; empty means that they lie in audit's own folder.
	Ledger, Index string
}

// Journal is a folder and how large its files are.
type Journal struct {
	Dir          string
	SegmentBytes int64
}

// Info is where everything is, as the ready file of headgate dev says it.
type Info struct {
	MCP     string            `json:"mcp"`
	API     string            `json:"api"`
	Console string            `json:"console"`
	Metrics string            `json:"metrics"`
	Kafka   string            `json:"kafka"`
	Tokens  map[string]string `json:"tokens"`
	PIDs    map[string]int    `json:"pids"`
}

// Stack is the running processes.
type Stack struct {
	cfg       Config
	plan      plan
	processes map[string]*proc.Process
	info      Info
	ingress   *http.Server
	balancer  *balancer
}

// Start prepares certificates and configurations and starts everything. What was started is returned also with an error, to be stopped.
func Start(cfg Config) (*Stack, error) {
	s := &Stack{cfg: cfg, processes: map[string]*proc.Process{}}
	p, err := prepare(cfg)
	if err != nil {
		return s, err
	}
	s.plan = p
	if err := s.startBacking(); err != nil {
		return s, err
	}
	for _, name := range p.names() {
		if err := s.Run(name); err != nil {
			return s, err
		}
	}
	for _, name := range p.names() {
		if err := s.WaitReady(name); err != nil {
			return s, err
		}
	}
	if err := s.startIngress(); err != nil {
		return s, err
	}
	door := p.fronts[0]
	if p.balancer != "" {
		door = p.balancer
		if s.balancer, err = balance(door, p.fronts); err != nil {
			return s, err
		}
	}
	s.info = Info{MCP: "http://" + door + "/mcp", API: "http://" + p.api, Kafka: p.broker, Tokens: map[string]string{}, PIDs: map[string]int{}}
	return s, s.readAdmin()
}

// Run starts one service, or starts it again after it ended.
func (s *Stack) Run(name string) error {
	binary, args := s.cfg.Binary, []string{"serve", service(name)}
	if at := slices.Index(s.plan.edges, name); at >= 0 && at < len(s.cfg.Doors) {
		binary, args = s.cfg.Doors[at], nil
	}
	started, err := proc.Start(filepath.Join(s.cfg.Dir, "log-"+name), nil, binary, append(args, "--config", filepath.Join(s.cfg.Dir, name+".yaml"))...)
	if err != nil {
		return err
	}
	s.processes[name] = started
	return nil
}

// Process is the process of one service: "edge", "edge2", "authz", ...
func (s *Stack) Process(name string) *proc.Process { return s.processes[name] }

// Names are the services' processes, edges last.
func (s *Stack) Names() []string { return s.plan.names() }

// Diagnostics is the host:port of a process's metrics and profiles.
func (s *Stack) Diagnostics(name string) string { return s.plan.diagnostics[name] }

// Edges are the URLs of all edges.
func (s *Stack) Edges() []string {
	urls := make([]string, len(s.plan.fronts))
	for i, front := range s.plan.fronts {
		urls[i] = "http://" + front + "/mcp"
	}
	return urls
}

// ExtAuthz is where Envoy asks the first edge, as HOST:PORT.
func (s *Stack) ExtAuthz() string { return s.plan.asks[0] }

// Info is where everything is.
func (s *Stack) Info() Info { return s.info }

// WaitReady waits until a service says that it is.
func (s *Stack) WaitReady(name string) error {
	deadline := time.Now().Add(readyWithin)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := "no answer"
	for time.Now().Before(deadline) {
		response, err := http.Get("http://" + s.plan.diagnostics[name] + "/readyz?verbose")
		if err == nil {
			var body bytes.Buffer
			_, err = body.ReadFrom(response.Body)
			_ = response.Body.Close()
			last = body.String()
			if err == nil && response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.processes[name].Done():
			return fmt.Errorf("%s ended: %s", name, s.processes[name].Tail())
		case <-tick.C:
		}
	}
	return fmt.Errorf("%s is not ready within %s: %s: %s", name, readyWithin, last, s.processes[name].Tail())
}

// Apply applies a file as the administrator, makes the tenants that it names, and a token for each of its people.
func (s *Stack) Apply(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	tenants, people := named(string(text))
	var declared strings.Builder
	for _, tenant := range tenants {
		fmt.Fprintf(&declared, "apiVersion: headgate/v1\nkind: Tenant\nmetadata: {name: %s}\n---\n", tenant)
	}
	whole := filepath.Join(s.cfg.Dir, "applied.yaml")
	if err := os.WriteFile(whole, []byte(declared.String()+string(text)), 0o600); err != nil {
		return err
	}
	if _, err := s.CLI("apply", "-f", whole); err != nil {
		return err
	}
	for _, person := range people {
		token, err := s.CLI("token", person[1], "--tenant", person[0], "--ttl", "24h")
		if err != nil {
			return err
		}
		s.info.Tokens[person[1]] = strings.TrimSpace(token)
	}
	return s.approved(tenants)
}

// approved waits until the servers that are pinned by themselves are.
func (s *Stack) approved(tenants []string) error {
	deadline := time.Now().Add(readyWithin)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		out, err := s.CLI("server", "list", "-o", "json")
		if err != nil {
			return err
		}
		if !strings.Contains(out, `"standing": "pending"`) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the servers of %v are not approved: %s", tenants, out)
		}
		<-tick.C
	}
}

// CLI runs a command as the administrator.
func (s *Stack) CLI(args ...string) (string, error) {
	cmd := exec.Command(s.cfg.Binary, args...)
	cmd.Env = append(os.Environ(), "HEADGATE_API="+s.info.API, "HEADGATE_TOKEN="+s.info.Tokens["admin"])
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("headgate %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String(), nil
}

func (s *Stack) readAdmin() error {
	token, err := os.ReadFile(filepath.Join(s.cfg.Dir, "identity", "admin.token"))
	if err != nil {
		return err
	}
	s.info.Tokens["admin"] = strings.TrimSpace(string(token))
	for name, process := range s.processes {
		s.info.PIDs[name] = process.PID()
	}
	return nil
}

// Stop ends everything, the edges first.
func (s *Stack) Stop() {
	if s.ingress != nil {
		_ = s.ingress.Close()
	}
	if s.balancer != nil {
		s.balancer.close()
	}
	names := append([]string{"broker"}, s.plan.names()...)
	for _, name := range slices.Backward(names) {
		if process := s.processes[name]; process != nil {
			process.Stop()
		}
	}
}

// named finds the tenants and people that a file of resources names; the documents may be YAML in block or flow form, so a YAML reader looks.
func named(text string) (tenants []string, people [][2]string) {
	seen := map[string]bool{}
	for _, doc := range documents(text) {
		if doc.Kind == "Person" {
			people = append(people, [2]string{doc.Metadata.Tenant, doc.Metadata.Name})
		}
		if tenant := doc.Metadata.Tenant; tenant != "" && !seen[tenant] {
			seen[tenant] = true
			tenants = append(tenants, tenant)
		}
	}
	return tenants, people
}

// Free finds a port of this machine that nobody uses, below those that the system hands out by itself: nobody gets it by chance before it is taken.
func Free() (string, error) {
	const lowest, highest, tries = 20000, 32000, 200
	var err error
	for range tries {
		address := fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(highest-lowest))
		var listener net.Listener
		if listener, err = net.Listen("tcp", address); err == nil {
			return address, listener.Close()
		}
	}
	return "", fmt.Errorf("no free port between %d and %d: %w", lowest, highest, err)
}

// write puts a value as JSON, which is YAML, into a file.
func write(path string, value any) error {
	encoded, err := json.MarshalIndent(value, "", "  ")
	return errors.Join(err, os.WriteFile(path, encoded, 0o600))
}
