package dev

import (
	"encoding/json"

	"headgate.dev/libs/wholefile"
)

// Ready is the ready file: where everything is and a token for each person.
type Ready struct {
	MCP     string            `json:"mcp"`
	API     string            `json:"api"`
	Console string            `json:"console"`
	Metrics string            `json:"metrics"`
	Kafka   string            `json:"kafka"`
	Tokens  map[string]string `json:"tokens"`
	PIDs    map[string]int    `json:"pids"`
}

// write puts the file in place whole: who sees it can read it.
func (r Ready) write(path string) error {
	encoded, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return wholefile.Replace(path, append(encoded, '\n'), 0o600)
}
