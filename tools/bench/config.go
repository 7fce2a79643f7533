package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"headgate.dev/tools/arch"
)

// config is what the flags say.
type config struct {
	parts   []string
	callers []int
	eras    []era
	modes   []string
	small   int   // bytes of a reply
	large   []int // the same, for the part about sizes
	rounds  int
	length  time.Duration
	streams int
	// upstream is the kind of server that is called.
	upstream string
	// doors are edges' binaries; each is measured. services is the binary of the other services.
	doors    []string
	services string
	store    string
	profiles string
	hold     bool
	quiet    float64
	// spare is how long disturbed measurements may still be repeated, within what the whole run may take.
	spare time.Duration
}

const names = "stages,calls,sizes,open,lists,audit,streams"

// flags reads the command line. Everything has a default that makes a run of less than ten minutes.
func flags(args []string) (*config, error) {
	c := &config{}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := set.String("parts", names, "what to measure, a list")
	callers := set.String("callers", "1,16,64", "how many callers at once, a list")
	revisions := set.String("eras", "2025-11-25,2026-07-28", "which revisions of the protocol, a list")
	modes := set.String("journal", "spool,strict", "which modes of the journal, a list")
	sizes := set.String("sizes", "16384,262144", "`bytes` of replies besides the small one, a list")
	doors := set.String("edges", "", "`files` of edges' binaries to compare, a list; built from this tree when empty")
	within := set.Duration("within", 10*time.Minute, "how long the run may take when others disturb it and measurements are repeated")
	set.IntVar(&c.small, "size", 150, "`bytes` of the small reply")
	set.IntVar(&c.rounds, "rounds", 3, "rounds; the median counts")
	set.DurationVar(&c.length, "length", 700*time.Millisecond, "of one measurement")
	set.IntVar(&c.streams, "streams", 10_000, "how many idle streams of each kind")
	set.StringVar(&c.upstream, "upstream", plainUpstream, plainUpstream+" or "+leanUpstream+": what the called server is made of")
	set.StringVar(&c.services, "services", "", "the headgate `binary` that serves what is not an edge; built from this tree when empty")
	set.StringVar(&c.store, "store", "docs/benchmarks/last.json", "`file` that the figures are kept in and compared with; - keeps none")
	set.StringVar(&c.profiles, "profile", "", "`folder` for profiles of the edge while it is measured")
	set.BoolVar(&c.hold, "hold", false, "measure nothing, keep everything running for who measures by hand")
	set.Float64Var(&c.quiet, "quiet", 0.05, "share of the machine that others may take; a measurement with more is repeated, if there is time")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if err := c.lists(*only, *callers, *revisions, *modes, *sizes, *doors); err != nil {
		return nil, err
	}
	c.spare = *within - c.planned()
	return c, c.place()
}

// lists takes the flags that are lists apart.
func (c *config) lists(only, callers, revisions, modes, sizes, doors string) error {
	var err error
	if c.parts, err = among("parts", only, strings.Split(names, ",")); err != nil {
		return err
	}
	if c.callers, err = numbers("callers", callers); err != nil {
		return err
	}
	if c.large, err = numbers("sizes", sizes); err != nil {
		return err
	}
	if c.modes, err = among("journal", modes, []string{"spool", "strict"}); err != nil {
		return err
	}
	wanted, err := among("eras", revisions, []string{legacy.name, modern.name})
	if err != nil {
		return err
	}
	for _, e := range []era{legacy, modern} {
		if slices.Contains(wanted, e.name) {
			c.eras = append(c.eras, e)
		}
	}
	if _, err := among("upstream", c.upstream, []string{plainUpstream, leanUpstream}); err != nil {
		return err
	}
	if doors != "" {
		c.doors = strings.Split(doors, ",")
	}
	return nil
}

// place makes the place of the stored figures one in the tree, from wherever the command is run.
func (c *config) place() error {
	if c.store == "-" {
		c.store = ""
	}
	if c.store == "" || filepath.IsAbs(c.store) {
		return nil
	}
	root, err := arch.Root()
	c.store = filepath.Join(root, c.store)
	return err
}

// planned is about how long the run takes when nothing is repeated.
func (c *config) planned() time.Duration {
	targets := 4 + len(c.modes)*max(1, len(c.doors))
	one := time.Duration(c.rounds) * (c.length + c.length/2)
	total := time.Minute
	for _, name := range c.parts {
		switch name {
		case "calls":
			total += time.Duration(len(c.eras)*len(c.callers)*targets) * one
		case "sizes":
			total += time.Duration(len(c.eras)*len(c.large)*targets) * one
		case "open":
			total += time.Duration(3*len(c.eras)*targets) * one
		case "lists":
			total += time.Duration(4*len(c.eras)) * one
		default:
			total += time.Minute
		}
	}
	return total
}

func numbers(name, list string) ([]int, error) {
	var out []int
	for one := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(one)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-%s: %q is not a number above 0", name, one)
		}
		out = append(out, n)
	}
	return out, nil
}

func among(name, list string, known []string) ([]string, error) {
	out := strings.Split(list, ",")
	for _, one := range out {
		if !slices.Contains(known, one) {
			return nil, fmt.Errorf("-%s: %q is none of %s", name, one, strings.Join(known, ", "))
		}
	}
	return out, nil
}
