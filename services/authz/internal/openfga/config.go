// Package openfga is the one door to OpenFGA: it runs the server that is linked in, or reaches one by URL, and speaks to both the same way,
// over HTTP with OpenFGA's own SDK. Each tenant has a store of its own.
package openfga

import (
	"net/url"
	"regexp"

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
	if c.Token.Empty() {
		return fault.Invalid("openfga.token is not set. A server without a key would let anyone change the relations; set the server's preshared key.")
	}
	return nil
}

func (c Config) namespace() string {
	if c.Namespace == "" {
		return defaultNamespace
	}
	return c.Namespace
}
