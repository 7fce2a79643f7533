// Package conformance runs the protocol's official conformance suite against Headgate: as a server that a client of the suite talks to, and as a client
// of the suite's own servers. The suite is the npm package @modelcontextprotocol/conformance, installed from tools/e2e/npm.
package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// The revisions that the suite has a frozen list of requirements for.
const (
	Legacy = "2025-11-25"
	Modern = "2026-07-28"
)

// scenarioLimit is how long the suite waits for one scenario: its own default.
const scenarioLimit = 30 * time.Second

// Suite is an installed conformance suite.
type Suite struct {
	node, program, requirements string
}

// Requirements are the scenarios of one revision on one side, in the suite's order: those that count, and those that only run.
type Requirements struct {
	Scored, Unscored []string
}

// Open finds the suite in a folder in which npm ci ran.
func Open(folder string) (Suite, error) {
	installed := filepath.Join(folder, "node_modules", "@modelcontextprotocol", "conformance")
	s := Suite{
		node:         filepath.Join(folder, "node_modules", ".bin", "node"),
		program:      filepath.Join(installed, "dist", "index.js"),
		requirements: filepath.Join(installed, "requirements"),
	}
	for _, path := range []string{s.node, s.program, s.requirements} {
		if _, err := os.Stat(path); err != nil {
			return Suite{}, fmt.Errorf("the folder holds no installed suite: run npm ci in a copy of tools/e2e/npm: %w", err)
		}
	}
	return s, nil
}

// Requirements reads what the suite requires of one side, "server" or "client", at a revision.
func (s Suite) Requirements(side, revision string) (Requirements, error) {
	text, err := os.ReadFile(filepath.Join(s.requirements, revision+".yaml"))
	if err != nil {
		return Requirements{}, err
	}
	var list struct {
		Server, Client []string
		NotScored      []struct{ Scenario, Leg string } `yaml:"not_scored"`
	}
	if err := yaml.Unmarshal(text, &list); err != nil {
		return Requirements{}, fmt.Errorf("requirements of %s: %w", revision, err)
	}
	found := Requirements{Scored: list.Server}
	if side == "client" {
		found.Scored = list.Client
	}
	for _, one := range list.NotScored {
		if one.Leg == side {
			found.Unscored = append(found.Unscored, one.Scenario)
		}
	}
	return found, nil
}

// Without leaves out what a prefix names.
func (r Requirements) Without(prefix string) Requirements {
	named := func(scenario string) bool { return strings.HasPrefix(scenario, prefix) }
	return Requirements{Scored: slices.DeleteFunc(slices.Clone(r.Scored), named), Unscored: slices.DeleteFunc(slices.Clone(r.Unscored), named)}
}

// All are the scored and the unscored ones.
func (r Requirements) All() []string { return slices.Concat(r.Scored, r.Unscored) }

// Server runs all that a revision requires of a server against the one at the URL.
func (s Suite) Server(ctx context.Context, url, revision string) (Report, error) {
	return s.run(ctx, nil, "server", "--url", url, "--requirements", revision)
}

// ServerScenario runs one scenario against the server at the URL.
func (s Suite) ServerScenario(ctx context.Context, url, revision, scenario string) (Report, error) {
	return s.run(ctx, nil, "server", "--url", url, "--spec-version", revision, "--scenario", scenario)
}

// ClientScenario starts the suite's server of one scenario and lets the command, to which the server's URL is appended, be its client. The command sees
// env besides the suite's own variables.
func (s Suite) ClientScenario(ctx context.Context, command, revision, scenario string, env ...string) (Report, error) {
	return s.run(ctx, env, "client", "--command", command, "--spec-version", revision, "--scenario", scenario)
}

// run runs the suite and reads its result files. That scenarios failed is in the report; an error means that the suite did not run.
func (s Suite) run(ctx context.Context, env []string, args ...string) (Report, error) {
	results, err := os.MkdirTemp("", "conformance-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(results) }()
	args = append(append([]string{s.program}, args...), "--timeout", fmt.Sprint(scenarioLimit.Milliseconds()), "-o", results)
	cmd := exec.CommandContext(ctx, s.node, args...)
	cmd.Env = append(os.Environ(), env...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		return nil, fmt.Errorf("conformance %v: %w: %s", args[1:], errors.Join(err, ctx.Err()), tail(said.Bytes()))
	}
	report, err := readReport(results)
	if err == nil && len(report) == 0 {
		err = errors.New("the suite wrote no results")
	}
	if err != nil {
		return nil, fmt.Errorf("conformance %v: %w: %s", args[1:], err, tail(said.Bytes()))
	}
	return report, nil
}

func tail(text []byte) []byte { return text[max(0, len(text)-4000):] }
