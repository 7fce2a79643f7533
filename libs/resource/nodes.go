package resource

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// maxDepth bounds the nesting of a document.
const maxDepth = 64

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// readYAML splits a YAML stream into the root nodes of its documents; empty documents are left out.
func readYAML(file string, data []byte) (documents []*yaml.Node, problems []problem) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return documents, problems
		}
		if err != nil {
			return documents, append(problems, yamlProblem(file, err))
		}
		if len(document.Content) != 1 {
			continue
		}
		root := document.Content[0]
		if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" && root.Anchor == "" {
			continue
		}
		documents = append(documents, root)
	}
}

func yamlProblem(file string, err error) problem {
	match := yamlLine.FindStringSubmatch(strings.SplitN(err.Error(), "\n", 2)[0])
	if match == nil {
		return problem{file: file, text: "is not YAML: " + clip(err.Error())}
	}
	line, _ := strconv.Atoi(match[1]) // an error without a line leaves 0: the file alone is named
	return problem{file: file, line: line, text: "is not YAML: " + match[2]}
}

// readJSON reads one or more JSON values as nodes, so that both forms are decoded by the same code. Duplicate names and invalid UTF-8 are errors here.
func readJSON(file string, data []byte) (documents []*yaml.Node, problems []problem) {
	r := &jsonReader{decoder: jsontext.NewDecoder(bytes.NewReader(data))}
	for offset, b := range data {
		if b == '\n' {
			r.newlines = append(r.newlines, offset)
		}
	}
	for {
		node, err := r.value(0)
		if errors.Is(err, io.EOF) {
			return documents, problems
		}
		if err != nil {
			line := r.line(r.decoder.InputOffset())
			text := err.Error()
			if syntax, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
				line, text = r.line(syntax.ByteOffset), syntax.Err.Error()
			}
			return documents, append(problems, problem{file: file, line: line, text: "is not JSON: " + clip(text)})
		}
		documents = append(documents, node)
	}
}

type jsonReader struct {
	decoder  *jsontext.Decoder
	newlines []int
}

// line is the line of a byte offset, from 1.
func (r *jsonReader) line(offset int64) int {
	return sort.SearchInts(r.newlines, int(offset)) + 1
}

func (r *jsonReader) value(depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	token, err := r.decoder.ReadToken()
	if err != nil {
		return nil, err
	}
	node := &yaml.Node{Line: r.line(r.decoder.InputOffset() - 1)}
	switch token.Kind() {
	case '{', '[':
		node.Kind, node.Tag = yaml.MappingNode, "!!map"
		end := jsontext.Kind('}')
		if token.Kind() == '[' {
			node.Kind, node.Tag, end = yaml.SequenceNode, "!!seq", ']'
		}
		for r.decoder.PeekKind() != end {
			child, err := r.value(depth + 1)
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return nil, err
			}
			node.Content = append(node.Content, child)
		}
		_, err = r.decoder.ReadToken()
		return node, err
	case '"':
		node.Kind, node.Tag, node.Style, node.Value = yaml.ScalarNode, "!!str", yaml.DoubleQuotedStyle, token.String()
	case '0':
		node.Kind, node.Tag, node.Value = yaml.ScalarNode, "!!float", token.String()
		if !strings.ContainsAny(node.Value, ".eE") {
			node.Tag = "!!int"
		}
	case 't', 'f':
		node.Kind, node.Tag, node.Value = yaml.ScalarNode, "!!bool", token.String()
	default:
		node.Kind, node.Tag, node.Value = yaml.ScalarNode, "!!null", "null"
	}
	return node, nil
}
