//go:build unix

package stdio_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/services/edge/internal/stdio"
)

func TestT16ACommandThatNobodyAllowedIsNeverStarted(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"node", "server"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	t.Chdir(bin)
	operator := stdio.Config{
		Allow: [][]string{{"node", "files.js", "/srv"}, {filepath.Join(bin, "server")}}, Env: []string{"TZ"}, Inherit: []string{"API_KEY"}, Directories: []string{"/srv"},
		Exactly: []stdio.Command{{Command: []string{"node", "x.js"}, Env: map[string]string{"NODE_OPTIONS": "--no-warnings"}, Directory: "/opt"}},
	}
	c := func(argv ...string) stdio.Command { return stdio.Command{Command: argv} }
	with := func(c stdio.Command, change func(*stdio.Command)) stdio.Command { change(&c); return c }
	for name, one := range map[string]struct {
		command stdio.Command
		refused string // what the sentence names; empty when it is allowed
	}{
		"the entry itself":                    {c("node", "files.js", "/srv"), ""},
		"more arguments":                      {c("node", "files.js", "/srv", "/data"), ""},
		"the program by its path":             {c(filepath.Join(bin, "node"), "files.js", "/srv"), ""},
		"a path, declared by its name":        {c("server", "anything"), ""},
		"a path, declared relative":           {c("./server"), ""},
		"fewer arguments":                     {c("node", "files.js"), "service.stdio.allow"},
		"other arguments":                     {c("node", "-e", "process.exit()"), "service.stdio.allow"},
		"arguments in one":                    {c("node files.js /srv"), "service.stdio.allow"},
		"an argument that only begins alike":  {c("node", "files.js", "/srv2"), "service.stdio.allow"},
		"another program":                     {c("sh", "-c", "node files.js /srv"), "service.stdio.allow"},
		"another program of that name":        {c("/tmp/node", "files.js", "/srv"), "service.stdio.allow"},
		"no command":                          {c(), "names no command"},
		"a variable that is allowed":          {with(c("server"), func(c *stdio.Command) { c.Env = map[string]string{"TZ": "UTC"} }), ""},
		"a variable that loads code":          {with(c("server"), func(c *stdio.Command) { c.Env = map[string]string{"LD_PRELOAD": "/x"} }), "service.stdio.env"},
		"a secret of the edge's":              {with(c("server"), func(c *stdio.Command) { c.Inherit = []string{"HEADGATE_TOKEN"} }), "service.stdio.inherit"},
		"a variable that it may only inherit": {with(c("server"), func(c *stdio.Command) { c.Env = map[string]string{"API_KEY": "x"} }), "service.stdio.env"},
		"one that it may inherit":             {with(c("server"), func(c *stdio.Command) { c.Inherit = []string{"API_KEY"} }), ""},
		"a folder":                            {with(c("server"), func(c *stdio.Command) { c.Directory = "/srv" }), ""},
		"another folder":                      {with(c("server"), func(c *stdio.Command) { c.Directory = "/srv/upload" }), "service.stdio.directories"},
		"exactly":                             {operator.Exactly[0], ""},
		"exactly, and one argument more":      {with(operator.Exactly[0], func(c *stdio.Command) { c.Command = append(c.Command[:2:2], "y") }), "service.stdio.allow"},
		"exactly, with another variable":      {with(operator.Exactly[0], func(c *stdio.Command) { c.Env = map[string]string{"NODE_OPTIONS": "--import=x"} }), "service.stdio.allow"},
		"exactly, elsewhere":                  {with(operator.Exactly[0], func(c *stdio.Command) { c.Directory = "" }), "service.stdio.allow"},
	} {
		launcher := stdio.NewLauncher(operator, stdio.Options{}, slog.New(slog.DiscardHandler))
		_, err := launcher.Allowed("files", one.command)
		if (err == nil) != (one.refused == "") || err != nil && !strings.Contains(err.Error(), one.refused) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := (stdio.Config{}).Allowed("files", one.command); err == nil {
			t.Errorf("%s: allowed by an operator who allowed nothing", name)
		}
	}
}

func TestAProgramThatIsNotThereIsSaid(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := stdio.Config{Allow: [][]string{{"uvx"}}}.Allowed("time", stdio.Command{Command: []string{"uvx", "mcp-server-time"}})
	if err == nil || !strings.Contains(err.Error(), "not there on this edge") {
		t.Errorf("%v", err)
	}
}

func TestNoMoreProcessesThanTheOperatorAllows(t *testing.T) {
	c := command("echo")
	l := stdio.NewLauncher(stdio.Config{Exactly: []stdio.Command{c}, MaxProcesses: 1}, stdio.Options{}, slog.New(slog.DiscardHandler))
	program, err := l.Allowed("echo", c)
	if err != nil {
		t.Fatal(err)
	}
	first, err := l.Start("acme", "echo", program)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Start("acme", "echo", program); err == nil || !strings.Contains(err.Error(), "maxProcesses") || !l.Full() {
		t.Errorf("%v", err)
	}
	first.Close()
	second, err := l.Start("acme", "echo", program)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

func TestWhatAnOperatorCannotMean(t *testing.T) {
	for name, c := range map[string]stdio.Config{
		"a negative bound": {MaxProcesses: -1}, "an entry for everything": {Allow: [][]string{{}}}, "a program without a name": {Allow: [][]string{{""}}},
		"a relative folder": {Directories: []string{"srv"}}, "every variable": {Env: []string{"*"}}, "a value": {Inherit: []string{"A=b"}}, "an empty declaration": {Exactly: []stdio.Command{{}}},
	} {
		if c.Check() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := (stdio.Config{}).Check(); err != nil {
		t.Error(err)
	}
}
