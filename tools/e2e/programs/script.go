package programs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Python is the official SDK of Python, version 2: client.py, run by an interpreter that has its packages. Mode is legacy or 2026-07-28.
func Python(interpreter, program, mode string) Client {
	return Client{Name: "Python SDK " + mode, Modern: mode == Modern, Answers: true, run: script("", interpreter, program, mode)}
}

// PythonV1 is the line of the official SDK of Python before version 2.
func PythonV1(interpreter, program string) Client {
	return Client{Name: "Python SDK v1", Answers: true, run: script("", interpreter, program)}
}

// TypeScript is one of the official SDKs of TypeScript: client.mjs in a folder that has its packages. SDK is v1, v2-legacy or v2-modern.
func TypeScript(folder, sdk string) Client {
	return Client{Name: "TypeScript SDK " + sdk, Modern: sdk == "v2-modern", Answers: true, run: script(folder, "node", "client.mjs", sdk)}
}

// script runs a program that takes where it talks, a URL or the JSON of a Program, and the steps as its last arguments and prints the replies.
func script(folder, command string, args ...string) func(context.Context, Endpoint, []Step) ([]Reply, error) {
	return func(ctx context.Context, at Endpoint, steps []Step) ([]Reply, error) {
		encoded, err := json.Marshal(steps)
		if err != nil {
			return nil, err
		}
		where := at.URL
		if at.Program != nil {
			program, err := json.Marshal(at.Program)
			if err != nil {
				return nil, err
			}
			where = string(program)
		}
		cmd := exec.CommandContext(ctx, command, append(slices.Clip(args), where, string(encoded))...)
		cmd.Dir, cmd.Env = folder, append(os.Environ(), "HEADGATE_TOKEN="+at.Token)
		var words bytes.Buffer
		cmd.Stderr = &words
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%w: %s", err, words.Bytes())
		}
		var replies []Reply
		if err := json.Unmarshal(out, &replies); err != nil {
			return nil, fmt.Errorf("printed %s: %w", out, err)
		}
		return replies, nil
	}
}

// Inspector is the command line of the official inspector, in a folder in which npm ci ran. Each step is a run of its own. Era is legacy or modern.
func Inspector(folder, era string) Client {
	return Client{
		Name: "inspector " + era, Modern: era == "modern", Each: 2,
		Methods: []string{"tools/list", "tools/call", "prompts/get", "resources/read"},
		run: func(ctx context.Context, at Endpoint, steps []Step) ([]Reply, error) {
			home, err := os.MkdirTemp("", "inspector-*")
			if err != nil {
				return nil, err
			}
			defer func() { _ = os.RemoveAll(home) }()
			var replies []Reply
			for _, step := range steps {
				reply, err := inspect(ctx, at, filepath.Join(folder, "node_modules", ".bin"), home, era, step)
				if err != nil {
					return nil, err
				}
				replies = append(replies, reply)
			}
			return replies, nil
		},
	}
}

func inspect(ctx context.Context, at Endpoint, bin, home, era string, step Step) (Reply, error) {
	flags, err := inspectorFlags(step)
	if err != nil {
		return Reply{}, err
	}
	args := append([]string{"--cli", "--protocol-era", era, "--connect-timeout", "60000", "--stored-auth-only", "--format", "json", "--quiet", "--method", step.Method}, flags...)
	args = append(args, inspected(at)...)
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "node"), append([]string{filepath.Join(bin, "mcp-inspector")}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+home)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		return Reply{}, err
	}
	var said struct{ Result json.RawMessage }
	if out.Len() > 0 {
		err := json.Unmarshal(out.Bytes(), &said)
		return Reply{Result: said.Result}, err
	}
	var refused struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(words.Bytes(), &refused) != nil || refused.Error.Message == "" {
		return Reply{}, fmt.Errorf("%s ended with %d: %s", step.Method, cmd.ProcessState.ExitCode(), words.Bytes())
	}
	return Reply{Error: &Error{Message: refused.Error.Message}}, nil
}

// inspected says an endpoint as the inspector's last arguments: behind two dashes its options are the program's.
func inspected(at Endpoint) []string {
	if at.Program == nil {
		return []string{"--transport", "http", "--header", "Authorization: Bearer " + at.Token, "--", at.URL}
	}
	args := []string{"--transport", "stdio"}
	for _, variable := range at.Program.variables() {
		args = append(args, "-e", variable)
	}
	return append(append(args, "--", at.Program.Command), at.Program.Args...)
}

// inspectorFlags says a step as the inspector's options.
func inspectorFlags(step Step) ([]string, error) {
	name, _ := step.Params["name"].(string)
	switch step.Method {
	case "tools/call":
		args, err := json.Marshal(step.Params["arguments"])
		return []string{"--tool-name", name, "--tool-args-json", string(args)}, err
	case "prompts/get":
		flags := []string{"--prompt-name", name}
		if args, _ := step.Params["arguments"].(map[string]any); len(args) > 0 {
			flags = append(flags, "--prompt-args")
			for key, value := range args {
				flags = append(flags, fmt.Sprintf("%s=%v", key, value))
			}
		}
		return flags, nil
	case "resources/read":
		uri, _ := step.Params["uri"].(string)
		return []string{"--uri", uri}, nil
	}
	return nil, nil
}
