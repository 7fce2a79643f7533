//go:build external

package programs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"headgate.dev/tools/e2e/programs"
)

// ask is one step of a visit and what its reply must show.
type ask struct {
	step programs.Step
	// asks says that the server asks the client something in the course of it, heard which message must have come. Clients that answer no questions do not
	// take such a step.
	asks  bool
	heard string
	// modern says that only a client of 2026-07-28 can take it, also without anything in between.
	modern bool
	wants  func(programs.Reply) bool
}

func lists(method string, names ...string) ask {
	return ask{step: programs.Step{Method: method}, wants: func(r programs.Reply) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(r.Names(), name) })
	}}
}

// says wants a result that is no error and has the text.
func says(step programs.Step, text string) ask {
	return ask{step: step, wants: func(r programs.Reply) bool { return r.Error == nil && !r.Failed() && strings.Contains(r.Text(), text) }}
}

// fails wants a tool's result that says it is an error, in these words.
func fails(step programs.Step, text string) ask {
	return ask{step: step, wants: func(r programs.Reply) bool { return r.Error == nil && r.Failed() && strings.Contains(r.Text(), text) }}
}

// refused wants an error of one of the codes, from clients that show it.
func refused(step programs.Step, codes ...int) ask {
	return ask{step: step, wants: func(r programs.Reply) bool {
		return r.Error != nil && (r.Error.Code == 0 || slices.Contains(codes, r.Error.Code))
	}}
}

// holds wants a result that is no error and whose JSON, without blanks, has all parts.
func holds(step programs.Step, parts ...string) ask {
	return ask{step: step, wants: func(r programs.Reply) bool {
		var result bytes.Buffer
		if r.Error != nil || r.Failed() || json.Compact(&result, r.Result) != nil {
			return false
		}
		return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(result.String(), part) })
	}}
}

// hears wants a message of the server in the course of the step.
func (a ask) hears(method string) ask {
	a.asks, a.heard = true, method
	return a
}

// fromClient wants an answer of the client's in the result; not every client says that it was asked.
func (a ask) fromClient() ask {
	a.asks = true
	return a
}

func (a ask) answered(answer map[string]any) ask {
	a.step.Answer = answer
	return a
}

func prompt(name string, args map[string]any) programs.Step {
	params := map[string]any{"name": name}
	if args != nil {
		params["arguments"] = args
	}
	return programs.Step{Method: "prompts/get", Params: params}
}

func resource(uri string) programs.Step {
	return programs.Step{Method: "resources/read", Params: map[string]any{"uri": uri}}
}

func completion(prompt, argument, value string, values ...string) ask {
	step := programs.Step{Method: "completion/complete", Params: map[string]any{
		"ref": map[string]any{"type": "ref/prompt", "name": prompt}, "argument": map[string]any{"name": argument, "value": value}}}
	return ask{step: step, wants: func(r programs.Reply) bool { return r.Error == nil && slices.Equal(r.Values(), values) }}
}

// invalidParams and notFound are the codes for what is not there: of a tool and, since 2026-07-28, of a resource; and of a resource before.
const (
	invalidParams = -32602
	notFound      = -32002
)

// fixtureVisit is what the Go SDK's server has in every era.
func fixtureVisit() []ask {
	return []ask{
		lists("tools/list", "test_simple_text", "json_schema_2020_12_tool"),
		says(programs.Call("test_simple_text", nil), "This is a simple text response for testing."),
		fails(programs.Call("test_error_handling", nil), "this tool intentionally returns an error for testing"),
		holds(programs.Call("test_multiple_content_types", nil), `"text":"This is text content"`, `"mimeType":"image/png"`, `"uri":"test://embedded-in-multiple"`),
		says(programs.Call("test_tool_with_progress", nil), "").hears("notifications/progress"),
		refused(programs.Call("nope", nil), invalidParams),
		lists("prompts/list", "test_simple_prompt", "test_prompt_with_arguments"),
		says(prompt("test_prompt_with_arguments", map[string]any{"arg1": "gate", "arg2": "keeper"}), "arg1='gate', arg2='keeper'"),
		lists("resources/list", "test://static-text", "test://static-binary"),
		lists("resources/templates/list", "template"),
		says(resource("test://static-text"), "This is the content of the static text resource."),
		says(resource("test://template/7/data"), `"id": "7"`),
		holds(resource("test://static-binary"), `"blob":"iVBOR`),
		refused(resource("test://none"), invalidParams, notFound),
		completion("test_prompt_with_arguments", "arg1", "g"),
	}
}

// legacyQuestions are those that the fixture with sessions asks of a client.
func legacyQuestions() []ask {
	return []ask{
		says(programs.Call("test_elicitation", map[string]any{"message": "Who are you?"}), "username:ana").
			answered(map[string]any{"username": "ana"}).hears("elicitation/create"),
		says(programs.Call("test_sampling", map[string]any{"prompt": "The capital of France?"}), programs.Sampled).hears("sampling/createMessage"),
	}
}

// modernQuestions are those of the fixture without sessions, which asks by its results; to a client with sessions it speaks as well, but asks it nothing.
func modernQuestions() []ask {
	questions := []ask{
		says(programs.Call("test_input_required_result_elicitation", nil), "Hello, ana!").answered(map[string]any{"name": "ana"}).hears("elicitation/create"),
		says(programs.Call("test_input_required_result_sampling", nil), programs.Sampled).hears("sampling/createMessage"),
		says(programs.Call("test_input_required_result_list_roots", nil), programs.Root).fromClient(),
		says(programs.Call("test_input_required_result_multi_round", nil), "ana likes green").
			answered(map[string]any{"name": "ana", "color": "green"}).hears("elicitation/create"),
		says(prompt("test_input_required_result_prompt", nil), "Context: night shift").answered(map[string]any{"context": "night shift"}).hears("elicitation/create"),
	}
	for i := range questions {
		questions[i].modern = true
	}
	return questions
}

// everythingVisit is what the npm package server-everything shows to every client.
func everythingVisit() []ask {
	return []ask{
		lists("tools/list", "echo", "get-sum", "get-structured-content"),
		says(programs.Call("echo", map[string]any{"message": "hé <&> 𝄞"}), "Echo: hé <&> 𝄞"),
		says(programs.Call("get-sum", map[string]any{"a": 2, "b": 40}), "The sum of 2 and 40 is 42."),
		fails(programs.Call("get-sum", map[string]any{"a": "two", "b": 40}), ""),
		holds(programs.Call("get-structured-content", map[string]any{"location": "Chicago"}), `"structuredContent":{`, `"temperature":`),
		says(programs.Call("trigger-long-running-operation", map[string]any{"duration": 0.2, "steps": 2}), "operation completed").hears("notifications/progress"),
		refused(programs.Call("nope", nil), invalidParams),
		lists("prompts/list", "simple-prompt", "args-prompt"),
		says(prompt("args-prompt", map[string]any{"city": "Paris", "state": "Texas"}), "What's weather in Paris, Texas?"),
		completion("completable-prompt", "department", "S", "Sales", "Support"),
		lists("resources/list", "demo://resource/static/document/features.md"),
		lists("resources/templates/list", "Dynamic Text Resource"),
		says(resource("demo://resource/dynamic/text/7"), "Resource 7: This is a plaintext resource"),
		refused(resource("demo://resource/none"), invalidParams, notFound),
	}
}

// everythingQuestions are those that it asks. It shows these tools only to a client that can be asked.
func everythingQuestions() []ask {
	return []ask{
		says(programs.Call("trigger-elicitation-request", nil), "Name: ana").answered(map[string]any{"name": "ana"}).hears("elicitation/create"),
		says(programs.Call("trigger-sampling-request", map[string]any{"prompt": "The capital of France?", "maxTokens": 10}), programs.Sampled).hears("sampling/createMessage"),
	}
}

// secret is a variable of the edge that no server may see.
const secret, secretValue = "HEADGATE_E2E_SECRET", "only-the-edge-knows-this"

// environmentVisit looks at the variables that a child got.
func environmentVisit() []ask {
	return []ask{{step: programs.Call("get-env", nil), wants: func(r programs.Reply) bool {
		return r.Error == nil && !r.Failed() && strings.Contains(r.Text(), `"PATH"`) && !strings.Contains(r.Text(), secret) && !strings.Contains(r.Text(), secretValue)
	}}}
}

func filesystemVisit(folder string) []ask {
	hello, written := filepath.Join(folder, "hello.txt"), filepath.Join(folder, "written.txt")
	return []ask{
		lists("tools/list", "read_text_file", "write_file"),
		says(programs.Call("read_text_file", map[string]any{"path": hello}), "hello from a file"),
		says(programs.Call("write_file", map[string]any{"path": written, "content": "wrïtten"}), "Successfully wrote"),
		says(programs.Call("read_text_file", map[string]any{"path": written}), "wrïtten"),
		fails(programs.Call("read_text_file", map[string]any{"path": "/etc/hostname"}), "Access denied"),
		refused(programs.Call("nope", nil), invalidParams),
	}
}

func memoryVisit() []ask {
	gate := map[string]any{"name": "gate", "entityType": "thing", "observations": []any{"it is closed"}}
	return []ask{
		lists("tools/list", "create_entities", "read_graph"),
		holds(programs.Call("create_entities", map[string]any{"entities": []any{gate}}), `"structuredContent"`),
		says(programs.Call("read_graph", nil), "it is closed"),
		says(programs.Call("search_nodes", map[string]any{"query": "closed"}), "gate"),
		fails(programs.Call("create_entities", map[string]any{"entities": "gate"}), ""),
	}
}

func gitVisit(repository string) []ask {
	here := map[string]any{"repo_path": repository}
	return []ask{
		lists("tools/list", "git_status", "git_log"),
		says(programs.Call("git_log", here), "Close the gate"),
		says(programs.Call("git_status", here), "nothing to commit"),
		fails(programs.Call("git_log", map[string]any{"repo_path": "/"}), ""),
		refused(programs.Call("nope", nil), invalidParams),
	}
}

func timeVisit() []ask {
	return []ask{
		lists("tools/list", "get_current_time", "convert_time"),
		holds(programs.Call("get_current_time", map[string]any{"timezone": "Europe/Zurich"}), `"structuredContent"`, `Europe/Zurich`),
		says(programs.Call("convert_time", map[string]any{"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}), "T21:00:00+09:00"),
		fails(programs.Call("get_current_time", map[string]any{"timezone": "Nowhere/None"}), "Invalid timezone"),
		refused(programs.Call("nope", nil), invalidParams),
	}
}

func (a ask) String() string {
	return fmt.Sprintf("%s %v", a.step.Method, a.step.Params)
}
