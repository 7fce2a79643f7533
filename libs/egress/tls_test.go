package egress_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"strings"
	"testing"

	"headgate.dev/libs/egress"
	"headgate.dev/libs/rpc/rpctest"
)

func TestPinsAreWrittenAsOtherToolsWriteThem(t *testing.T) {
	// The key and what it is called are from: openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64
	block, _ := pem.Decode([]byte(certificate))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if got := egress.Pin(cert); got != "sha256/"+certificatePin {
		t.Errorf("%s", got)
	}
}

func TestClientCertificatesAreThoseOfTheConfigurationAndOfTheirTenants(t *testing.T) {
	cert, key := rpctest.NewAuthority(t).Issue(t, "client")
	log := slog.New(slog.DiscardHandler)
	for name, bad := range map[string]egress.Certificates{
		"no key": {"core": {Certificate: cert}}, "no name": {"": {Certificate: cert, Key: key}}, "swapped": {"core": {Certificate: key, Key: cert}},
		"missing": {"core": {Certificate: cert, Key: "/nowhere.pem"}},
	} {
		if _, err := bad.Open(log); err == nil || !strings.Contains(err.Error(), "clientCertificates") {
			t.Errorf("%s: %v", name, err)
		}
	}
	held, err := egress.Certificates{"core": {Certificate: cert, Key: key}, "theirs": {Certificate: cert, Key: key, Tenants: []string{"globex"}}}.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		identities   egress.Identities
		name, tenant string
		has          bool
	}{
		{held, "core", "acme", true}, {held, "core", "globex", true}, {held, "theirs", "globex", true}, {held, "theirs", "acme", false},
		{held, "other", "acme", false}, {egress.Identities{}, "core", "acme", false},
	} {
		cfg, err := c.identities.TLS(egress.Server{Host: "h", Tenant: c.tenant, ClientCertificate: c.name})
		if (err == nil) != c.has || !c.has && !strings.Contains(err.Error(), "clientCertificate") {
			t.Errorf("%s for %s: %v", c.name, c.tenant, err)
			continue
		}
		if c.has {
			if shown, err := cfg.GetClientCertificate(&tls.CertificateRequestInfo{}); err != nil || shown.Leaf == nil || shown.Leaf.Subject.CommonName != "client" {
				t.Errorf("%s: shows %v, %v", c.name, shown, err)
			}
		}
	}
	if _, err := (egress.Identities{}).TLS(egress.Server{Host: "h", CA: "none"}); err == nil || !strings.Contains(err.Error(), "spec.ca") {
		t.Errorf("authorities that are none: %v", err)
	}
}

const certificate = `-----BEGIN CERTIFICATE-----
MIIBgzCCASmgAwIBAgIUcVlqykwzGHmqkAwC8+Q8+1kLNZswCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLcGluLmV4YW1wbGUwIBcNMjYxMTI4MDAyNTM3WhgPMjEyNjEx
MDQwMDI1MzdaMBYxFDASBgNVBAMMC3Bpbi5leGFtcGxlMFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEG0uUme3lT+tO4YEfwCIwgaW9IybnPDWVmCEbLtudODS7TjMj
nmIcMpICIokT8o/rH4OkAOuz4W+ys5ZW6P6XCKNTMFEwHQYDVR0OBBYEFEQie0gD
dPbGSL/1Wm6QQ+LLICy5MB8GA1UdIwQYMBaAFEQie0gDdPbGSL/1Wm6QQ+LLICy5
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgRERLxV0MX1rPcjKZ
/VjhTbIX3/e04OE9FgJW/IXVGv4CIQDTOM9YeOI3osNOXFL742tY49BLM6rZqVH3
/UYmPUWOMw==
-----END CERTIFICATE-----`

const certificatePin = "T7qTfqdnWx/cjqUiuw9J1VGZTUKJRqXB+uWzVzveW3Q="
