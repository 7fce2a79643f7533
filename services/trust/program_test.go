package trust_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

// program declares the server echo as a program.
func program(change ...func(*trustv1.Server)) *trustv1.Server {
	return echo("", append([]func(*trustv1.Server){func(s *trustv1.Server) {
		s.Spec.Stdio = &trustv1.Stdio{Command: []string{"/opt/echo/bin/echo", "--root", "/srv"}, Env: map[string]string{"MODE": "strict"}}
	}}, change...)...)
}

// report is what an edge says of the server echo.
func (h *harness) report(about *trustv1.About, tools ...string) {
	h.t.Helper()
	r := &trustv1.ReportRequest{Tenant: "acme", Server: "echo", About: about}
	for _, tool := range tools {
		r.Tools = append(r.Tools, []byte(tool))
	}
	if _, err := h.service(optionsv1.Service_SERVICE_EDGE).Report(h.t.Context(), connect.NewRequest(r)); err != nil {
		h.t.Fatal(err)
	}
}

func self() *trustv1.About {
	return &trustv1.About{ProtocolVersions: []string{"2025-11-25", "bogus"}, ServerInfo: `{"name":"echo"}`, Capabilities: `{"tools":{}}`, Instructions: "Be kind."}
}

func TestAProgramWaitsForAnEdgeAndThenForAPerson(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(program())
	for what, said := range map[string]string{"refresh": h.refresh().GetNote(), "show": h.show().GetNote()} {
		if !strings.Contains(said, "No edge has reported it yet") {
			t.Errorf("%s: %q", what, said)
		}
	}
	if _, err := h.approve(""); !fault.Is(err, faultv1.Reason_REASON_CONFLICT) || !strings.Contains(err.Error(), "no edge has reported it yet") {
		t.Errorf("%v", err)
	}
	h.report(nil, tool("a", "x")) // which says nothing of a program
	if got := h.show(); len(got.GetDefinitions()) != 0 {
		t.Errorf("%v", got)
	}
	h.report(self(), tool("a", "x"))
	got := h.show()
	if told(got) != "pending: a:pending" || got.GetProtocolVersions()[0] != "2025-11-25" || len(got.GetProtocolVersions()) != 1 || got.GetServerInfo() != `{"name":"echo"}` ||
		got.GetCapabilities() != `{"tools":{}}` || got.GetNote() != "" || got.GetSeenAt().AsTime().IsZero() {
		t.Errorf("%v", got)
	}
	if _, err := h.approve(h.show().GetSeenHash()); err != nil {
		t.Fatal(err)
	}
	h.edge.knows("approved: a:approved")
	if got := h.show(); got.GetInstructions() != "Be kind." {
		t.Errorf("%q", got.GetInstructions())
	}
}

func TestAProgramThatApprovesItselfPinsTheFirstReportAlone(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(program(initial))
	h.report(self(), tool("a", "x"))
	h.edge.knows("approved: a:approved")
	h.report(self(), tool("a", "changed"), tool("b", "x"))
	h.edge.knows("approved: a:changed b:pending")
	if _, err := h.approve("", "a"); err != nil {
		t.Fatal(err)
	}
	h.edge.knows("approved: a:approved b:pending")
	h.report(self())
	h.edge.knows("approved: a:gone")
	if n := len(h.journal.of("definition-changed")); n < 3 {
		t.Errorf("%d records of drift", n)
	}
}

func TestAnotherCommandIsAnotherServer(t *testing.T) {
	h := start(t, t.TempDir())
	h.mustApply(program(initial))
	h.report(self(), tool("a", "x"))
	h.edge.knows("approved: a:approved")
	for name, change := range map[string]func(*trustv1.Server){
		"an argument": func(s *trustv1.Server) { s.Spec.Stdio.Command[2] = "/" },
		"a variable":  func(s *trustv1.Server) { s.Spec.Stdio.Env["MODE"] = "open" },
		"a secret":    func(s *trustv1.Server) { s.Spec.Stdio.Inherit = []string{"API_KEY"} },
		"a folder":    func(s *trustv1.Server) { s.Spec.Stdio.Directory = "/srv" },
		"a URL":       func(s *trustv1.Server) { s.Spec.Stdio, s.Spec.Url = nil, "http://127.0.0.1:9/mcp" },
	} {
		h.mustApply(program(initial, change))
		h.edge.knows("pending: a:changed")
		if got := h.show(); !strings.Contains(got.GetNote(), "stdio:echo (sha256:") {
			t.Errorf("%s: %s", name, got.GetNote())
		}
		h.mustApply(program(initial)) // as it was: still to be seen anew
		h.report(self(), tool("a", "x"))
		h.edge.knows("approved: a:approved")
	}
	h.mustApply(program(initial, func(s *trustv1.Server) { s.Spec.Stdio.Scope = "person" })) // the same program
	h.edge.knows("approved: a:approved")
}

func TestT16TrustStartsNoProgram(t *testing.T) {
	h := start(t, t.TempDir())
	mark := t.TempDir() + "/started"
	h.mustApply(program(func(s *trustv1.Server) { s.Spec.Stdio.Command = []string{"/bin/sh", "-c", "touch " + mark} }))
	h.refresh()
	deadline := time.NewTimer(20 * poll)
	defer deadline.Stop()
	<-deadline.C // as long as many looks at a server with a URL take
	if exists(mark) {
		t.Error("it was started")
	}
	h.lender.mu.Lock()
	defer h.lender.mu.Unlock()
	if len(h.lender.asked) != 0 {
		t.Errorf("%d leases for a server that takes none", len(h.lender.asked))
	}
}

func TestAProgramThatCannotBeIsRefused(t *testing.T) {
	h := start(t, t.TempDir())
	for name, change := range map[string]func(*trustv1.Server){
		"a URL as well":      func(s *trustv1.Server) { s.Spec.Url = "http://127.0.0.1:9/mcp" },
		"no command":         func(s *trustv1.Server) { s.Spec.Stdio.Command = nil },
		"an empty name":      func(s *trustv1.Server) { s.Spec.Stdio.Command[0] = "" },
		"a NUL":              func(s *trustv1.Server) { s.Spec.Stdio.Command[1] = "a\x00b" },
		"a NUL in a value":   func(s *trustv1.Server) { s.Spec.Stdio.Env["MODE"] = "\x00" },
		"a name with equals": func(s *trustv1.Server) { s.Spec.Stdio.Env["A=B"] = "" },
		"a relative folder":  func(s *trustv1.Server) { s.Spec.Stdio.Directory = "srv" },
		"another scope":      func(s *trustv1.Server) { s.Spec.Stdio.Scope = "tenant" },
		"authorities":        func(s *trustv1.Server) { s.Spec.Ca = "-----BEGIN CERTIFICATE-----" },
	} {
		if err := h.apply(program(change)); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
