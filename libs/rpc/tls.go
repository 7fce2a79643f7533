package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
)

// reloadEvery is how often a handshake looks at the files again.
const reloadEvery = time.Second

// ServerTLS is TLS 1.3 with the certificate and key from files, and clients' certificates verified against caFile when they send one. The files
// are read again when they change; while what they hold does not fit together, the last that did is used.
func ServerTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	files, err := openFiles(certFile, keyFile, caFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			held := files.current()
			return &tls.Config{
				MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{held.cert},
				ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: held.roots, SessionTicketsDisabled: true,
			}, nil
		},
		// net/http wants a certificate in sight; every handshake goes through GetConfigForClient.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &files.current().cert, nil },
	}, nil
}

// ClientTLS is a service's side: its own certificate, and servers verified against caFile alone, by the host that
// Dial calls. Files are read again as by ServerTLS.
func ClientTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	files, err := openFiles(certFile, keyFile, caFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &files.current().cert, nil },
		// The roots may change while the configuration lives, so VerifyConnection does what the library would do, with those of this moment.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return verifyServer(state, files.current().roots)
		},
	}, nil
}

func verifyServer(state tls.ConnectionState, roots *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server sent no certificate")
	}
	if state.ServerName == "" {
		return errors.New("the server's name is not known, so its certificate cannot be checked")
	}
	intermediates := x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		intermediates.AddCert(cert)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: state.ServerName, Roots: roots, Intermediates: intermediates})
	return err
}

// expect is the client's TLS for one host, whose certificate must also name the service, if there is one.
func expect(base *tls.Config, host string, service optionsv1.Service) *tls.Config {
	if base == nil {
		base = &tls.Config{MinVersion: tls.VersionTLS13}
	}
	cfg := base.Clone()
	before := cfg.VerifyConnection
	cfg.VerifyConnection = func(state tls.ConnectionState) error {
		if state.ServerName == "" { // an IP address is not sent, and so not in the state
			state.ServerName = host
		}
		if before != nil {
			if err := before(state); err != nil {
				return err
			}
		}
		if service == optionsv1.Service_SERVICE_UNSPECIFIED {
			return nil
		}
		if len(state.PeerCertificates) == 0 || serviceIn(state.PeerCertificates[0]) != service {
			return fmt.Errorf("the server's certificate does not name %s%s", spiffePrefix, ServiceName(service))
		}
		return nil
	}
	return cfg
}

// files holds what the three files said when they last fitted together. Safe for concurrent use.
type files struct {
	cert, key, ca string

	mu      sync.Mutex
	held    *material
	looked  time.Time
	changed [3]time.Time
}

type material struct {
	cert  tls.Certificate
	roots *x509.CertPool
}

func openFiles(cert, key, ca string) (*files, error) {
	f := &files{cert: cert, key: key, ca: ca, looked: time.Now()}
	changed, err := f.times()
	if err != nil {
		return nil, err
	}
	if f.held, err = f.read(); err != nil {
		return nil, err
	}
	f.changed = changed
	return f, nil
}

func (f *files) current() *material {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < reloadEvery {
		return f.held
	}
	f.looked = time.Now()
	changed, err := f.times()
	if err != nil || changed == f.changed {
		return f.held
	}
	// A rotation in progress, half of it written: the next look finds it whole, and until then the old certificate still holds.
	if fresh, err := f.read(); err == nil {
		f.held, f.changed = fresh, changed
	}
	return f.held
}

func (f *files) times() ([3]time.Time, error) {
	var times [3]time.Time
	for i, name := range []string{f.cert, f.key, f.ca} {
		info, err := os.Stat(name)
		if err != nil {
			return times, fmt.Errorf("TLS files: %w", err)
		}
		times[i] = info.ModTime()
	}
	return times, nil
}

func (f *files) read() (*material, error) {
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %w", f.cert, f.key, err)
	}
	ca, err := os.ReadFile(f.ca)
	if err != nil {
		return nil, fmt.Errorf("TLS authorities: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("TLS authorities: %s holds no certificate", f.ca)
	}
	return &material{cert: cert, roots: roots}, nil
}
