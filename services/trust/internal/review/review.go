// Package review judges what a server shows before anyone approves it: what a person cannot see or a client cannot take is never approved.
package review

import (
	"bytes"
	"encoding/json"
	"fmt"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/hidden"
	"headgate.dev/libs/mcp"
	"headgate.dev/services/trust/internal/pin"
)

const (
	// mostDefinition is how large one definition may be: what is longer nobody reads before approving it.
	mostDefinition = 256 << 10
	// mostInstructions is the same for instructions.
	mostInstructions = 64 << 10
)

// Tool judges one definition as it was shown.
func Tool(d mcp.Definition) pin.Shown {
	return pin.Shown{Name: d.Name, Hash: d.Hash(), Raw: bytes.Clone(d.Raw), Problem: problem(d)}
}

func problem(d mcp.Definition) string {
	if len(d.Raw) > mostDefinition {
		return fmt.Sprintf("its definition is longer than %d bytes", mostDefinition)
	}
	if err := d.Check(); err != nil {
		return err.Error()
	}
	if _, count := hidden.StripJSON(d.Raw); count > 0 {
		return fmt.Sprintf("its definition holds %s that a person does not see and a model reads", characters(count))
	}
	return ""
}

// Instructions judges a server's instructions.
func Instructions(text string) string {
	if len(text) > mostInstructions {
		return fmt.Sprintf("they are longer than %d bytes", mostInstructions)
	}
	if found := hidden.Scan(text); found.Count > 0 {
		return fmt.Sprintf("they hold %s that a person does not see and a model reads", characters(found.Count))
	}
	return ""
}

func characters(count int) string {
	if count == 1 {
		return "a character"
	}
	return fmt.Sprintf("%d characters", count)
}

// Reported judges the definitions that an edge saw, each raw.
func Reported(tools [][]byte) ([]pin.Shown, error) {
	shown := make([]pin.Shown, 0, len(tools))
	for i, raw := range tools {
		name, ok := mcp.Text(raw, "name")
		if !mcp.Valid(raw) || !ok || name == "" {
			return nil, fault.Invalid("Tool %d of the report is not a strict JSON object with a name. Nothing of it was taken.", i+1)
		}
		shown = append(shown, Tool(mcp.Definition{Name: name, Raw: json.RawMessage(raw)}))
	}
	return shown, nil
}
