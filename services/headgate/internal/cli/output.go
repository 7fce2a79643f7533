package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"

	"headgate.dev/libs/hidden"
)

// print writes a value in the session's form. The table is rows of columns, the first row the head.
func (s *session) print(value json.RawMessage, rows [][]string) error {
	switch s.output {
	case "json":
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, value, "", "  "); err != nil {
			return err
		}
		_, err := fmt.Fprintln(s.stdio.Out, pretty.String())
		return err
	case "yaml":
		return writeYAML(s.stdio.Out, value)
	default:
		return writeTable(s.stdio.Out, rows)
	}
}

func writeTable(out io.Writer, rows [][]string) error {
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = plain(cell)
		}
		if _, err := fmt.Fprintln(table, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return table.Flush()
}

// plain keeps what servers and agents wrote from steering the terminal, and shows what a person would not see but a model reads.
func plain(text string) string { return hidden.Shown(text) }

func writeYAML(out io.Writer, value json.RawMessage) error {
	// JSON is YAML: reading it as nodes keeps the order of keys and the digits of numbers.
	var node yaml.Node
	if err := yaml.Unmarshal(value, &node); err != nil {
		return err
	}
	blockStyle(&node)
	encoder := yaml.NewEncoder(out)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return err
	}
	return encoder.Close()
}

func blockStyle(node *yaml.Node) {
	node.Style &^= yaml.FlowStyle
	if node.Kind == yaml.ScalarNode && node.Tag == "!!str" {
		node.Style = 0
	}
	for _, child := range node.Content {
		blockStyle(child)
	}
}

// join packs JSON documents into one array.
func join(items []json.RawMessage) json.RawMessage {
	parts := make([][]byte, len(items))
	for i, item := range items {
		parts[i] = item
	}
	return append(append([]byte{'['}, bytes.Join(parts, []byte{','})...), ']')
}
