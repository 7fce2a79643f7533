// Package stdio starts MCP servers that speak on their standard input and output, as far as the operator of this machine allows it: declarations come
// over an API, and what may run here is not theirs to say. A server runs without a shell, with an environment of its own, in a process group that
// ends as a whole.
package stdio

import (
	"errors"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// Command is a program as it is declared.
type Command struct {
	// Command is the program and its arguments as they are.
	Command []string `yaml:"command"`
	// Env are variables of the process, Inherit names of variables of the edge's that it gets as well.
	Env     map[string]string `yaml:"env"`
	Inherit []string          `yaml:"inherit"`
	// Directory is where it runs; empty means a new folder of its own, which is removed with it.
	Directory string `yaml:"directory"`
}

// Config is what the operator allows. The zero value allows nothing.
type Config struct {
	// Allow are beginnings of commands: a command that begins with exactly these arguments may run.
	Allow [][]string `yaml:"allow"`
	// Env and Inherit name the variables that an allowed command may be given by its declaration, Directories the folders it may be told to run in.
	// A variable as NODE_OPTIONS runs code of its own, and so does a folder, so none is allowed with the command.
	Env         []string `yaml:"env"`
	Inherit     []string `yaml:"inherit"`
	Directories []string `yaml:"directories"`
	// Exactly are whole declarations that may run as they are here, and no other way.
	Exactly []Command `yaml:"exactly"`
	// MaxProcesses is how many processes may run at once; 0 means 64.
	MaxProcesses int `yaml:"maxProcesses"`
	// User is whom programs run as, UID:GID in numbers; empty means the edge's own user, whose files they can then read.
	User string `yaml:"user"`
}

const defaultProcesses = 64

// Check says what is wrong with the configuration.
func (c Config) Check() error {
	if c.MaxProcesses < 0 {
		return fault.Invalid("stdio.maxProcesses cannot be negative.")
	}
	if _, err := ownerOf(c.User); err != nil {
		return err
	}
	if c.User != "" {
		if err := mayBecome(); err != nil {
			return err
		}
	}
	for i, prefix := range c.Allow {
		if len(prefix) == 0 || prefix[0] == "" {
			return fault.Invalid("stdio.allow[%d] names no program. An entry is a list: the program and its first arguments.", i)
		}
	}
	for i, one := range c.Exactly {
		if len(one.Command) == 0 || one.Command[0] == "" {
			return fault.Invalid("stdio.exactly[%d].command names no program.", i)
		}
	}
	for _, dir := range c.Directories {
		if !filepath.IsAbs(dir) {
			return fault.Invalid("stdio.directories holds %q, which is no absolute path.", dir)
		}
	}
	for _, name := range slices.Concat(c.Env, c.Inherit) {
		if name == "" || strings.ContainsAny(name, "=\x00*") {
			return fault.Invalid("stdio.env and stdio.inherit are names of variables; %q is none.", name)
		}
	}
	return nil
}

// Program is a command that may run here.
type Program struct {
	path    string // of the program, absolute
	command Command
}

// Allowed finds the program of a declared command and refuses what the operator did not allow. Server is its name, for the sentence.
func (c Config) Allowed(server string, command Command) (Program, error) {
	if len(command.Command) == 0 {
		return Program{}, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s names no command. An administrator must correct it.", server)
	}
	path, err := find(command.Command[0])
	for _, one := range c.Exactly {
		if same(one, command) {
			return program(server, path, command, err)
		}
	}
	begins := slices.ContainsFunc(c.Allow, func(prefix []string) bool {
		return len(prefix) > 0 && len(prefix) <= len(command.Command) && slices.Equal(prefix[1:], command.Command[1:len(prefix)]) &&
			samePath(prefix[0], command.Command[0])
	})
	if !begins {
		return Program{}, refused(server, "its command", "service.stdio.allow")
	}
	for name := range command.Env {
		if !slices.Contains(c.Env, name) {
			return Program{}, refused(server, "the variable "+name+" that it sets", "service.stdio.env")
		}
	}
	for _, name := range command.Inherit {
		if !slices.Contains(c.Inherit, name) {
			return Program{}, refused(server, "the variable "+name+" that it inherits", "service.stdio.inherit")
		}
	}
	if command.Directory != "" && !slices.Contains(c.Directories, command.Directory) {
		return Program{}, refused(server, "the folder that it runs in", "service.stdio.directories")
	}
	return program(server, path, command, err)
}

func program(server, path string, command Command, err error) (Program, error) {
	if err != nil {
		return Program{}, fault.New(faultv1.Reason_REASON_UPSTREAM,
			"The program of the server %s is not there on this edge. Ask the operator to install it, or to correct PATH.", server).Because(err)
	}
	return Program{path: path, command: command}, nil
}

func refused(server, what, where string) error {
	return fault.New(faultv1.Reason_REASON_UPSTREAM,
		"The server %s was not started, because %s is not allowed on this edge: ask the operator to allow it in %s.", server, what, where)
}

// samePath reports whether an entry and a declaration name the same program, as this edge finds it.
func samePath(entry, declared string) bool {
	a, errA := find(entry)
	b, errB := find(declared)
	if errA != nil || errB != nil {
		return entry == declared // it is not there, which is said later
	}
	return a == b
}

// find looks a program up in PATH. Its path is absolute, so that it means the same whatever the folder of the process.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	if strings.ContainsRune(path, 0) {
		return "", errors.New("the path holds a NUL")
	}
	return path, nil
}

func same(a, b Command) bool {
	return slices.Equal(a.Command, b.Command) && maps.Equal(a.Env, b.Env) && slices.Equal(a.Inherit, b.Inherit) && a.Directory == b.Directory
}
