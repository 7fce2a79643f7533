package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"headgate.dev/services/headgate/internal/dev"
)

func devCommand(stdio IO) *cobra.Command {
	o := dev.Options{Out: stdio.Out, Err: stdio.Err}
	level := "warn"
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in this process, with demo servers and people",
		Long: "Runs the six services, their stores and a broker in this process, on this machine only, with demo MCP servers and demo people.\n" +
			"It is for trying Headgate and for tests: it hands out tokens without a sign-in.",
		Example: "  headgate dev\n  headgate dev --no-demo -f tenant.yaml --ephemeral",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Ephemeral && o.Data != "" {
				return usageError{fmt.Errorf("--data and --ephemeral exclude each other")}
			}
			if err := o.Log.UnmarshalText([]byte(level)); err != nil {
				return usageError{fmt.Errorf("--log-level: %q is none of debug, info, warn and error", level)}
			}
			if o.Data == "" {
				home, err := dataHome(stdio)
				if err != nil {
					return err
				}
				o.Data = home
			}
			return dev.Run(cmd.Context(), o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Listen, "listen", "127.0.0.1:8080", "address of the MCP endpoints")
	flags.StringVar(&o.APIListen, "api-listen", "127.0.0.1:8081", "address of the API")
	flags.StringVar(&o.Metrics, "metrics-listen", "127.0.0.1:0", "address of metrics, health and profiles")
	flags.StringVar(&o.Data, "data", "", "folder that keeps everything (default ~/.local/share/headgate/dev)")
	flags.BoolVar(&o.Ephemeral, "ephemeral", false, "keep nothing")
	flags.BoolVar(&o.NoDemo, "no-demo", false, "start without demo servers, people and policies")
	flags.StringArrayVarP(&o.Files, "file", "f", nil, "file or folder of resources to apply, whose programs may be started; may be given again")
	flags.StringArrayVar(&o.AllowCommands, "allow-command", nil,
		"program that servers may be which are applied later: a path, or the beginning of a command as a JSON array; may be given again")
	flags.StringVar(&level, "log-level", level, "what is logged: debug, info (also what servers' programs print), warn or error")
	flags.StringVar(&o.ReadyFile, "ready-file", "", "file to write when everything answers")
	return cmd
}

// dataHome is where a person's data belongs (XDG base directories).
func dataHome(stdio IO) (string, error) {
	if dir := stdio.Env("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "headgate", "dev"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usageError{fmt.Errorf("no home folder: say where to keep data with --data, or use --ephemeral")}
	}
	return filepath.Join(home, ".local", "share", "headgate", "dev"), nil
}
