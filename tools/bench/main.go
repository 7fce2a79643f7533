// Command bench measures what Headgate costs: the same requests direct, through bare proxies and through Headgate with everything on, in interleaved
// rounds of one run. Only the ratios mean anything elsewhere.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "role" {
		if err := role(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	c, err := flags(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, c)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// part is one thing that can be measured.
type part struct {
	name    string
	measure func(ctx context.Context, f *field, c *config, r *report) error
}

// parts in the order in which they run: streams need an edge that did nothing before, which is a new process, so they come last.
func parts() []part {
	return []part{{"stages", stages}, {"calls", calls}, {"sizes", sizes}, {"open", open}, {"lists", lists}, {"audit", audit}, {"streams", streams}}
}

func run(ctx context.Context, c *config) error {
	dir, err := os.MkdirTemp("", "headgate-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	before, err := load(c.store)
	if err != nil {
		return err
	}
	now := &report{Taken: time.Now().UTC().Truncate(time.Second), On: here()}
	f := &field{dir: dir}
	defer f.stop()
	if !slices.Equal(c.parts, []string{"stages"}) {
		if err := f.build(ctx, c); err != nil {
			return err
		}
	}
	if c.hold {
		return f.hold(ctx)
	}
	for _, p := range parts() {
		if !slices.Contains(c.parts, p.name) {
			continue
		}
		began := time.Now()
		if err := p.measure(ctx, f, c, now); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s measured in %s\n", p.name, time.Since(began).Round(time.Second))
	}
	now.print(os.Stdout)
	now.goals().print(os.Stdout)
	now.compare(before, os.Stdout)
	if c.store == "" {
		return nil
	}
	return now.over(before).save(c.store)
}

// hold keeps everything running for who measures by hand.
func (f *field) hold(ctx context.Context) error {
	for _, t := range f.targets {
		fmt.Printf("%s\tpid %d\t%s\n", t.name, t.pid, t.url)
	}
	for _, t := range f.targets {
		if t.token != "" {
			file := filepath.Join(f.dir, "token")
			fmt.Printf("the token is in %s\n", file)
			if err := os.WriteFile(file, []byte(strings.TrimSpace(t.token)), 0o600); err != nil {
				return err
			}
			break
		}
	}
	<-ctx.Done()
	return nil
}
