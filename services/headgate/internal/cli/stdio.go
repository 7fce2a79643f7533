package cli

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"headgate.dev/libs/secret"
	"headgate.dev/services/headgate/internal/stdio"
)

// bridge are the flags of headgate stdio.
type bridge struct {
	mcp, server, tokenFile string
}

func stdioCommand(s *session) *cobra.Command {
	var flags bridge
	cmd := &cobra.Command{
		Use:   "stdio",
		Short: "Let a client that only knows stdio use the gateway",
		Long: "Carries MCP messages between standard input and output and the gateway. An MCP client starts it as if it were a server.\n" +
			"Standard output is MCP messages and nothing else; words go to standard error.",
		Example: "  headgate stdio\n  headgate stdio --server tickets --token-file ~/.config/headgate/token",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.bridge(cmd, flags) },
	}
	cmd.Flags().StringVar(&flags.mcp, "mcp", "", "URL of the MCP endpoint (default $HEADGATE_MCP, then http://127.0.0.1:8080/mcp)")
	cmd.Flags().StringVar(&flags.server, "server", "", "one server, with its own names (default all servers, names prefixed)")
	cmd.Flags().StringVar(&flags.tokenFile, "token-file", "", "file that holds the access token and that only you can read; it is read again when it changes")
	return cmd
}

func (s *session) bridge(cmd *cobra.Command, flags bridge) error {
	tokens, err := s.tokens(flags.tokenFile)
	if err != nil {
		return usageError{err}
	}
	endpoint := strings.TrimRight(cmp.Or(flags.mcp, s.stdio.Env("HEADGATE_MCP"), "http://127.0.0.1:8080/mcp"), "/")
	if flags.server != "" {
		if !serverName(flags.server) {
			return usageError{fmt.Errorf("%q is not the name of a server", flags.server)}
		}
		endpoint += "/" + flags.server
	}
	log := slog.New(slog.NewTextHandler(s.stdio.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	notice := func(sentence string) { _, _ = fmt.Fprintln(s.stdio.Err, "headgate stdio: "+sentence) }
	b, err := stdio.New(stdio.Config{Endpoint: endpoint, Tokens: tokens, Log: log, Server: flags.server, Notice: notice})
	if err != nil {
		return usageError{err}
	}
	// A client that is gone is an error of a write, which ends the session; without this it would be the end of the process.
	gone := make(chan os.Signal, 1)
	signal.Notify(gone, syscall.SIGPIPE)
	defer signal.Stop(gone)
	return b.Run(cmd.Context(), s.stdio.In, s.stdio.Out)
}

// tokens is where the access token comes from: a file, else the flag or the environment.
func (s *session) tokens(file string) (stdio.Tokens, error) {
	switch {
	case file != "" && s.tokenFlag != "":
		return nil, fmt.Errorf("--token and --token-file exclude each other")
	case file != "":
		return stdio.TokenFile(file)
	}
	token := cmp.Or(s.tokenFlag, s.stdio.Env("HEADGATE_TOKEN"))
	if token == "" {
		return nil, fmt.Errorf("no token: give --token-file FILE or set HEADGATE_TOKEN")
	}
	return stdio.Given(secret.New(token))
}

// serverName reports whether a name can be that of a server: it becomes a part of the URL.
func serverName(name string) bool {
	if len(name) > 63 {
		return false
	}
	for _, b := range []byte(name) {
		if (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '.' && b != '_' && b != '-' {
			return false
		}
	}
	return strings.Trim(name, ".") != "" // "." and ".." mean another path
}
