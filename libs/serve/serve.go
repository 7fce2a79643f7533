// Package serve is the main program of every service: configuration, journal, RPC server, diagnostics and an orderly end, so that a service's own
// main is only what it is made of.
package serve

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/life"
	"headgate.dev/libs/rpc"
)

// Service is what runs in the process.
type Service interface {
	// Register puts the service's handlers into the mux.
	Register(mux *rpc.Mux)
	// Run owns every goroutine of the service and blocks until ctx ends. It starts before the first call is answered and ends after the last.
	Run(ctx context.Context) error
	// Ready says what is missing before the service can answer; nil when nothing is.
	Ready(ctx context.Context) error
}

// Authenticator is a Service that knows by itself whose access token it is: identity. The others ask their peer identity.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*identityv1.Caller, error)
}

// Describer is a Service that says more of what it leans on, a line each, to whoever asks at its diagnostics: the edge.
type Describer interface{ Describe() []string }

// Deps is what a service is built from.
type Deps struct {
	// Dial is the way to another service, by its name; it must be among the configuration's peers.
	Dial func(service string) (*rpc.Conn, error)
	// Knows says whether another service is among the configuration's peers, for one that can be done without.
	Knows func(service string) bool
	// DialAt is the way to one process of a service whose URL the service itself gave out.
	DialAt func(service, url string) (*rpc.Conn, error)
	// Journal is the service's own. The caller runs, ships and closes it.
	Journal   *journal.Writer
	Log       *slog.Logger
	Now       clock.Now
	Metrics   prometheus.Registerer
	Telemetry rpc.Telemetry
}

// Main runs a service until SIGTERM or SIGINT and ends the process with 0, or with 1 and one sentence on standard error.
func Main[C any](name string, build func(cfg C, d Deps) (Service, error)) {
	syscall.Umask(0o077) // what it writes is for its user alone
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	err := Private()
	if err == nil {
		err = Run(ctx, name, os.Args[1:], build)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "headgate %s: %v\n", name, err)
		os.Exit(1)
	}
}

// Run is Main without the process: it returns when ctx has ended and everything is drained, or with what is wrong.
func Run[C any](ctx context.Context, name string, args []string, build func(cfg C, d Deps) (Service, error)) error {
	return run(ctx, name, args, os.Stdout, os.Stderr, build)
}

func run[C any](ctx context.Context, name string, args []string, stdout, stderr io.Writer, build func(cfg C, d Deps) (Service, error)) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", "", "the configuration `file`, YAML")
	check := flags.Bool("check-config", false, "only say what is wrong with the configuration")
	show := flags.Bool("print-config", false, "print the configuration as it was understood, without secrets")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("unknown argument %q: only flags are taken", flags.Arg(0))
	case *file == "":
		return errors.New("no configuration: give --config FILE")
	}
	cfg, err := load[C](*file)
	if err != nil {
		return err
	}
	if *show {
		return printConfig(stdout, cfg)
	}
	if *check {
		return nil
	}
	log := slog.New(slog.NewJSONHandler(stderr, &slog.HandlerOptions{Level: cfg.Log.level()})).With("service", name)
	understood, err := yaml.Marshal(cfg)
	if err != nil {
		return err
	}
	p := &process{name: name, log: log, now: clock.System, life: life.Config{Service: name, Configuration: understood, Dir: cfg.Journal.Dir}}
	if err := p.open(cfg.Listen, cfg.Diagnostics, cfg.TLS, cfg.Peers, cfg.Journal, cfg.Kafka); err != nil {
		return errors.Join(err, p.close())
	}
	service, err := build(cfg.Service, p.deps())
	if err == nil {
		err = p.serve(ctx, service)
	}
	return errors.Join(err, p.close())
}

func printConfig(to io.Writer, cfg any) error {
	text, err := yaml.Marshal(cfg)
	if err != nil {
		return err
	}
	_, err = to.Write(text)
	return err
}

func keys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }
