// Package openfga is the one door to OpenFGA: it runs the server that is linked in, or reaches one by URL, and speaks to both the same way,
// over HTTP with OpenFGA's own SDK. Each tenant has a store of its own.
package openfga

import (
	"crypto/tls"
	"crypto/x509"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
)

// Config says which OpenFGA to use: the one that is linked in (Dir) or a server (URL). Exactly one is set.
type Config struct {
	// Dir is the data directory of the linked-in server. What is in it is derived from the directory of identity and is made again when it is lost.
	Dir string `yaml:"dir"`
	// URL is the address of an OpenFGA server, as https://openfga:8080.
	URL string `yaml:"url"`
	// Token is the server's preshared key. The linked-in server makes its own.
	Token secret.String `yaml:"token"`
	// TokenFile holds the preshared key instead, so that it need not stand in a configuration. It is read once, at the start.
	TokenFile string `yaml:"tokenFile"`
	// CAFile holds the certificates, in PEM, of who may have signed the server's; empty means those of the machine.
	CAFile string `yaml:"caFile"`
	// Namespace begins the names of this installation's stores; empty means headgate.
	Namespace string `yaml:"namespace"`
}

const defaultNamespace = "headgate"

// A store's name is at most 64 characters and a tenant's at most 40.
var validNamespace = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,20}$`)

// Check refuses a configuration that cannot work or would be unsafe.
func (c Config) Check() error {
	if c.Namespace != "" && !validNamespace.MatchString(c.Namespace) {
		return fault.Invalid("openfga.namespace %q must be 1 to 20 of letters, digits, dot, underscore and hyphen.", c.Namespace)
	}
	switch {
	case c.Dir == "" && c.URL == "":
		return fault.Invalid("Neither openfga.dir nor openfga.url is set. Name a data directory for the linked-in OpenFGA, or the URL of a server.")
	case c.Dir != "" && c.URL != "":
		return fault.Invalid("Both openfga.dir and openfga.url are set. Keep the one that shall hold the relations.")
	case c.Dir != "" && (c.TokenFile != "" || c.CAFile != ""):
		return fault.Invalid("openfga.tokenFile and openfga.caFile go with openfga.url. The linked-in OpenFGA is reached in this process; remove them.")
	case c.Dir != "" && !c.Token.Empty():
		return fault.Invalid("openfga.token goes with openfga.url. The linked-in OpenFGA makes its own key; remove the token.")
	case c.Dir != "":
		return nil
	}
	return c.checkServer()
}

func (c Config) checkServer() error {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return fault.Invalid("openfga.url must be an http or https URL without a user name or password.")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return fault.Invalid("openfga.url is plain http to another machine: whoever listens would learn the key and could change the relations. Use https.")
	}
	if u.Scheme == "http" && c.CAFile != "" {
		return fault.Invalid("openfga.caFile goes with https. Use it in openfga.url, or remove the file.")
	}
	switch {
	case c.Token.Empty() && c.TokenFile == "":
		return fault.Invalid("openfga.token is not set, nor openfga.tokenFile. A server without a key would let anyone change the relations; set the server's preshared key.")
	case !c.Token.Empty() && c.TokenFile != "":
		return fault.Invalid("Both openfga.token and openfga.tokenFile are set. Keep the file.")
	}
	return nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// key is the server's preshared key.
func (c Config) key() (secret.String, error) {
	if c.TokenFile == "" {
		return c.Token, nil
	}
	text, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return secret.String{}, fault.Invalid("openfga.tokenFile cannot be read: %v.", err)
	}
	key := strings.TrimSpace(string(text))
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return secret.String{}, fault.Invalid("openfga.tokenFile %s does not hold one key of printable characters. Put the server's preshared key into it, and nothing else.", c.TokenFile)
	}
	return secret.New(key), nil
}

// trusted is whose certificates a server is believed by.
func (c Config) trusted() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile == "" {
		return cfg, nil
	}
	text, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fault.Invalid("openfga.caFile cannot be read: %v.", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(text) {
		return nil, fault.Invalid("openfga.caFile %s holds no certificate. Put those that sign the server's into it, in PEM.", c.CAFile)
	}
	return cfg, nil
}

func (c Config) namespace() string {
	if c.Namespace == "" {
		return defaultNamespace
	}
	return c.Namespace
}
