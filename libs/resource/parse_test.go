package resource_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

func example(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/support.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAFileGivesItsResourcesWithTheirLines(t *testing.T) {
	located, err := resource.Parse("it.yaml", example(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range located {
		got = append(got, fmt.Sprintf("%s:%d %s", l.File, l.Line, resource.Key(l.Object)))
	}
	want := "it.yaml:2 Server acme/echo, it.yaml:7 Person acme/ana, it.yaml:12 Role acme/support, it.yaml:17 Policy acme/tickets, it.yaml:38 Tenant acme"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
	policy, _ := located[3].Object.(*authzv1.Policy)
	modify := policy.GetSpec().GetRules()[2].GetModify()
	if modify[0].GetClamp().GetMax() != 100 || !modify[1].GetRemove() || modify[2].GetSet().GetStringValue() != "staging" || modify[5].GetSet() == nil {
		t.Errorf("modifications were read as %v", modify)
	}
}

const head = "apiVersion: headgate/v1\nkind: Person\nmetadata: {name: ana, tenant: acme}\n"

func TestWhatIsWrongIsNamedByFileLineAndField(t *testing.T) {
	role := func(grant string) string {
		return "apiVersion: headgate/v1\nkind: Role\nmetadata: {name: r, tenant: acme}\nspec:\n  grants:\n    - " + grant + "\n"
	}
	server := "apiVersion: headgate/v1\nkind: Server\nmetadata: {name: a.b, tenant: acme}\nspec: {url: \"http://x/mcp\"}\n"
	nested := "apiVersion: headgate/v1\nkind: Tenant\nmetadata: {name: a, tenant: b}\n"
	tests := map[string]struct{ yaml, want string }{
		"unknown field":           {head + "spec:\n  emial: a@b.example\n", `it.yaml:5: spec.emial: there is no such field; did you mean email?`},
		"unknown field, far":      {head + "spec:\n  zzzzzzzzzzz: 1\n", `it.yaml:5: spec.zzzzzzzzzzz: there is no such field; known are attributes, clearances, department`},
		"wrong case":              {head + "Spec: {}\n", `it.yaml:4: Spec: there is no such field; did you mean spec?`},
		"proto name":              {head + "spec: {display_name: Ana}\n", `it.yaml:4: spec.display_name: is written displayName`},
		"number for string":       {head + "spec: {department: 12}\n", `it.yaml:4: spec.department: must be a string, is a number; put it in quotes`},
		"list for string":         {head + "spec: {department: [care]}\n", `it.yaml:4: spec.department: must be a string, is a list`},
		"string for list":         {head + "spec: {roles: support}\n", `it.yaml:4: spec.roles: must be a list, is a string`},
		"string for bool":         {head + "spec: {disabled: \"true\"}\n", `it.yaml:4: spec.disabled: must be true or false, is a string`},
		"null in list":            {head + "spec: {roles: [~]}\n", `it.yaml:4: spec.roles[0]: must be a string, is null`},
		"number as key":           {head + "spec: {attributes: {1: a}}\n", `it.yaml:4: spec.attributes: a key must be a string, is a number`},
		"broken rule":             {head + "spec:\n  roles:\n    - a\n  email: nonsense\n", `it.yaml:7: spec.email: `},
		"one of":                  {role("{server: echo, tools: [x], can: do}"), `it.yaml:6: spec.grants[0].can: must be one of see, call`},
		"bad time":                {role("{server: echo, tools: [x], can: see, until: tomorrow}"), `it.yaml:6: spec.grants[0].until: must be a time as 2026`},
		"duplicate key":           {head + "spec:\n  email: a@b.example\n  email: c@d.example\n", `it.yaml:6: spec.email: is there already, at line 5`},
		"duplicate map key":       {head + "spec: {attributes: {a: b, a: c}}\n", `it.yaml:4: spec.attributes.a: is there already, at line 4`},
		"missing tenant":          {"apiVersion: headgate/v1\nkind: Person\nmetadata: {name: ana}\nspec: {}\n", `it.yaml:3: metadata.tenant: is missing`},
		"missing name":            {"apiVersion: headgate/v1\nkind: Person\nmetadata: {tenant: acme}\nspec: {}\n", `it.yaml:3: metadata.name: is missing`},
		"missing metadata":        {"apiVersion: headgate/v1\nkind: Person\nspec: {}\n", `it.yaml:1: metadata: is missing`},
		"missing spec":            {head, `it.yaml:1: spec: is missing`},
		"missing apiVersion":      {"kind: Tenant\nmetadata: {name: a}\n", `it.yaml:1: apiVersion: must be headgate/v1`},
		"other apiVersion":        {"kind: Tenant\napiVersion: v2\nmetadata: {name: a}\n", `it.yaml:2: apiVersion: must be headgate/v1`},
		"missing kind":            {"apiVersion: headgate/v1\nmetadata: {name: a}\n", `it.yaml:1: kind: is missing; known are Tenant,`},
		"unknown kind, near":      {"apiVersion: headgate/v1\nkind: Polcy\n", `it.yaml:2: kind: there is no kind "Polcy"; did you mean Policy?`},
		"unknown kind, case":      {"kind: person\n", `it.yaml:1: kind: there is no kind "person"; did you mean Person?`},
		"unknown kind, far":       {"kind: Deployment\n", `it.yaml:1: kind: there is no kind "Deployment"; known are Tenant,`},
		"server with dot":         {server, `it.yaml:3: metadata.name: may not contain a dot, because server.tool names a tool`},
		"tenant in tenant":        {nested, `it.yaml:3: metadata.tenant: a tenant is in no tenant; leave it out`},
		"tenant with underscore":  {"apiVersion: headgate/v1\nkind: Tenant\nmetadata: {name: a_b}\n", `it.yaml:3: metadata.name: a tenant's name has 1 to 40`},
		"anchor":                  {head + "spec: {department: &d care}\n", `it.yaml:4: spec.department: anchors and aliases are not taken`},
		"merge key":               {head + "spec:\n  <<: {email: a@b.example}\n", `it.yaml:5: spec: a key must be a string, is a merge key`},
		"tag":                     {head + "spec: {department: !!str 12}\n", `it.yaml:4: spec.department: tags are not taken`},
		"not a mapping":           {"- a\n", `it.yaml:1: a document must be a mapping`},
		"not YAML":                {head + "spec: {email: [\n", `is not YAML: `},
		"tab":                     {head + "spec:\n\temail: x\n", `it.yaml:5: is not YAML: found character that cannot start any token`},
		"twice in a file":         {head + "spec: {}\n---\n" + head + "spec: {}\n", `it.yaml:6: Person acme/ana is declared already at it.yaml:1`},
		"two of a oneof":          {policy("{path: /a, remove: true, mask: all}"), `spec.rules[0].modify[0].mask: remove is set already; only one of them may be`},
		"none of a oneof":         {policy("{path: /a}"), `spec.rules[0].modify[0]`},
		"number that would round": {policy("{path: /a, set: 9007199254740993}"), `spec.rules[0].modify[0].set: is a number that cannot be kept exactly`},
		"number too large":        {policy("{path: /a, truncate: 99999999999}"), `spec.rules[0].modify[0].truncate: must be a whole number of 32 bits`},
		"octal":                   {policy("{path: /a, truncate: 0o17}"), `spec.rules[0].modify[0].truncate: must be a whole number`},
		"infinite":                {policy("{path: /a, clamp: {max: .inf}}"), `spec.rules[0].modify[0].clamp.max: must be a number`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			located, err := resource.Parse("it.yaml", []byte(test.yaml))
			if err == nil || !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v %v\nwant %s", located, err, test.want)
			}
		})
	}
}

func policy(modification string) string {
	return "apiVersion: headgate/v1\nkind: Policy\nmetadata: {name: p, tenant: acme}\nspec:\n  match: {server: s}\n  rules:\n    - name: r\n" +
		"      when: \"true\"\n      effect: modify\n      modify: [" + modification + "]\n"
}

func TestAllProblemsOfAFileAreNamedNotOnlyTheFirst(t *testing.T) {
	_, err := resource.Parse("it.yaml", []byte(head+"spec: {emial: x, roles: 1}\n---\nkind: Nonsense\n---\n"+head+"spec: {email: nonsense}\n"))
	if err == nil {
		t.Fatal("nothing was refused")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "it.yaml:4: spec.emial") || !strings.HasPrefix(lines[1], "it.yaml:4: spec.roles") ||
		!strings.HasPrefix(lines[2], "it.yaml:6: kind") || !strings.HasPrefix(lines[3], "it.yaml:11: spec.email") {
		t.Errorf("got\n%s", err)
	}
	if about := fault.From(err).About; about["file"] != "it.yaml" || about["line"] != "4" || about["field"] != "spec.emial" {
		t.Errorf("about %v", about)
	}
}

func TestASecretOfTheWrongTypeIsNotRepeated(t *testing.T) {
	yaml := "apiVersion: headgate/v1\nkind: Connection\nmetadata: {name: c, tenant: acme}\n" +
		"spec: {server: s, inject: {in: header, name: A}, allowHosts: [h], secret: 123456789}\n"
	_, err := resource.Parse("it.yaml", []byte(yaml))
	if err == nil || strings.Contains(err.Error(), "123456789") || !strings.Contains(err.Error(), "spec.secret: must be a string") {
		t.Errorf("got %v", err)
	}
}

func TestJSONIsReadAsStrictlyAsYAML(t *testing.T) {
	good := `{"apiVersion":"headgate/v1","kind":"Tenant","metadata":{"name":"acme","version":"3"}}`
	tests := map[string]struct{ file, json, want string }{
		"one":             {"it.json", good, ""},
		"by content":      {"stdin", good, ""},
		"several":         {"it.json", good + "\n" + strings.Replace(good, "acme", "other", 1), ""},
		"unknown field":   {"it.json", strings.Replace(good, `,"metadata"`, ",\n\"spce\":{},\n\"metadata\"", 1), "it.json:2: spce: there is no such field; did you"},
		"duplicate":       {"it.json", "{\"kind\":\"Tenant\",\n\"kind\":\"Tenant\"}", "it.json:2: is not JSON: duplicate object member name"},
		"duplicate stdin": {"stdin", "{\"apiVersion\": \"headgate/v1\", \"kind\":\"Tenant\",\n\"kind\":\"Tenant\"}", "stdin:2: kind: is there already, at line 1"},
		"trailing":        {"it.json", good + "}", "it.json:1: is not JSON"},
		"cut":             {"it.json", good[:40], "it.json:1: is not JSON"},
		"yaml":            {"it.json", "kind: Tenant", "it.json:1: is not JSON"},
		"surrogate":       {"it.json", `{"kind":"Tenant","metadata":{"name":"\ud800"}}`, "it.json:1: is not JSON"},
		"deep":            {"it.json", strings.Repeat("[", 5000), "it.json:1: is not JSON: nested deeper than 64"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := resource.Parse(test.file, []byte(test.json))
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestEmptyDocumentsAreIgnored(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "---\n# a\n---\n# b\n...\n", "\ufeff# with a mark\n"} {
		located, err := resource.Parse("it.yaml", []byte(text))
		if err != nil || len(located) != 0 {
			t.Errorf("%q: %v %v", text, located, err)
		}
	}
}

func TestBombsAreRefusedQuickly(t *testing.T) {
	laughs := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'z'; c++ {
		laughs += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	tests := map[string]string{
		"billion laughs":        laughs,
		"billion laughs inside": "apiVersion: headgate/v1\nkind: Tenant\n" + laughs,
		"flow depth":            strings.Repeat("[", 1<<20),
		"mapping depth":         strings.Repeat("{a: ", 9000),
		"block depth":           strings.Repeat("- ", 9000) + "x",
		"too large":             strings.Repeat("#", resource.MaxFileBytes+1),
		"too many values":       "[" + strings.Repeat("a,", 2<<20) + "]",
		"self":                  "&a [*a]\n",
		"value depth":           policy("{path: /a, set: " + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}"),
		"many wrong documents":  strings.Repeat("---\nkind: X\n", 20000),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := resource.Parse("it.yaml", []byte(text))
			if err == nil || !fault.Is(err, faultv1.Reason_REASON_INVALID) {
				t.Fatalf("got %v", err)
			}
			if len(err.Error()) > 64<<10 {
				t.Errorf("the refusal has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestAFileOfTheLargestSizeIsRead(t *testing.T) {
	var b bytes.Buffer
	for i := 0; b.Len() < resource.MaxFileBytes-200; i++ {
		fmt.Fprintf(&b, "---\napiVersion: headgate/v1\nkind: Tenant\nmetadata: {name: t%d}\n", i)
		b.WriteString("# " + strings.Repeat("x", 20000) + "\n")
		if b.Len() > resource.MaxFileBytes-30000 {
			break
		}
	}
	located, err := resource.Parse("it.yaml", b.Bytes())
	if err != nil || len(located) < 500 {
		t.Errorf("%d resources, %v", len(located), err)
	}
}

func TestWhatIsWrittenReadsBackTheSame(t *testing.T) {
	located, err := resource.Parse("it.yaml", example(t))
	if err != nil {
		t.Fatal(err)
	}
	odd := &identityv1.Person{ApiVersion: resource.APIVersion, Kind: "Person", Metadata: located[1].Object.GetMetadata(), Spec: &identityv1.PersonSpec{
		Department: "12", DisplayName: "yes", Teams: []string{"null", "~", "2026-01-01", "a: b", "# c", "multi\nline", "<<", "tab\t", "é\u200b", "0x1f", "!x", "&y"},
		Attributes: map[string]string{"<<": "x", "1": "1.0", "true": "", "a b": " lead"},
	}}
	for _, object := range append([]resource.Object{odd}, objects(located)...) {
		for name, write := range map[string]func(resource.Object) ([]byte, error){"x.yaml": resource.YAML, "x.json": resource.JSON} {
			text, err := write(object)
			if err != nil {
				t.Fatal(err)
			}
			again, err := resource.Parse(name, text)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if !proto.Equal(object, again[0].Object) || resource.Hash(object) != resource.Hash(again[0].Object) {
				t.Errorf("%s reads back differently:\n%s", name, text)
			}
		}
	}
}

func objects(located []resource.Located) []resource.Object {
	var objects []resource.Object
	for _, l := range located {
		objects = append(objects, l.Object)
	}
	return objects
}

func TestTheHashIsOfLabelsAndSpecAlone(t *testing.T) {
	parse := func(text string) resource.Object {
		located, err := resource.Parse("it.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return located[0].Object
	}
	base := resource.Hash(parse(head + "spec: {email: a@b.example, attributes: {a: b, c: d}}\n"))
	same := []string{
		head + "spec: {attributes: {c: d, a: b}, email: a@b.example, disabled: false, roles: []}\n",
		strings.Replace(head, "tenant: acme", "tenant: other, version: 7, labels: {}", 1) + "spec: {email: a@b.example, attributes: {a: b, c: d}}\n",
	}
	for _, text := range same {
		if got := resource.Hash(parse(text)); got != base {
			t.Errorf("%s, want %s for\n%s", got, base, text)
		}
	}
	labelled := strings.Replace(head, "tenant: acme", "tenant: acme, labels: {x: y}", 1)
	if resource.Hash(parse(labelled+"spec: {email: a@b.example, attributes: {a: b, c: d}}\n")) == base {
		t.Error("labels do not count")
	}
	if !strings.HasPrefix(base, "sha256:") || len(base) != len("sha256:")+64 {
		t.Errorf("the hash is %s", base)
	}
}

func TestLoadTakesFilesAndDirectories(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"b.yaml":        head + "spec: {}\n",
		"a.json":        `{"apiVersion":"headgate/v1","kind":"Tenant","metadata":{"name":"acme"}}`,
		"sub/c.yml":     strings.Replace(head, "ana", "ben", 1) + "spec: {}\n",
		"notes.txt":     "kind: Nonsense",
		".hidden.yaml":  "kind: Nonsense",
		".git/d.yaml":   "kind: Nonsense",
		"other/bad.yml": "kind: Nonsense",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := resource.Load(dir); err == nil || !strings.Contains(err.Error(), filepath.Join("other", "bad.yml")+":1: kind") {
		t.Errorf("got %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	located, err := resource.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, l := range located {
		keys = append(keys, resource.Key(l.Object))
	}
	if strings.Join(keys, ",") != "Tenant acme,Person acme/ana,Person acme/ben" {
		t.Errorf("got %v", keys)
	}
	if _, err := resource.Load(dir, filepath.Join(dir, "b.yaml")); err == nil || !strings.Contains(err.Error(), "is declared already at") {
		t.Errorf("twice: %v", err)
	}
	if _, err := resource.Load(filepath.Join(dir, "none.yaml")); err == nil || !strings.Contains(err.Error(), "cannot be read: no such file") {
		t.Errorf("missing: %v", err)
	}
	if _, err := resource.Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "has no *.yaml") {
		t.Errorf("empty directory: %v", err)
	}
}

func TestWrapTakesOnlyTheServicesOwnKinds(t *testing.T) {
	located, err := resource.Parse("it.yaml", example(t))
	if err != nil {
		t.Fatal(err)
	}
	person, server := located[1].Object, located[0].Object
	var res identityv1.Resource
	if err := resource.Wrap(person, &res); err != nil {
		t.Fatal(err)
	}
	back, err := resource.Unwrap(&res)
	if err != nil || !proto.Equal(back, person) {
		t.Errorf("got %v %v", back, err)
	}
	if err := resource.Wrap(server, &res); err == nil || !strings.Contains(err.Error(), "trust does") {
		t.Errorf("a Server went into identity: %v", err)
	}
	for name, empty := range map[string]*identityv1.Resource{"nil": nil, "empty": {}} {
		if _, err := resource.Unwrap(empty); err == nil {
			t.Errorf("%s: unwrapped", name)
		}
	}
}

func TestEveryKindHasAnOwner(t *testing.T) {
	for _, kind := range resource.Kinds() {
		object, ok := resource.New(kind)
		if !ok || resource.Owner(kind) == "" || string(object.ProtoReflect().Descriptor().Name()) != kind {
			t.Errorf("kind %s", kind)
		}
	}
	if resource.Owner("Nonsense") != "" {
		t.Error("a kind that there is not has an owner")
	}
}
