// Package elastic is an index in Elasticsearch 8: one data stream for each tenant, of documents in the Elastic Common Schema.
package elastic

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"time"

	"github.com/elastic/go-elasticsearch/v8"

	"headgate.dev/libs/fault"
)

const (
	// DefaultName is how the data streams of an installation begin, after "logs-".
	DefaultName = "headgate"

	dialTimeout    = 30 * time.Second
	idleConnection = 90 * time.Second
	largestKeyFile = 4096
)

// A data stream's name holds it; a hyphen would end the dataset.
var installation = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// Config says where Elasticsearch is and who we are there. Without addresses it is not used.
type Config struct {
	// Addresses are the nodes' URLs, as https://elastic-0:9200.
	Addresses []string `yaml:"addresses"`
	// APIKeyFile holds an API key in the form that Elasticsearch calls "encoded". It is read again for each request, so that it can be changed.
	APIKeyFile string `yaml:"apiKeyFile"`
	// CAFile is PEM; empty means the system's roots.
	CAFile string `yaml:"caFile"`
	// Name keeps the data streams of several installations on one cluster apart: logs-<name>.audit-<tenant>. Empty means headgate.
	Name string `yaml:"name"`

	alerts bool // the data streams of alerts, not those of records
}

// Used reports whether Elasticsearch is chosen.
func (c Config) Used() bool { return len(c.Addresses) > 0 }

// Check says what cannot work.
func (c Config) Check() error {
	if len(c.Addresses) == 0 {
		return fault.Invalid("elasticsearch.addresses: is empty. Name at least one node, as https://elastic-0:9200.")
	}
	for _, a := range c.Addresses {
		u, err := url.Parse(a)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			return fault.Invalid("elasticsearch.addresses: one is not a URL with http or https, a host and no password in it. The key belongs into apiKeyFile.")
		}
		if u.Scheme == "http" && c.APIKeyFile != "" && u.Hostname() != "127.0.0.1" && u.Hostname() != "localhost" && u.Hostname() != "::1" {
			return fault.Invalid("elasticsearch.addresses: %s would carry the API key unencrypted. Use https.", u.Host)
		}
	}
	if !installation.MatchString(c.withDefaults().Name) {
		return fault.Invalid("elasticsearch.name: is %q. It has 1 to 32 of a-z, 0-9 and _, and begins with a letter.", c.Name)
	}
	if c.APIKeyFile != "" {
		if _, err := readKey(c.APIKeyFile); err != nil {
			return err
		}
	}
	_, err := c.roots()
	return err
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = DefaultName
	}
	return c
}

func (c Config) roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fault.Invalid("elasticsearch.caFile cannot be read: %v.", err).Because(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fault.Invalid("elasticsearch.caFile (%s) holds no certificate in PEM form.", c.CAFile)
	}
	return pool, nil
}

// client is the official client. It tries nothing again by itself: what may be tried again is decided document by document.
func (c Config) client() (*elasticsearch.BaseClient, *http.Transport, error) {
	roots, err := c.roots()
	if err != nil {
		return nil, nil, err
	}
	wire := &http.Transport{
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		ResponseHeaderTimeout: dialTimeout, IdleConnTimeout: idleConnection, MaxIdleConnsPerHost: 4,
	}
	made, err := elasticsearch.NewBaseClient(elasticsearch.Config{
		Addresses: c.Addresses, DisableRetry: true, DisableMetaHeader: true, Transport: &keyed{file: c.APIKeyFile, next: wire},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("elasticsearch: %w", err)
	}
	return made, wire, nil
}

// keyed adds the API key to requests.
type keyed struct {
	file string
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (k *keyed) RoundTrip(r *http.Request) (*http.Response, error) {
	if k.file == "" {
		return k.next.RoundTrip(r)
	}
	key, err := readKey(k.file)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "ApiKey "+key)
	return k.next.RoundTrip(r)
}

func readKey(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fault.Invalid("elasticsearch.apiKeyFile cannot be read: %v.", err).Because(err)
	}
	key := bytes.TrimSpace(raw)
	if len(key) == 0 || len(key) > largestKeyFile || bytes.ContainsAny(key, " \r\n\t\x00") {
		return "", fault.Invalid("elasticsearch.apiKeyFile (%s) does not hold one encoded API key and nothing else.", file)
	}
	return string(key), nil
}
