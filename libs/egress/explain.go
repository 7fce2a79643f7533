package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// Explain says in words, a sentence without its end, why a server was not reached or not believed; empty when it was for another reason. It holds
// nothing of what the server said.
func Explain(err error) string {
	var refused *RefusedError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var lookup *net.DNSError
	switch {
	case errors.As(err, &refused):
		return fmt.Sprintf("the server's address is %s, which %s. Nothing is sent there, whoever declares it", refused.Address, refused.Why)
	case errors.Is(err, errPins):
		return "the server's certificate is in order, but no key of its chain is one of spec.pins. If its owner changed the key, add the new pin"
	case errors.As(err, &authority):
		return "the server's certificate comes from an authority that is not trusted. Put that authority's certificate into spec.ca"
	case errors.As(err, &host):
		return "the server's certificate is for another host than that of spec.url"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate has expired or is not good yet. Its owner must renew it"
	case errors.As(err, &invalid), errors.As(err, &verification):
		return "the server's certificate is not one that a server can have. Its owner must replace it"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not speak TLS at that address. Is spec.url right to begin with https?"
	case errors.As(err, &lookup):
		return "the server's host name cannot be resolved"
	}
	return alert(err)
}

// alert explains what the server's side of TLS answered. The words are Go's names for the numbers of RFC 8446, 6.
func alert(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return ""
	}
	switch said := op.Err.Error(); {
	case strings.Contains(said, "certificate"):
		return "the server wants a client certificate, or another one than it was shown. Look at spec.clientCertificate"
	default:
		return "the server broke off the TLS handshake (" + said + "). Its owner must say what it wants"
	}
}
