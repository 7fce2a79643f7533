package edge_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/egress"
	"headgate.dev/libs/egress/egresstest"
	"headgate.dev/libs/mcp"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge"
)

// calling calls a tool of servers as they are declared.
func calling(u *upstream) egresstest.Start {
	return func(t *testing.T, certificates egress.Certificates) egresstest.Reacher {
		w := support(t, u)
		h := start(t, w, func(c *edge.Config) { c.ClientCertificates = certificates })
		ana := h.client("ana", "/mcp/echo", true)
		n := 0
		return func(t *testing.T, d egresstest.Declared) string {
			w.server("echo", d.URL, []string{echoTool}, func(s *trustv1.ServerState) {
				s.Server.Spec.Ca, s.Server.Spec.Pins, s.Server.Spec.ClientCertificate = d.CA, d.Pins, d.ClientCertificate
			})
			eventually(t, 20*time.Second, "the edge knows of it", func() bool { return h.replicasAt(w.at()) })
			n++
			r := ana.call("echo", `{"n":`+strconv.Itoa(n)+`}`)
			if r.refused() || r.error() != "" {
				if mcp.Get(r.body, "result", "_meta", mcp.MetaDecision) == nil {
					t.Errorf("the refusal is not the edge's: %s", r.body)
				}
				return r.text() + r.error()
			}
			if r.text() != `{"n":`+strconv.Itoa(n)+`}` {
				t.Errorf("%s", r.body)
			}
			return ""
		}
	}
}

func TestT23AServerIsCalledOnlyWhenItsCertificateIsAsDeclared(t *testing.T) {
	u := newUpstream(t, echoTool)
	egresstest.Certificates(t, u, calling(u))
}

func TestACallShowsTheDeclaredClientCertificate(t *testing.T) {
	u := newUpstream(t, echoTool)
	egresstest.ClientCertificates(t, u, calling(u))
}

func TestT13NoCallGoesWhereThePlatformsOwnSecretsAre(t *testing.T) {
	u := newUpstream(t, echoTool)
	egresstest.Addresses(t, u, calling(u))
}

// TestT18NoCallSendsACredentialWhereOthersCanReadIt: the address is one of those for documentation, where nothing is. A server that needs no credential
// is called there as before.
func TestT18NoCallSendsACredentialWhereOthersCanReadIt(t *testing.T) {
	u := newUpstream(t, echoTool)
	w := support(t, u)
	w.server("echo", "http://192.0.2.2:9400/mcp", []string{echoTool}, nil)
	w.lend("echo", "Authorization", "Bearer leased-secret-value", "leased-secret-value", "192.0.2.2:9400")
	r := start(t, w, nil).client("ana", "/mcp/echo", true).call("echo", `{}`)
	if r.reason() != "credential" || !strings.Contains(string(r.body), "spec.insecure: true") || strings.Contains(string(r.body), "leased-secret") {
		t.Errorf("%s", r.body)
	}
}
