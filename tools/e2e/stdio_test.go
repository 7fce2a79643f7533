package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"headgate.dev/tools/e2e/product"
)

// bridge is headgate stdio for one server, or for all where the name is empty, as an MCP client starts it.
func bridge(t testing.TB, p *product.Product, server string, env ...string) *exec.Cmd {
	t.Helper()
	args := []string{"stdio"}
	if server != "" {
		args = append(args, "--server", server)
	}
	cmd := exec.Command(product.Binary(t), args...)
	cmd.Env = append(os.Environ(), append(env, "HEADGATE_MCP="+p.MCP(""))...)
	return cmd
}

func stdioClients(t *testing.T, s *scene) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(s.Token("ana")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"2024-11-05", "2025-11-25", "2026-07-28"} {
		t.Run("official Go SDK "+version, func(t *testing.T) {
			cmd := bridge(t, s.Product, "echo", "HEADGATE_TOKEN=")
			cmd.Args = append(cmd.Args, "--token-file", file)
			var words bytes.Buffer
			cmd.Stderr = &words
			goSDK(ctx, t, s, version, &mcp.CommandTransport{Command: cmd})
			if cmd.ProcessState.ExitCode() != 0 || words.Len() > 0 {
				t.Errorf("headgate stdio ended with %d and said %q", cmd.ProcessState.ExitCode(), words.String())
			}
		})
	}
	t.Run("all servers have prefixed names", func(t *testing.T) {
		out := exchange(t, bridge(t, s.Product, "", "HEADGATE_TOKEN="+s.Token("ana")), `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		if strings.Count(out, "\n") != 1 || !strings.Contains(out, `"echo.echo"`) || !strings.Contains(out, `"vault.echo"`) {
			t.Errorf("answered %s", out)
		}
	})
	t.Run("a server that is not there", func(t *testing.T) {
		cmd := bridge(t, s.Product, "nowhere", "HEADGATE_TOKEN="+s.Token("ana"))
		var words bytes.Buffer
		cmd.Stderr = &words
		out := exchange(t, cmd, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		if strings.Count(out, "\n") != 1 || strings.Count(words.String(), "\n") != 1 || !strings.Contains(words.String(), "headgate server show nowhere --explain") {
			t.Errorf("answered %s, said %s", out, words.String())
		}
	})
	t.Run("T11 a bad token is refused with what to do", func(t *testing.T) {
		out := exchange(t, bridge(t, s.Product, "echo", "HEADGATE_TOKEN="+s.Token("ana")+"x"), `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		if strings.Count(out, "\n") != 1 || !strings.Contains(out, `"id":1,"error"`) || !strings.Contains(out, "Get a new token") {
			t.Errorf("answered %s", out)
		}
	})
	t.Run("it ends when it is told to", func(t *testing.T) { endsOnSIGTERM(t, s) })
}

// exchange sends lines, closes standard input and answers standard output.
func exchange(t *testing.T, cmd *exec.Cmd, lines ...string) string {
	t.Helper()
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("headgate stdio: %v", err)
	}
	return string(out)
}

func endsOnSIGTERM(t *testing.T, s *scene) {
	cmd := bridge(t, s.Product, "echo", "HEADGATE_TOKEN="+s.Token("ana"))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	if _, err := in.Write([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 256)
	if n, err := out.Read(answer); err != nil || string(answer[:n]) != `{"jsonrpc":"2.0","id":1,"result":{}}`+"\n" {
		t.Fatalf("%q %v", answer[:n], err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("headgate stdio after SIGTERM: %v", err)
	}
}
