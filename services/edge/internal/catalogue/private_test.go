package catalogue

import (
	"testing"

	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

func TestT18OnlyADeclarationLetsACredentialGoUnencrypted(t *testing.T) {
	for _, one := range []struct {
		url      string
		insecure bool
		want     bool
	}{
		{"https://a.example/mcp", false, true},
		{"http://127.0.0.1:9400/mcp", false, true},
		{"http://tools.default.svc:9400/mcp", false, false},
		{"http://tools.default.svc:9400/mcp", true, true},
	} {
		s := newServer(&trustv1.ServerState{Server: &trustv1.Server{Spec: &trustv1.ServerSpec{Url: one.url, Insecure: one.insecure}}}, nil)
		if s.Private != one.want {
			t.Errorf("%v: %v", one, s.Private)
		}
	}
}
