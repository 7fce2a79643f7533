package cli

import (
	"strings"
	"testing"

	"headgate.dev/libs/resource"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

func TestApplyWarnsOfServersWhoseCallsOthersCanRead(t *testing.T) {
	at := func(url string, insecure bool) resource.Object {
		return &trustv1.Server{Kind: "Server", Metadata: &resourcev1.Metadata{Name: "echo"}, Spec: &trustv1.ServerSpec{Url: url, Insecure: insecure}}
	}
	program := &trustv1.Server{Spec: &trustv1.ServerSpec{Stdio: &trustv1.Stdio{Command: []string{"echo"}}}}
	if got := exposures([]resource.Object{at("https://a.example/mcp", false), at("http://127.0.0.1:1/mcp", false), program}); len(got) != 0 {
		t.Errorf("%q", got)
	}
	got := exposures([]resource.Object{at("http://a.example/mcp", false), at("http://a.example/mcp", true)})
	if len(got) != 2 || !strings.Contains(got[0], "no credential is sent") || !strings.Contains(got[1], "a credential is sent there unencrypted") {
		t.Errorf("%q", got)
	}
}
