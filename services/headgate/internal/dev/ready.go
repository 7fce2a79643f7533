package dev

import (
	"encoding/json"
	"os"
	"path/filepath"
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
	file, err := os.CreateTemp(filepath.Dir(path), ".ready-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	if _, err := file.Write(append(encoded, '\n')); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}
