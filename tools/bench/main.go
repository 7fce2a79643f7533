// Command bench measures what Headgate costs: the same calls direct, through bare proxies and through Headgate with everything on,
// in interleaved rounds of one run. Only the ratios mean anything elsewhere.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// config is what the flags say.
type config struct {
	rounds  int
	length  time.Duration
	size    int
	mode    string
	out     string
	callers []int
	eras    []string
	quiet   float64
	// upstream is the kind of server that is called.
	upstream string
	profile  string
	binary   string
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "role" {
		if err := role(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	var c config
	flag.IntVar(&c.rounds, "rounds", 5, "interleaved rounds")
	flag.DurationVar(&c.length, "length", 2*time.Second, "length of one measurement")
	flag.IntVar(&c.size, "size", 1024, "bytes of text in a reply")
	flag.StringVar(&c.mode, "journal", "spool", "spool or strict")
	flag.StringVar(&c.out, "out", "", "file for the figures as JSON")
	callers := flag.String("callers", "1,16,64", "how many callers at once, a list")
	only := flag.String("eras", "2025-11-25,2026-07-28", "which revisions of the protocol, a list")
	flag.Float64Var(&c.quiet, "quiet", 0.05, "share of the machine that others may take; a measurement with more is repeated, four times at most")
	flag.StringVar(&c.profile, "profile", "", "file for a processor profile of the edge while it is measured")
	flag.StringVar(&c.upstream, "upstream", plainUpstream, plainUpstream+" or "+leanUpstream+": what the called server is made of")
	flag.StringVar(&c.binary, "binary", "", "the headgate binary to measure; built from this tree when empty")
	flag.Parse()
	if err := lists(&c, *callers, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if err := run(context.Background(), c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// lists reads the flags that are lists.
func lists(c *config, callers, only string) error {
	for one := range strings.SplitSeq(callers, ",") {
		n, err := strconv.Atoi(one)
		if err != nil || n < 1 {
			return fmt.Errorf("-callers: %q is not a number of callers", one)
		}
		c.callers = append(c.callers, n)
	}
	c.eras = strings.Split(only, ",")
	for _, name := range c.eras {
		if !slices.ContainsFunc(eras(), func(e era) bool { return e.name == name }) {
			return fmt.Errorf("-eras: %q is not one of them", name)
		}
	}
	if c.mode != "spool" && c.mode != "strict" {
		return fmt.Errorf("-journal: %q is neither spool nor strict", c.mode)
	}
	if c.upstream != plainUpstream && c.upstream != leanUpstream {
		return fmt.Errorf("-upstream: %q is neither %s nor %s", c.upstream, plainUpstream, leanUpstream)
	}
	return nil
}

func run(ctx context.Context, c config) error {
	dir, err := os.MkdirTemp("", "headgate-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	field, err := build(ctx, dir, c)
	if err != nil {
		return err
	}
	defer field.stop()
	results, err := measure(field, c)
	if err != nil {
		return err
	}
	results.print(os.Stdout)
	if c.out == "" {
		return nil
	}
	encoded, err := json.MarshalIndent(results.rows, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(c.out, append(encoded, '\n'), 0o644)
}

// median of a copy; the input keeps its order.
func median[T int64 | float64 | time.Duration](values []T) T {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}
