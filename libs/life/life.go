// Package life records what becomes of a service itself: that it started and stopped, that its configuration is another one than at its last start, and
// that its clock was set.
package life

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/record"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
)

const (
	// look is how often the clock is compared, tolerance how far it may be off.
	look      = time.Second
	tolerance = 250 * time.Millisecond

	hashFile = "configuration.sha256"
)

// Clock tells the time of day, and how long this process has run by a clock that nobody sets.
type Clock func() (wall time.Time, running time.Duration)

// System is the machine's clock.
func System() Clock {
	begun := time.Now()
	return func() (time.Time, time.Duration) {
		now := time.Now()
		return now.Round(0), now.Sub(begun)
	}
}

// Config is what is recorded of a service.
type Config struct {
	Service string
	// Configuration is the service's, as it was understood, without secrets. Only its hash is kept.
	Configuration []byte
	// Dir keeps the hash from one start to the next.
	Dir  string
	Sink record.Sink
	// Clock is the machine's unless a test has another; Ticks are when to look at it.
	Clock Clock
	Ticks <-chan time.Time
}

// Run records the start, then each step of the clock, and the stop when ctx ends. A start that cannot be recorded is an error: nothing may happen without a
// record.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Clock == nil {
		cfg.Clock = System()
	}
	if cfg.Ticks == nil {
		ticker := time.NewTicker(look)
		defer ticker.Stop()
		cfg.Ticks = ticker.C
	}
	wall, running := cfg.Clock()
	hash, err := cfg.started(wall)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			wall, _ = cfg.Clock()
			return cfg.append(wall, record.ServiceStopped, false, &eventsv1.Change{Kind: "Service", Name: cfg.Service, Action: "stopped", OldHash: hash})
		case <-cfg.Ticks:
			nextWall, nextRunning := cfg.Clock()
			if step := nextWall.Sub(wall) - (nextRunning - running); step.Abs() > tolerance {
				if err := cfg.stepped(nextWall, step); err != nil {
					return err
				}
			}
			wall, running = nextWall, nextRunning
		}
	}
}

// started records the start and, when it is another one than before, the configuration.
func (c Config) started(at time.Time) (string, error) {
	sum := sha256.Sum256(c.Configuration)
	hash := "sha256:" + hex.EncodeToString(sum[:])
	file := filepath.Join(c.Dir, hashFile)
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read the hash of the last configuration: %w", err)
	}
	old := strings.TrimSpace(string(before))
	if err := c.append(at, record.ServiceStarted, false, &eventsv1.Change{Kind: "Service", Name: c.Service, Action: "started", NewHash: hash}); err != nil {
		return "", err
	}
	if old == hash {
		return hash, nil
	}
	if err := c.append(at, record.ConfigurationChanged, false, &eventsv1.Change{
		Kind: "Configuration", Name: c.Service, Action: "changed", OldHash: old, NewHash: hash, Reason: "another configuration than at the last start",
	}); err != nil {
		return "", err
	}
	// Only now: a change that is not recorded is seen again at the next start.
	return hash, os.WriteFile(file, []byte(hash+"\n"), 0o600)
}

func (c Config) stepped(at time.Time, step time.Duration) error {
	direction := "forward"
	if step < 0 {
		direction = "back"
	}
	return c.append(at, record.ClockStepped, true, &eventsv1.Change{
		Kind: "Clock", Name: c.Service, Action: "stepped",
		Reason: fmt.Sprintf("the machine's clock was set %s by %s: compare times of records around this one by their sequence", direction, step.Abs().Round(time.Millisecond)),
	})
}

func (c Config) append(at time.Time, action string, alert bool, change *eventsv1.Change) error {
	err := c.Sink.Append(&eventsv1.Event{
		Action: action, Phase: eventsv1.Phase_PHASE_FINAL, Outcome: eventsv1.Outcome_OUTCOME_SUCCESS, Time: timestamppb.New(at), Tenant: record.SystemTenant,
		Principal: record.Service(c.Service), Change: change, Alert: alert,
	}, journal.Strict)
	if err != nil {
		return fmt.Errorf("%s cannot be recorded: %w", action, err)
	}
	return nil
}
