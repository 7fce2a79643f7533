package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"headgate.dev/libs/certfile"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
)

// ServerTLS is TLS 1.3 with the certificate and key from files, and clients' certificates verified against caFile when they send one. The files
// are read again when they change; while what they hold does not fit together, the last that did is used and log says so.
func ServerTLS(log *slog.Logger, certFile, keyFile, caFile string) (*tls.Config, error) {
	files, err := openFiles(log, certFile, keyFile, caFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			held := files.Now()
			return &tls.Config{
				MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{held.cert},
				ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: held.roots, SessionTicketsDisabled: true,
			}, nil
		},
		// net/http wants a certificate in sight; every handshake goes through GetConfigForClient.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &files.Now().cert, nil },
	}, nil
}

// ClientTLS is a service's side: its own certificate, and servers verified against caFile alone, by the host that
// Dial calls. Files are read again as by ServerTLS.
func ClientTLS(log *slog.Logger, certFile, keyFile, caFile string) (*tls.Config, error) {
	files, err := openFiles(log, certFile, keyFile, caFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &files.Now().cert, nil },
		// The roots may change while the configuration lives, so VerifyConnection does what the library would do, with those of this moment.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			return verifyServer(state, files.Now().roots)
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

type material struct {
	cert  tls.Certificate
	roots *x509.CertPool
}

func openFiles(log *slog.Logger, certFile, keyFile, caFile string) (*certfile.Held[*material], error) {
	held, err := certfile.Open(log, func() (*material, error) { return read(certFile, keyFile, caFile) }, certFile, keyFile, caFile)
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return held, nil
}

func read(certFile, keyFile, caFile string) (*material, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %w", certFile, keyFile, err)
	}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("TLS authorities: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("TLS authorities: %s holds no certificate", caFile)
	}
	return &material{cert: cert, roots: roots}, nil
}
