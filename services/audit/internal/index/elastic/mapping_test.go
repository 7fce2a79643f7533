package elastic_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/record/recordtest"
	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/elastic"
)

// field is one entry of a mapping.
type field struct {
	Type        string           `json:"type"`
	Dynamic     any              `json:"dynamic"`
	IgnoreAbove int              `json:"ignore_above"`
	DepthLimit  int              `json:"depth_limit"`
	Index       *bool            `json:"index"`
	Properties  map[string]field `json:"properties"`
}

// shipped is the mapping as it is installed.
func shipped(t *testing.T) field {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(source, "component_template", "headgate.audit@mappings.json"))
	if err != nil {
		t.Fatal(err)
	}
	var of struct {
		Template struct {
			Mappings field `json:"mappings"`
		} `json:"template"`
	}
	if err := json.Unmarshal(text, &of); err != nil {
		t.Fatal(err)
	}
	return of.Template.Mappings
}

// leaves calls use with each value of a document by its path. Below an object that is mapped as one field it does not go.
func leaves(m field, doc map[string]any, path string, use func(path string, f *field, value any)) {
	for key, value := range doc {
		name := strings.TrimPrefix(path+"."+key, ".")
		f, known := m.Properties[key]
		inner, object := value.(map[string]any)
		switch {
		case !known && !object:
			use(name, nil, value)
		case object && f.Type == "":
			leaves(f, inner, name, use)
		default:
			use(name, &f, value)
		}
	}
}

// fits reports whether Elasticsearch can put a value into a field.
func fits(f *field, value any) bool {
	if list, ok := value.([]any); ok {
		return !slices.ContainsFunc(list, func(one any) bool { return !fits(f, one) })
	}
	text, isText := value.(string)
	number, isNumber := value.(float64)
	switch f.Type {
	case "keyword", "constant_keyword", "text", "binary":
		return isText
	case "ip":
		return isText && net.ParseIP(text) != nil
	case "date":
		_, err := time.Parse(time.RFC3339Nano, text)
		return err == nil
	case "long":
		return isNumber && number == float64(int64(number))
	case "float":
		return isNumber
	case "boolean":
		_, ok := value.(bool)
		return ok
	case "flattened":
		_, ok := value.(map[string]any)
		return ok
	default:
		return false
	}
}

func TestEveryFieldOfEveryEventIsMapped(t *testing.T) {
	mapping, problems, seen := shipped(t), map[string]string{}, map[string]bool{}
	for _, ev := range recordtest.Every() {
		data, err := elastic.Document(elastic.Config{}, index.Record{Event: ev, Bytes: recordtest.Bytes(ev)})
		if err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		leaves(mapping, doc, "", func(path string, f *field, value any) {
			seen[path] = true
			switch {
			case f == nil:
				problems[path] = "is not mapped"
			case !fits(f, value):
				problems[path] = fmt.Sprintf("is mapped as %s and holds %v", f.Type, value)
			}
		})
	}
	for _, path := range slices.Sorted(maps.Keys(problems)) {
		t.Errorf("%s %s", path, problems[path])
	}
	t.Logf("%d events, %d fields", len(recordtest.Every()), len(seen))
}

// Nothing that comes from outside makes a field, and no text is too long for one.
func TestTheMappingCannotBeMadeToGrow(t *testing.T) {
	mapping, count := shipped(t), 0
	if mapping.Dynamic != false {
		t.Errorf("dynamic is %v at the root", mapping.Dynamic)
	}
	var walk func(path string, f field)
	walk = func(path string, f field) {
		count++
		if path != "" && f.Dynamic != nil {
			t.Errorf("%s says dynamic: %v", path, f.Dynamic)
		}
		indexed := f.Index == nil || *f.Index
		if (f.Type == "keyword" && indexed || f.Type == "flattened") && f.IgnoreAbove == 0 {
			t.Errorf("%s takes texts of any length; beyond 32,766 bytes they would be refused", path)
		}
		if f.Type == "flattened" && f.DepthLimit == 0 {
			t.Errorf("%s takes objects of any depth", path)
		}
		for name, inner := range f.Properties {
			walk(strings.TrimPrefix(path+"."+name, "."), inner)
		}
	}
	walk("", mapping)
	if count > 500 {
		t.Errorf("%d fields; the limit is 1,000 and @custom needs room", count)
	}
	t.Logf("%d fields and objects", count)
}

// named collects the fields that a search names.
func named(search any, into map[string]bool) {
	switch v := search.(type) {
	case []any:
		for _, one := range v {
			named(one, into)
		}
	case map[string]any:
		for name, inner := range v {
			field, isText := inner.(string)
			object, isObject := inner.(map[string]any)
			switch {
			case name == "field" && isText:
				into[field] = true
			case slices.Contains([]string{"term", "range", "prefix"}, name) && isObject:
				for path := range object {
					into[path] = true
				}
			case name == "terms" && isObject && object["field"] == nil:
				for path := range object {
					into[path] = true
				}
			default:
				named(inner, into)
			}
		}
	}
}

// questions is how many searches there are: for each of the twelve questions one, and for two another that operators ask of the platform's own tenant.
const questions = 14

// A question that names a field that nobody maps would be answered, with nothing.
func TestQuestionsNameMappedFields(t *testing.T) {
	mapping := shipped(t)
	files, err := filepath.Glob(filepath.Join(deployments, "questions", "*.json"))
	if err != nil || len(files) != questions {
		t.Fatalf("%d questions, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var asked struct {
			Search any `json:"search"`
		}
		if err := json.Unmarshal(text, &asked); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		fields := map[string]bool{}
		named(asked.Search, fields)
		if len(fields) < 4 || !fields["organization.id"] || !fields["@timestamp"] {
			t.Errorf("%s names %v: a question is of one tenant and of a time", file, fields)
		}
		for path := range fields {
			at := mapping
			for part := range strings.SplitSeq(path, ".") {
				at = at.Properties[part]
			}
			if at.Type == "" {
				t.Errorf("%s: %s is not mapped", filepath.Base(file), path)
			}
		}
	}
}
