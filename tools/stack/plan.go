package stack

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// plan is who listens where.
type plan struct {
	dir         string
	elastic     string
	journals    map[string]Journal
	ledger      string
	index       string
	streams     int
	countries   string
	edges       []string // edge, edge2, ...
	rpc         map[string]string
	diagnostics map[string]string
	fronts      []string
	asks        []string // where Envoy asks the edges
	api         string
	broker      string
	balancer    string
}

// services in the order in which they start.
func services() []string { return []string{"identity", "credentials", "trust", "authz", "audit"} }

func (p plan) names() []string { return append(services(), p.edges...) }

// service is what a process serves: edge2 is an edge.
func service(process string) string { return strings.TrimRight(process, "0123456789") }

// prepare takes ports, makes certificates and writes a configuration for each process.
func prepare(cfg Config) (plan, error) {
	p := plan{dir: cfg.Dir, elastic: cfg.Elasticsearch, journals: cfg.Journals, ledger: cfg.Ledger, index: cfg.Index, streams: cfg.Streams, countries: cfg.Countries, rpc: map[string]string{}, diagnostics: map[string]string{}}
	for i := range max(1, cfg.Edges) {
		name := "edge"
		if i > 0 {
			name = fmt.Sprintf("edge%d", i+1)
		}
		p.edges = append(p.edges, name)
	}
	if err := Certs(filepath.Join(cfg.Dir, "certs"), append(services(), "edge")...); err != nil {
		return p, err
	}
	if err := p.ports(cfg.Balanced); err != nil {
		return p, err
	}
	if cfg.Kafka != "" {
		p.broker = cfg.Kafka
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return p, err
	}
	err := os.WriteFile(filepath.Join(cfg.Dir, "edge.key"), []byte(hex.EncodeToString(key)+"\n"), 0o600)
	for _, name := range p.names() {
		err = errors.Join(err, os.MkdirAll(filepath.Join(cfg.Dir, name), 0o700), write(filepath.Join(cfg.Dir, name+".yaml"), p.config(name)))
	}
	return p, errors.Join(err, write(filepath.Join(cfg.Dir, "plan.json"), map[string]any{"rpc": p.rpc, "fronts": p.fronts, "api": p.api, "broker": p.broker}))
}

func (p *plan) ports(balanced bool) error {
	var err error
	taken := map[string]bool{} // none of them listens yet, so a port could come twice
	take := func() string {
		for {
			address, e := Free()
			if err = errors.Join(err, e); e != nil || !taken[address] {
				taken[address] = true
				return address
			}
		}
	}
	for _, name := range p.names() {
		p.rpc[name], p.diagnostics[name] = take(), take()
	}
	for range p.edges {
		p.fronts, p.asks = append(p.fronts, take()), append(p.asks, take())
	}
	p.api, p.broker = take(), take()
	if balanced {
		p.balancer = take()
	}
	return err
}

// config is the configuration file of one process.
func (p plan) config(name string) map[string]any {
	own := func(parts ...string) string { return filepath.Join(append([]string{p.dir, name}, parts...)...) }
	certs := func(file string) string { return filepath.Join(p.dir, "certs", file) }
	peers := map[string]string{}
	for _, peer := range services() {
		if peer != name {
			peers[peer] = "https://" + p.rpc[peer]
		}
	}
	kind := service(name)
	return map[string]any{
		"listen": p.rpc[name], "diagnostics": p.diagnostics[name], "peers": peers,
		"tls":     map[string]any{"cert": certs(kind + ".pem"), "key": certs(kind + "-key.pem"), "ca": certs("ca.pem")},
		"journal": p.journal(name, own("journal")),
		"kafka":   p.kafka(),
		"log":     map[string]any{"level": "warn"},
		"service": p.service(name, own),
	}
}

func (p plan) journal(name, dir string) map[string]any {
	if special, is := p.journals[name]; is {
		return map[string]any{"dir": special.Dir, "segmentBytes": special.SegmentBytes}
	}
	return map[string]any{"dir": dir}
}

func (p plan) kafka() map[string]any {
	return map[string]any{"brokers": []string{p.broker}, "createTopics": true, "partitions": 4, "replicas": 1}
}

// service is the service's own part of its configuration.
func (p plan) service(name string, own func(...string) string) map[string]any {
	database := map[string]any{"path": own("store.db")}
	audiences := []string{}
	for _, front := range append([]string{p.balancer}, p.fronts...) {
		if front == "" {
			continue
		}
		audiences = append(audiences, "http://"+front+"/mcp")
	}
	switch name {
	case "identity":
		return map[string]any{"database": database, "keyFile": own("key"), "issuer": "http://" + p.api, "apiAudience": []string{"http://" + p.api}, "mcpAudience": audiences,
			"allowIssue": true, "bootstrapTokenFile": own("admin.token")}
	case "authz":
		return map[string]any{"database": database, "openfga": map[string]any{"dir": own("openfga")}}
	case "credentials":
		return map[string]any{"database": database, "keyFile": own("key")}
	case "trust":
		return map[string]any{"database": database}
	case "audit":
		config := map[string]any{"ledger": map[string]any{"dir": cmp.Or(p.ledger, own("ledger"))}, "kafka": p.kafka()}
		if p.elastic != "" {
			config["elasticsearch"] = map[string]any{"addresses": []string{p.elastic}}
		} else {
			config["database"] = map[string]any{"path": cmp.Or(p.index, own("store.db"))}
		}
		return config
	default:
		index := 0
		for i, edge := range p.edges {
			if edge == name {
				index = i
			}
		}
		public := p.fronts[index]
		if p.balancer != "" {
			public = p.balancer
		}
		config := map[string]any{"listen": p.fronts[index], "publicURL": "http://" + public, "issuer": "http://" + p.api, "keyFile": filepath.Join(p.dir, "edge.key"),
			"advertise": "https://" + p.rpc[name], "extAuthz": p.asks[index]}
		if p.streams > 0 {
			config["maxStreams"], config["maxStreamsOfOne"] = p.streams, p.streams
		}
		if p.countries != "" {
			config["geoip"] = map[string]any{"file": p.countries}
		}
		return config
	}
}

// document is what the harness needs to know of a resource.
type document struct {
	Kind     string
	Metadata struct{ Name, Tenant string }
}

func documents(text string) []document {
	var all []document
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var one document
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) || err != nil {
			return all
		}
		all = append(all, one)
	}
}

// Prepare makes certificates and configurations for processes that somebody else starts.
func Prepare(cfg Config) error {
	_, err := prepare(cfg)
	return err
}
