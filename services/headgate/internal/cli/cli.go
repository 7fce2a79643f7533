// Package cli is the command line: thin commands over the API of the services. Standard output is data, standard error is words.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Exit codes, as the README lists them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNo          = 3
	exitForbidden   = 4
	exitOpen        = 5
	exitUnreachable = 6
	exitNothing     = 7
)

// IO is where a command reads, writes and finds its environment.
type IO struct {
	In       io.Reader
	Out, Err io.Writer
	Env      func(string) string
}

// errNo is the answer "no": a difference, a test that fails.
var errNo = errors.New("no")

// errOpen is the answer "it cannot be said": some recorded calls could not be judged.
var errOpen = errors.New("open")

// nothingError says that there was nothing to do it to.
type nothingError struct{ error }

// usageError is a call whose words are off.
type usageError struct{ error }

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, args []string, stdio IO) int {
	root := newRoot(stdio)
	root.SetArgs(args)
	root.SetIn(stdio.In)
	root.SetOut(stdio.Out)
	root.SetErr(stdio.Err)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errNo) && !errors.Is(err, errOpen) {
		_, _ = fmt.Fprintln(stdio.Err, "headgate: "+strings.TrimSpace(err.Error()))
	}
	return exitCode(err)
}

func exitCode(err error) int {
	var usage usageError
	var nothing nothingError
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, errNo):
		return exitNo
	case errors.Is(err, errOpen):
		return exitOpen
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &nothing):
		return exitNothing
	case fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED), fault.Is(err, faultv1.Reason_REASON_WRONG_TENANT), fault.Is(err, faultv1.Reason_REASON_UNAUTHENTICATED),
		fault.Is(err, faultv1.Reason_REASON_KILLED):
		return exitForbidden
	case fault.Is(err, faultv1.Reason_REASON_UNAVAILABLE):
		return exitUnreachable
	default:
		return exitFailed
	}
}

func newRoot(stdio IO) *cobra.Command {
	root := &cobra.Command{
		Use:           "headgate",
		Short:         "The valve between AI agents and MCP servers",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usageArgs(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
	})
	env := &session{stdio: stdio}
	flags := root.PersistentFlags()
	flags.StringVar(&env.api, "api", "", "URL of the API (default $HEADGATE_API, then http://127.0.0.1:8081)")
	flags.StringVar(&env.tokenFlag, "token", "", "access token (default $HEADGATE_TOKEN; prefer the variable, flags are visible to others)")
	flags.StringVar(&env.tenant, "tenant", "", "tenant, for administrators of several (default $HEADGATE_TENANT)")
	flags.StringVarP(&env.output, "output", "o", "table", "table, json or yaml")
	root.AddCommand(
		devCommand(stdio), serveCommand(stdio),
		applyCommand(env), diffCommand(env), getCommand(env), deleteCommand(env),
		serverCommand(env), auditCommand(env), policyCommand(env), grantsCommand(env), relationsCommand(env),
		killCommand(env), reviveCommand(env), tokenCommand(env), whoamiCommand(env), doctorCommand(env), stdioCommand(env),
	)
	return root
}

// usageArgs makes a wrong number of words a wrong usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
		}
		return nil
	}
}

// group is a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q (see %s --help)", args[0], cmd.CommandPath())}
			}
			return usageError{fmt.Errorf("say what to do (see %s --help)", cmd.CommandPath())}
		},
	}
	cmd.AddCommand(children...)
	return cmd
}
