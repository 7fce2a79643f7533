package serve

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
)

const goodConfig = `listen: 127.0.0.1:9001
diagnostics: 127.0.0.1:9002
journal: {dir: /var/lib/headgate/journal, syncEvery: 50ms}
kafka:
  brokers: [127.0.0.1:9092]
  sasl: {mechanism: PLAIN, user: u, password: hunter2}
log: {level: warn}
service:
  name: a
  password: hunter3
  limits: {calls: 5}
  hosts: [a, b]
`

func (s *site) read(file string) string {
	s.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

func TestAConfigurationIsReadWhole(t *testing.T) {
	cfg, err := parse[ownConfig]("c.yaml", []byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen != "127.0.0.1:9001" || cfg.Journal.SyncEvery.Milliseconds() != 50 || cfg.Kafka.SASL.Password.Reveal() != "hunter2" ||
		cfg.Service.Password.Reveal() != "hunter3" || cfg.Service.Limits.Calls != 5 || len(cfg.Service.Hosts) != 2 || cfg.Log.level().String() != "WARN" {
		t.Errorf("read as %+v", cfg)
	}
}

func TestAConfigurationThatIsWrongIsRefusedWithLineAndField(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(goodConfig, old, new, 1) }
	cases := map[string]struct{ text, want string }{
		"an unknown field":           {replace("log: {level", "log: {lvl"), "c.yaml:7: log.lvl: unknown field"},
		"an unknown field at top":    {goodConfig + "lisen: x\n", "c.yaml:13: lisen: unknown field"},
		"an unknown field inside":    {replace("calls: 5", "cals: 5"), "c.yaml:11: service.limits.cals: unknown field"},
		"a wrong type":               {replace("calls: 5", "calls: many"), "c.yaml:11: service.limits.calls: must be a whole number"},
		"a fraction":                 {replace("calls: 5", "calls: 5.5"), "c.yaml:11: service.limits.calls: must be a whole number"},
		"a duration without unit":    {replace("50ms", "50"), "c.yaml:3: journal.syncEvery: must be a duration"},
		"a wrong duration":           {replace("50ms", "fast"), "c.yaml:3: journal.syncEvery: must be a duration"},
		"a list for a text":          {replace("name: a", "name: [a]"), "c.yaml:9: service.name: must be a text"},
		"a text for a list":          {replace("hosts: [a, b]", "hosts: a"), "c.yaml:12: service.hosts: must be a list"},
		"a list inside a list":       {replace("hosts: [a, b]", "hosts: [a, [b]]"), "c.yaml:12: service.hosts[1]: must be a text"},
		"a text for a mapping":       {replace("log: {level: warn}", "log: warn"), "c.yaml:7: log: must be a mapping"},
		"a field twice":              {goodConfig + "listen: 127.0.0.1:1\n", "c.yaml:13: listen: given twice"},
		"a secret in the wrong form": {replace("password: hunter3", "password: {x: hunter3}"), "c.yaml:10: service.password: must be a text"},
		"no address":                 {replace("listen: 127.0.0.1:9001", "listen:"), "c.yaml:1: listen: is needed"},
		"half an address":            {replace("127.0.0.1:9002", "127.0.0.1"), "c.yaml:2: diagnostics: must be host:port"},
		"no journal":                 {replace("journal: {dir: /var/lib/headgate/journal, syncEvery: 50ms}", ""), "c.yaml: journal.dir: is needed"},
		"no broker":                  {replace("brokers: [127.0.0.1:9092]", "brokers: []"), "c.yaml:4: kafka: No Kafka broker"},
		"a log level":                {replace("warn", "loud"), "c.yaml:7: log.level: must be debug"},
		"no TLS on a network":        {replace("127.0.0.1:9001", "0.0.0.0:9001"), "c.yaml: tls: cert, key and ca are needed"},
		"no TLS anywhere":            {replace("127.0.0.1:9001", ":9001"), "tls: cert, key and ca are needed"},
		"half of TLS":                {goodConfig + "tls: {cert: a}\n", "c.yaml:13: tls: cert, key and ca are needed together"},
		"a strange peer":             {goodConfig + "tls: {cert: a, key: b, ca: c}\npeers: {edg: 'https://x:1'}\n", "c.yaml:14: peers.edg: there is no service"},
		"a peer in the clear":        {goodConfig + "tls: {cert: a, key: b, ca: c}\npeers: {edge: 'http://x:1'}\n", "c.yaml:14: peers.edge: must be https"},
		"a peer without TLS":         {goodConfig + "peers: {edge: 'https://x:1'}\n", "c.yaml:13: peers.edge: needs tls"},
		"the service's own check":    {replace("name: a", "name: refused"), "c.yaml:8: service: service.name is refused"},
		"a second document":          {goodConfig + "---\nlisten: x\n", "second YAML document"},
		"no YAML":                    {"listen: [", "c.yaml"},
		"a text":                     {"hello", "c.yaml:1: the file: must be a mapping"},
		"nothing":                    {"", "c.yaml: listen: is needed"},
		"an endless alias":           {"service: &a\n  hosts: *a\n", "c.yaml"},
		"a merge":                    {"service: &a {name: x}\nkafka: {<<: *a}\n", "kafka: every key must be a name"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := parse[ownConfig]("c.yaml", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got: %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "hunter") {
				t.Errorf("a secret is quoted: %v", err)
			}
		})
	}
}

func TestAllProblemsAreSaidAtOnce(t *testing.T) {
	_, err := parse[ownConfig]("c.yaml", []byte("listen: 1\nlog: {level: loud}\n"))
	if err == nil || len(strings.Split(err.Error(), "\n")) != 6 {
		t.Errorf("got: %v", err)
	}
}

func TestFlags(t *testing.T) {
	built := func(ownConfig, Deps) (Service, error) {
		t.Error("the service was built")
		return nil, os.ErrInvalid
	}
	file := write(t, goodConfig)
	var out bytes.Buffer
	if err := run(t.Context(), "trust", []string{"--config", file, "--check-config"}, &out, io.Discard, built); err != nil || out.Len() > 0 {
		t.Errorf("--check-config: %v, %s", err, out.String())
	}
	if err := run(t.Context(), "trust", []string{"--config", file, "--print-config"}, &out, io.Discard, built); err != nil {
		t.Errorf("--print-config: %v", err)
	}
	for _, want := range []string{"listen: 127.0.0.1:9001", "syncEvery: 50ms", "password: '[redacted]'", "level: warn"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("--print-config does not say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "hunter") {
		t.Errorf("--print-config prints a secret:\n%s", out.String())
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nothing":          {nil, "--config FILE"},
		"no such file":     {[]string{"--config", "/nowhere/c.yaml"}, "/nowhere/c.yaml"},
		"an unknown flag":  {[]string{"--insecure"}, "insecure"},
		"an argument":      {[]string{"--config", file, "start"}, `"start"`},
		"a wrong file":     {[]string{"--config", write(t, "x: 1"), "--check-config"}, "x: unknown field"},
		"a directory":      {[]string{"--config", t.TempDir()}, "cannot be read"},
		"missing TLS file": {[]string{"--config", write(t, goodConfig+"tls: {cert: /nowhere/a, key: b, ca: c}\n")}, "/nowhere/a"},
	} {
		if err := run(t.Context(), "trust", c.args, io.Discard, io.Discard, built); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := run(t.Context(), "trust", []string{"--help"}, io.Discard, io.Discard, built); err != nil {
		t.Errorf("--help: %v", err)
	}
}

// FuzzConfig proves that no file breaks the reader, that none is taken without what is needed, and that what is taken is printed without secrets.
func FuzzConfig(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := parse[ownConfig]("c.yaml", data)
		if err != nil {
			return
		}
		if cfg.Listen == "" || cfg.Diagnostics == "" || cfg.Journal.Dir == "" || len(cfg.Kafka.Brokers) == 0 {
			t.Errorf("taken: %q", data)
		}
		var out bytes.Buffer
		if err := printConfig(&out, cfg); err != nil {
			t.Errorf("not printed: %v", err)
		}
		if password := cfg.Service.Password.Reveal(); len(password) > 20 && strings.Contains(out.String(), password) && strings.Count(string(data), password) == 1 {
			t.Errorf("a secret is printed: %s", out.String())
		}
	})
}
