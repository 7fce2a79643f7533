package resource

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxFileBytes is the largest file that is read.
const MaxFileBytes = 10 << 20

// maxValues bounds what a file can hold, by the bytes that begin a value: small ones take a hundred times their length in memory.
const maxValues = 1 << 20

// Parse reads all documents of a YAML or JSON file. It returns them all or a fault that names every problem of the file.
// A document of comments alone is ignored. Anchors, aliases and tags are refused: a resource's YAML is its message's JSON form.
func Parse(file string, data []byte) ([]Located, error) {
	located, problems := parse(file, data)
	problems = append(problems, twice(located)...)
	if err := refuse(problems); err != nil {
		return nil, err
	}
	return located, nil
}

func parse(file string, data []byte) ([]Located, []problem) {
	if len(data) > MaxFileBytes {
		return nil, []problem{{file: file, text: fmt.Sprintf("the file has %d bytes, at most %d are read; split it", len(data), MaxFileBytes)}}
	}
	values := 0
	for _, mark := range []string{",", "\n", "[", "{"} {
		values += bytes.Count(data, []byte(mark))
	}
	if values > maxValues {
		return nil, []problem{{file: file, text: fmt.Sprintf("the file has more than %d values or lines; split it", maxValues)}}
	}
	documents, problems := nodes(file, data)
	var located []Located
	for _, document := range documents {
		d := &decoder{file: file}
		object := d.object(document)
		problems = append(problems, d.problems...)
		if object != nil {
			located = append(located, Located{Object: object, File: file, Line: document.Line})
		}
	}
	return located, problems
}

// nodes reads the bytes as what they are: JSON for a file of that name or for a text that is JSON as a whole, YAML otherwise.
func nodes(file string, data []byte) ([]*yaml.Node, []problem) {
	if strings.EqualFold(filepath.Ext(file), ".json") {
		return readJSON(file, data)
	}
	if strings.HasPrefix(strings.TrimLeft(string(data[:min(len(data), 1024)]), " \t\r\n"), "{") {
		if documents, problems := readJSON(file, data); len(problems) == 0 {
			return documents, nil
		}
	}
	return readYAML(file, data)
}

// twice finds resources that are declared more than once.
func twice(located []Located) []problem {
	var problems []problem
	first := map[string]Located{}
	for _, l := range located {
		key := Key(l.Object)
		if before, ok := first[key]; ok {
			problems = append(problems, problem{file: l.File, line: l.Line, text: fmt.Sprintf("%s is declared already at %s:%d", key, before.File, before.Line)})
			continue
		}
		first[key] = l
	}
	return problems
}
