package stdio

import (
	"log/slog"
	"sync/atomic"
	"time"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Options are how processes are ended and bounded. The zero value is what an edge uses.
type Options struct {
	// MaxLine is the most bytes of one message; 0 means 8 MiB.
	MaxLine int
	// Leave is how long a process may take to end by itself once its input is closed, Term how long after it was told to; 0 means 2 s and 3 s.
	Leave, Term time.Duration
	// Lookup finds the edge's own variables; nil finds none.
	Lookup Lookup
}

// Launcher starts processes and counts them. Safe for concurrent use.
type Launcher struct {
	cfg     Config
	owner   owner
	options Options
	log     *slog.Logger
	running atomic.Int64
	// unusable is what is wrong with a configuration that did not pass Check: then nothing is started.
	unusable error
}

// NewLauncher makes a launcher for a configuration that passed Check.
func NewLauncher(cfg Config, options Options, log *slog.Logger) *Launcher {
	if cfg.MaxProcesses == 0 {
		cfg.MaxProcesses = defaultProcesses
	}
	if options.Leave == 0 {
		options.Leave = 2 * time.Second
	}
	if options.Term == 0 {
		options.Term = 3 * time.Second
	}
	if options.Lookup == nil {
		options.Lookup = func(string) (string, bool) { return "", false }
	}
	owner, err := ownerOf(cfg.User)
	return &Launcher{cfg: cfg, owner: owner, unusable: err, options: options, log: log}
}

// Allowed finds the program of a declared command, or refuses what the operator did not allow.
func (l *Launcher) Allowed(server string, command Command) (Program, error) {
	return l.cfg.Allowed(server, command)
}

// Full reports whether no more process may be started now.
func (l *Launcher) Full() bool { return l.running.Load() >= int64(l.cfg.MaxProcesses) }

// Running is how many processes run now.
func (l *Launcher) Running() int { return int(l.running.Load()) }

// take reserves the place of one process.
func (l *Launcher) take(server string) error {
	if l.running.Add(1) <= int64(l.cfg.MaxProcesses) {
		return nil
	}
	l.running.Add(-1)
	return fault.New(faultv1.Reason_REASON_UPSTREAM,
		"The server %s was not started, because %d processes run on this edge already. Try again later, or ask the operator to raise service.stdio.maxProcesses.",
		server, l.cfg.MaxProcesses)
}

func (l *Launcher) give() { l.running.Add(-1) }
