package serve

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"slices"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/kafka"
	"headgate.dev/libs/rpc"

	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
)

// Config is a service's configuration file: what all services have, and the service's own part.
type Config[C any] struct {
	// Listen is the host:port of the RPCs.
	Listen string `yaml:"listen"`
	// Diagnostics is the host:port of health, metrics and profiles. It asks nobody who they are: keep it off public networks.
	Diagnostics string `yaml:"diagnostics"`
	// TLS is needed unless Listen is on this machine alone: services know each other by their certificates.
	TLS TLS `yaml:"tls"`
	// Peers are the URLs of the other services, by name.
	Peers map[string]string `yaml:"peers"`
	// Journal is where the service's audit records go first, and Kafka where they are shipped to.
	Journal journal.Config `yaml:"journal"`
	Kafka   kafka.Config   `yaml:"kafka"`
	Log     Log            `yaml:"log"`
	Service C              `yaml:"service"`
}

// TLS names PEM files. They are read again when they change.
type TLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// CA holds the authorities of the installation; certificates of services are signed by them.
	CA string `yaml:"ca"`
}

func (t TLS) empty() bool { return t == TLS{} }

// Log says what is logged: debug, info (default), warn or error.
type Log struct {
	Level string `yaml:"level"`
}

// level is the level by its name; the name is checked before.
func (l Log) level() slog.Level {
	var level slog.Level
	if l.Level != "" {
		_ = level.UnmarshalText([]byte(l.Level)) // Check refused what it does not know
	}
	return level
}

// ReadOwn is a service's own part of its configuration file, which is checked whole: for commands that prepare what the service needs.
func ReadOwn[C any](file string) (C, error) {
	cfg, err := load[C](file)
	if err != nil {
		var none C
		return none, err
	}
	return cfg.Service, nil
}

// load reads and checks a configuration file.
func load[C any](file string) (*Config[C], error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	return parse[C](file, data)
}

func parse[C any](file string, data []byte) (*Config[C], error) {
	cfg := new(Config[C])
	lines, err := decode(file, data, cfg)
	if err != nil {
		return nil, err
	}
	check := &checks{problems: problems{file: file}, lines: lines}
	check.address("listen", cfg.Listen)
	check.address("diagnostics", cfg.Diagnostics)
	check.tls(cfg.TLS, cfg.Listen)
	check.peers(cfg.Peers, cfg.TLS)
	if cfg.Journal.Dir == "" {
		check.add("journal.dir", "is needed: the directory of the service's own audit journal")
	}
	if err := cfg.Kafka.Check(); err != nil {
		check.add("kafka", "%v", err)
	}
	if !slices.Contains([]string{"", "debug", "info", "warn", "error"}, cfg.Log.Level) {
		check.add("log.level", "must be debug, info, warn or error")
	}
	if own, ok := any(&cfg.Service).(interface{ Check() error }); ok {
		if err := own.Check(); err != nil {
			check.add("service", "%v", err)
		}
	}
	if len(check.all) > 0 {
		return nil, &check.problems
	}
	return cfg, nil
}

// checks collects what is missing or does not fit.
type checks struct {
	problems

	lines map[string]int
}

func (c *checks) add(field, format string, args ...any) {
	c.all = append(c.all, problem{line: c.lines[field], field: field, text: fmt.Sprintf(format, args...)})
}

func (c *checks) address(field, address string) {
	if address == "" {
		c.add(field, "is needed: host:port")
	} else if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		c.add(field, "must be host:port")
	}
}

func (c *checks) tls(t TLS, listen string) {
	host, _, _ := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	switch {
	case t.empty() && host != "localhost" && (ip == nil || !ip.IsLoopback()):
		c.add("tls", "cert, key and ca are needed unless listen is on this machine alone: services know each other by their certificates")
	case !t.empty() && (t.Cert == "" || t.Key == "" || t.CA == ""):
		c.add("tls", "cert, key and ca are needed together")
	}
}

func (c *checks) peers(peers map[string]string, t TLS) {
	for _, name := range slices.Sorted(keys(peers)) {
		field := "peers." + name
		u, err := url.Parse(peers[name])
		switch {
		case rpc.ServiceByName(name) == optionsv1.Service_SERVICE_UNSPECIFIED:
			c.add(field, "there is no service of this name")
		case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
			c.add(field, "must be https://HOST:PORT: services know each other by their certificates")
		case t.empty():
			c.add(field, "needs tls: a service shows its peers its certificate")
		}
	}
}
