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
	flag.IntVar(&c.size, "size", 150, "bytes of text in a reply")
	flag.StringVar(&c.mode, "journal", "spool", "spool or strict")
	flag.StringVar(&c.out, "out", "", "file for the figures as JSON")
	flag.Parse()
	c.callers = []int{1, 16, 64}
	if err := run(context.Background(), c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
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
