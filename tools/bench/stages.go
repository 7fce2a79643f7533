package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"

	"headgate.dev/tools/arch"
)

// stageRow is what one stage of a call costs by itself.
type stageRow struct {
	Stage       string  `json:"stage"`
	Micros      float64 `json:"us"`
	Bytes       float64 `json:"allocated_bytes"`
	Allocations float64 `json:"allocations"`
	// Budget is what it may cost, in µs.
	Budget float64 `json:"budget_us"`
}

// budget is what each stage may cost on an idle machine, in µs: what the best known ways of doing it cost, measured one by one.
var budget = map[string]float64{
	"admit": 0.5, "parse": 0.8, "validate": 2.3, "decide": 4, "lend": 0.2, "fingerprint": 0.8, "journal": 5, "read the reply": 0.7, "inspect": 0.5,
}

// stages runs the benchmark of each stage.
func stages(ctx context.Context, _ *field, _ *config, r *report) error {
	root, err := arch.Root()
	if err != nil {
		return err
	}
	run := exec.CommandContext(ctx, "go", "test", "./services/edge", "./services/edge/internal/admit", "./services/edge/internal/catalogue",
		"-run", "^$", "-bench", "^Benchmark(Stage|Admit|Validate)$", "-benchmem", "-benchtime", "200ms", "-count", "3")
	run.Dir = root
	out, err := run.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test: %w: %s", err, out)
	}
	line := regexp.MustCompile(`^Benchmark(?:Stage/)?(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op\s+([\d.]+) B/op\s+([\d.]+) allocs/op`)
	samples := map[string][3][]float64{}
	var order []string
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		found := line.FindStringSubmatch(lines.Text())
		if found == nil {
			continue
		}
		name := strings.ToLower(strings.ReplaceAll(found[1], "_", " "))
		one, seen := samples[name]
		if !seen {
			order = append(order, name)
		}
		for i := range one {
			value, err := strconv.ParseFloat(found[i+2], 64)
			if err != nil {
				return err
			}
			one[i] = append(one[i], value)
		}
		samples[name] = one
	}
	if len(order) < len(budget) {
		return fmt.Errorf("only %d of %d stages were measured: %s", len(order), len(budget), out)
	}
	for _, name := range order {
		one := samples[name]
		r.Stages = append(r.Stages, stageRow{Stage: name, Micros: median(one[0]) / 1000, Bytes: median(one[1]), Allocations: median(one[2]), Budget: budget[name]})
	}
	return nil
}
