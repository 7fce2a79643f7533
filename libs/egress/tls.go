package egress

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"headgate.dev/libs/certfile"
)

// Certificates are the client certificates that a service can show to servers, by the name that Server resources say.
type Certificates map[string]Certificate

// Certificate is one of them: PEM files, read again when they change.
type Certificate struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	// Tenants are those whose servers can be shown it; none means every tenant's.
	Tenants []string `yaml:"tenants"`
}

// Check says what is missing. It opens no file.
func (c Certificates) Check() error {
	for name, one := range c {
		if name == "" || one.Certificate == "" || one.Key == "" {
			return fmt.Errorf("clientCertificates.%s: needs certificate and key, both PEM files", name)
		}
	}
	return nil
}

// Identities are client certificates as they are held. The zero value has none. Safe for concurrent use.
type Identities struct{ held map[string]identity }

type identity struct {
	pair    *certfile.Held[*tls.Certificate]
	tenants []string
}

// Open reads the files of all certificates.
func (c Certificates) Open(log *slog.Logger) (Identities, error) {
	if err := c.Check(); err != nil {
		return Identities{}, err
	}
	all := Identities{held: make(map[string]identity, len(c))}
	for name, one := range c {
		pair, err := certfile.Pair(log, one.Certificate, one.Key)
		if err != nil {
			return Identities{}, fmt.Errorf("clientCertificates.%s: %w", name, err)
		}
		all.held[name] = identity{pair: pair, tenants: one.Tenants}
	}
	return all, nil
}

// Server says who is expected at an https URL, and who they are shown.
type Server struct {
	Tenant string
	// Host is the URL's, without a port.
	Host string
	// CA is PEM of the only authorities to believe; empty means the system's.
	CA string
	// Pins name public keys as Pin does; one of the verified chain must be among them. None means any.
	Pins []string
	// ClientCertificate is a name of the configuration's; empty shows none.
	ClientCertificate string
}

// TLS is the client's side of TLS 1.2 or 1.3 with a server. An error is a part of a sentence for the administrator.
func (i Identities) TLS(s Server) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	if s.CA != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(s.CA)) {
			return nil, errors.New("spec.ca holds no certificate in PEM")
		}
	}
	if len(s.Pins) > 0 {
		cfg.VerifyConnection = func(state tls.ConnectionState) error { return pinned(state.VerifiedChains, s.Pins) }
	}
	if s.ClientCertificate != "" {
		mine, ok := i.held[s.ClientCertificate]
		if !ok || len(mine.tenants) > 0 && !slices.Contains(mine.tenants, s.Tenant) {
			return nil, fmt.Errorf("spec.clientCertificate names %q, which this service's configuration does not have for the tenant %s. Its operator "+
				"can add it to clientCertificates", s.ClientCertificate, s.Tenant)
		}
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return mine.pair.Now(), nil }
	}
	return cfg, nil
}

// errPins says that a server is who it says, but has another key.
var errPins = errors.New("no public key of the chain is pinned")

// pinned wants one certificate of a chain that was verified to have a pinned key. A pin never makes up for a chain that does not verify.
func pinned(chains [][]*x509.Certificate, pins []string) error {
	for _, chain := range chains {
		for _, cert := range chain {
			if slices.Contains(pins, Pin(cert)) {
				return nil
			}
		}
	}
	return errPins
}

// Pin names a certificate's public key: "sha256/" and the Base64 of the SHA-256 of its SubjectPublicKeyInfo, as RFC 7469 does.
func Pin(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return "sha256/" + base64.StdEncoding.EncodeToString(sum[:])
}
