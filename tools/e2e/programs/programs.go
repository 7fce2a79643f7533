// Package programs drives servers with clients that we did not write: the official SDKs of Go, Python and TypeScript, mcp-go and the inspector's command
// line. Each is told the same steps and says what its user would see.
package programs

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What the clients answer when a server asks for more than a person's words.
const (
	Sampled = "Paris, says the model"
	Root    = "file:///headgate"
)

// The revisions that clients are made to speak.
const (
	Legacy = "2025-11-25"
	Modern = "2026-07-28"
)

// Client is one program in one era of the protocol.
type Client struct {
	Name string
	// Modern says that it speaks 2026-07-28, and a revision with sessions otherwise.
	Modern bool
	// Methods are the steps that it can take; nil means all.
	Methods []string
	// Each is how many steps of a method to take at most, for a client that is slow to start; 0 is all.
	Each int
	// Answers says that it declares elicitation, sampling and roots, and answers them.
	Answers bool
	run     func(ctx context.Context, at Endpoint, steps []Step) ([]Reply, error)
}

// Endpoint is where a client talks: a URL and its access token, or a program.
type Endpoint struct {
	URL, Token string
	Program    *Program
}

// Program is one that the client starts and talks to over standard input and output.
type Program struct {
	Command string            `json:"command"`
	Args    []string          `json:"args"`
	Env     map[string]string `json:"env"`
}

// variables are what the program gets beside those of the client.
func (p Program) variables() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		all = append(all, name+"="+p.Env[name])
	}
	return all
}

// Step is one request: tools/list, tools/call, prompts/list, prompts/get, resources/list, resources/templates/list, resources/read or completion/complete.
type Step struct {
	Method string         `json:"method"`
	Params map[string]any `json:"params,omitempty"`
	// Answer is what the person fills in when the server asks in the course of it.
	Answer map[string]any `json:"answer,omitempty"`
}

// Reply is what the client's user saw of a step: a result or an error, and in Heard the methods of the messages that the server sent in between.
type Reply struct {
	Result json.RawMessage `json:"result"`
	Error  *Error          `json:"error"`
	Heard  []string        `json:"heard"`
}

// Error is a JSON-RPC error. A client that does not show its user the code leaves it 0.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Run opens the endpoint and takes the steps one after the other. It returns a reply for each, or an error when the client itself failed.
func (c Client) Run(ctx context.Context, at Endpoint, steps ...Step) ([]Reply, error) {
	replies, err := c.run(ctx, at, steps)
	if err == nil && len(replies) != len(steps) {
		err = fmt.Errorf("%d steps were answered with %d replies", len(steps), len(replies))
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return replies, nil
}

// Can reports whether the client can take a step.
func (c Client) Can(step Step) bool {
	return c.Methods == nil || slices.Contains(c.Methods, step.Method)
}

// Call is a step that calls a tool.
func Call(tool string, args map[string]any) Step {
	if args == nil {
		args = map[string]any{}
	}
	return Step{Method: "tools/call", Params: map[string]any{"name": tool, "arguments": args}}
}

// progressing are the parameters of a step that asks for progress.
func (s Step) progressing() Step {
	s.Params = maps.Clone(s.Params)
	s.Params["_meta"] = map[string]any{"progressToken": "here"}
	return s
}

// String shows a reply as JSON, for a test's words.
func (r Reply) String() string {
	encoded, err := json.Marshal(r)
	if err != nil {
		return err.Error()
	}
	return string(encoded)
}

// Text is all text of a result: of a tool's content, of a prompt's messages, of a resource's contents.
func (r Reply) Text() string {
	type content struct{ Text string }
	var result struct {
		Content, Contents []content
		Messages          []struct{ Content content }
	}
	if json.Unmarshal(r.Result, &result) != nil {
		return ""
	}
	var texts []string
	for _, one := range append(result.Content, result.Contents...) {
		texts = append(texts, one.Text)
	}
	for _, message := range result.Messages {
		texts = append(texts, message.Content.Text)
	}
	return strings.Join(texts, "\n")
}

// Failed reports whether a tool's result says that it is an error.
func (r Reply) Failed() bool {
	var result struct{ IsError bool }
	return json.Unmarshal(r.Result, &result) == nil && result.IsError
}

// Names are those of the listed tools, prompts or resource templates, or the URIs of the listed resources.
func (r Reply) Names() []string {
	type named struct{ Name, URI string }
	var result struct{ Tools, Prompts, Resources, ResourceTemplates []named }
	if json.Unmarshal(r.Result, &result) != nil {
		return nil
	}
	var names []string
	for _, one := range slices.Concat(result.Tools, result.Prompts, result.ResourceTemplates) {
		names = append(names, one.Name)
	}
	for _, one := range result.Resources {
		names = append(names, one.URI)
	}
	return names
}

// Values are those of a completion.
func (r Reply) Values() []string {
	var result struct{ Completion struct{ Values []string } }
	if json.Unmarshal(r.Result, &result) != nil {
		return nil
	}
	return result.Completion.Values
}

// HasHeard reports whether the server sent a message of a method in the course of the step.
func (r Reply) HasHeard(method string) bool { return slices.Contains(r.Heard, method) }
