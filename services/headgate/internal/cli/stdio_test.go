package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/services/headgate/internal/cli"
)

// client runs headgate stdio as an MCP client does that sends one line and closes its end.
func client(t *testing.T, env map[string]string, line string, args ...string) (code int, out, words string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = cli.Run(t.Context(), append([]string{"stdio"}, args...), cli.IO{In: strings.NewReader(line), Out: &stdout, Err: &stderr, Env: func(key string) string { return env[key] }})
	return code, stdout.String(), stderr.String()
}

func TestStdioWithoutATokenIsWrongUsage(t *testing.T) {
	code, out, words := client(t, nil, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
	if code != 2 || out != "" || !strings.Contains(words, "--token-file") || !strings.Contains(words, "HEADGATE_TOKEN") {
		t.Errorf("exit %d, output %q, words %q", code, out, words)
	}
}

func TestStdioFindsEndpointAndTokenWhereTheyAreSaid(t *testing.T) {
	type seen struct{ path, token string }
	var last seen
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last = seen{r.URL.Path, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`))
	}))
	defer gateway.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("of-the-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"HEADGATE_MCP": gateway.URL + "/mcp", "HEADGATE_TOKEN": "of-the-environment"}
	for _, test := range []struct {
		args []string
		want seen
	}{
		{nil, seen{"/mcp", "of-the-environment"}},
		{[]string{"--server", "tickets"}, seen{"/mcp/tickets", "of-the-environment"}},
		{[]string{"--token", "of-the-flag", "--server", "a.b_c-9"}, seen{"/mcp/a.b_c-9", "of-the-flag"}},
		{[]string{"--token-file", file}, seen{"/mcp", "of-the-file"}},
		{[]string{"--mcp", gateway.URL + "/other/", "--server", "x"}, seen{"/other/x", "of-the-environment"}},
	} {
		code, out, words := client(t, env, `{"jsonrpc":"2.0","id":1,"method":"ping"}`, test.args...)
		if code != 0 || out != "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n" || words != "" {
			t.Errorf("%v: exit %d, output %q, words %q", test.args, code, out, words)
		}
		if last != test.want {
			t.Errorf("%v: asked %v, want %v", test.args, last, test.want)
		}
	}
}

func TestStdioKeepsRunningWithoutAGateway(t *testing.T) {
	code, out, _ := client(t, map[string]string{"HEADGATE_MCP": "http://127.0.0.1:9/mcp", "HEADGATE_TOKEN": "x"}, `{"jsonrpc":"2.0","id":"a","method":"ping"}`)
	if code != 0 || strings.Count(out, "\n") != 1 || !strings.Contains(out, `"id":"a","error"`) || !strings.Contains(out, "cannot be reached") {
		t.Errorf("exit %d, output %q", code, out)
	}
}

// A client shows its user an empty list as nothing at all, so standard error says what to do, once.
func TestStdioSaysWhatToDoWhenAServerShowsNothing(t *testing.T) {
	var result string
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var request struct{ ID json.RawMessage }
		if json.Unmarshal(body, &request) != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, request.ID, result)
	}))
	defer gateway.Close()
	env := map[string]string{"HEADGATE_MCP": gateway.URL + "/mcp", "HEADGATE_TOKEN": "t"}
	const lists = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}` + "\n" + `{"jsonrpc":"2.0","id":2,"method":"tools/list"}`
	for _, one := range []struct {
		result string
		args   []string
		words  string
	}{
		{`{"tools":[]}`, []string{"--server", "tickets"}, "headgate server show tickets --explain"},
		{`{"tools":[]}`, nil, "No server shows you a tool"},
		{`{"tools":[],"nextCursor":"x"}`, nil, ""},
		{`{"tools":[],"_meta":{"io.headgate/unavailable":["crm"]}}`, nil, ""},
		{`{"tools":[{"name":"a","inputSchema":{"type":"object"}}]}`, []string{"--server", "tickets"}, ""},
	} {
		result = one.result
		code, out, words := client(t, env, lists, one.args...)
		if code != 0 || strings.Count(out, "\n") != 2 {
			t.Errorf("%s: exit %d, output %q", one.result, code, out)
		}
		if one.words == "" && words != "" || !strings.Contains(words, one.words) || strings.Count(words, "\n") > 1 {
			t.Errorf("%s %v: said %q", one.result, one.args, words)
		}
	}
}
