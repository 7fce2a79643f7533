package connection_test

import (
	"strings"
	"testing"

	"headgate.dev/libs/fault"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/credentials/internal/connection"
)

func crm(change func(*credentialsv1.ConnectionSpec)) *credentialsv1.Connection {
	spec := &credentialsv1.ConnectionSpec{
		Server:     "crm",
		Inject:     &credentialsv1.Inject{In: "header", Name: "Authorization", Template: "Bearer {secret}"},
		AllowHosts: []string{"crm.example:443"},
	}
	if change != nil {
		change(spec)
	}
	return &credentialsv1.Connection{Metadata: &resourcev1.Metadata{Name: "crm", Tenant: "acme"}, Spec: spec}
}

func TestACredentialGoesOnlyIntoHeadersThatAreFree(t *testing.T) {
	for _, free := range []string{"Authorization", "X-Api-Key", "PRIVATE-TOKEN", "Cookie", "Api-Key"} {
		if err := connection.Check(crm(func(s *credentialsv1.ConnectionSpec) { s.Inject.Name = free })); err != nil {
			t.Errorf("%s: %v", free, err)
		}
	}
	for _, taken := range []string{
		"Host", "host", "Content-Length", "CONTENT-TYPE", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Authorization", "TE", "Trailer",
		"Upgrade", "Expect", "Accept", "Accept-Encoding", "Mcp-Session-Id", "mcp-protocol-version", "MCP-Method", "Mcp-Param-Region", "Last-Event-ID",
		"Origin", "User-Agent", "X-Forwarded-For", "Forwarded", "traceparent", "Sec-Fetch-Mode", "",
	} {
		err := connection.Check(crm(func(s *credentialsv1.ConnectionSpec) { s.Inject.Name = taken }))
		if !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%s: %v", taken, err)
		}
	}
}

func TestATemplateMustCarryTheSecretInOneLine(t *testing.T) {
	for template, good := range map[string]bool{
		"": true, "{secret}": true, "Bearer {secret}": true, "token={secret}; v=1": true,
		"Bearer": false, "Bearer {Secret}": false, "Bearer ${{ secret }}": false, "a\r\nX-Evil: {secret}": false, "{secret}\n": false, "{secret}\x00": false,
	} {
		err := connection.Check(crm(func(s *credentialsv1.ConnectionSpec) { s.Inject.Template = template }))
		if (err == nil) != good {
			t.Errorf("%q: %v", template, err)
		}
	}
}

func TestASecretThatWouldBreakTheHeaderIsRefusedWithoutBeingShown(t *testing.T) {
	for secret, good := range map[string]bool{
		"sk-live-abc": true, "päss-wörd": true, "with space": true,
		"sk-live\r\nX-Evil: 1": false, "sk-live\n": false, "\rsk-live": false, "sk\x00live": false, " sk-live": false, "sk-live ": false, "abc": false, "": false,
	} {
		err := connection.CheckSecret(crm(nil), secret)
		if (err == nil) != good {
			t.Errorf("%q: %v", secret, err)
		}
		if err != nil && len(secret) > 4 && strings.Contains(err.Error(), strings.TrimSpace(secret)) {
			t.Errorf("the sentence shows the secret: %v", err)
		}
	}
}

func TestAHostIsAllowedByNameAndWhenGivenByPort(t *testing.T) {
	for _, c := range []struct {
		allowed, asked string
		good           bool
	}{
		{"crm.example:443", "crm.example:443", true},
		{"CRM.Example.:443", "crm.example:443", true},
		{"crm.example", "crm.example:8443", true},
		{"crm.example", "crm.example", true},
		{"127.0.0.1:9400", "127.0.0.1:9400", true},
		{"[::1]:9400", "[0:0:0:0:0:0:0:1]:9400", true},
		{"[::1]", "[::1]:9400", true},
		{"::1", "[::1]:9400", true},
		{"crm.example:443", "crm.example:80", false},
		{"crm.example:443", "crm.example", false},
		{"crm.example", "evil.crm.example", false},
		{"crm.example", "crm.example.evil.test", false},
		{"crm.example", "crm.example@evil.test", false},
		{"crm.example", "crm.example:443/path", false},
		{"crm.example", "crm.example\x00.evil.test", false},
		{"crm.example", "", false},
		{"127.0.0.1", "2130706433", false},
		{"127.0.0.1", "0x7f.1", false},
		{"127.0.0.1", "localhost", false},
	} {
		spec := crm(func(s *credentialsv1.ConnectionSpec) { s.AllowHosts = []string{c.allowed} }).GetSpec()
		if err := connection.Allows(spec, c.asked); (err == nil) != c.good {
			t.Errorf("allowed %q, asked %q: %v", c.allowed, c.asked, err)
		}
	}
}

func TestAllowHostsAreHostsAndNothingElse(t *testing.T) {
	for _, text := range []string{"*.example", "*", "https://crm.example", "crm.example/", "crm example", "crm..example", "-crm.example",
		"crm.example:0", "crm.example:65536",
		"crm.example:http", "crm.example:", "fe80::1%eth0", "[crm.example]", "[127.0.0.1]:80", "::1:x", "1.2.3", strings.Repeat("a", 64) + ".example"} {
		if err := connection.Check(crm(func(s *credentialsv1.ConnectionSpec) { s.AllowHosts = []string{text} })); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := connection.Check(crm(func(s *credentialsv1.ConnectionSpec) { s.AllowHosts = nil })); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
		t.Errorf("no host: %v", err)
	}
}

func TestTheTemplateIsFilledWithTheSecretAlone(t *testing.T) {
	for template, want := range map[string]string{"": "s3cret", "Bearer {secret}": "Bearer s3cret", "a={secret}, b={secret}": "a=s3cret, b=s3cret"} {
		if got := connection.Value(&credentialsv1.Inject{Template: template}, "s3cret"); got != want {
			t.Errorf("%q became %q", template, got)
		}
	}
	if got := connection.Value(&credentialsv1.Inject{Template: "Bearer {secret}"}, "{secret}"); got != "Bearer {secret}" {
		t.Errorf("a secret that looks like the placeholder became %q", got)
	}
}

func FuzzParseHostIsStable(f *testing.F) {
	for _, seed := range []string{"crm.example:443", "[::1]:80", "::1", "127.0.0.1", "a..b", "x:0", "::ffff:127.0.0.1", "A.B."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		host, err := connection.ParseHost(text)
		if err != nil {
			return
		}
		again, err := connection.ParseHost(host.String())
		if err != nil || again != host {
			t.Errorf("%q is %+v, and its own form %q is %+v, %v", text, host, host.String(), again, err)
		}
	})
}
