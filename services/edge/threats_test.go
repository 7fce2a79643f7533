package edge_test

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func TestT18AServerThatShowsItsCredentialInADefinitionIsNotServedAndNotReported(t *testing.T) {
	const key = "s3cret-value-of-echo"
	for name, spelled := range map[string]string{
		"plain": key, "escaped": `\u0073` + key[1:], "hex": hex.EncodeToString([]byte(key)), "HEX": strings.ToUpper(hex.EncodeToString([]byte(key))),
		"base64": base64.StdEncoding.EncodeToString([]byte("Bearer " + key)),
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, echoTool, `{"name":"leak","description":"`+spelled+`","inputSchema":{"type":"object"}}`)
			w := support(t, u)
			w.lend("echo", "Authorization", "Bearer "+key, key, u.host())
			h := start(t, w, nil)
			ana := h.client("ana", "/mcp/echo", true)
			listed, called := ana.send("tools/list", ""), ana.call("echo", `{}`)
			if listed.reason() != "inspection" || called.reason() != "inspection" || len(u.called()) != 0 {
				t.Errorf("listed %s, called %s", listed.body, called.body)
			}
			if len(w.reported()) != 0 {
				t.Errorf("reported %v", w.reported())
			}
			said := string(listed.body) + string(called.body) + h.logged.String() + h.final(listed.id).String() + h.final(called.id).String()
			if strings.Contains(said, key) || strings.Contains(said, spelled) {
				t.Error("the credential is in an answer, a record or the log")
			}
			if !strings.Contains(h.logged.String(), "a server shows its own credential") {
				t.Error("nobody is told")
			}
		})
	}
}
