package openfga

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/openfga/go-sdk"
	"github.com/openfga/go-sdk/client"
	"go.yaml.in/yaml/v3"

	"headgate.dev/services/authz/internal/relations"
)

const deployments = "../../../../deployments/openfga"

func TestDeploymentsCarryTheModelThatTheServiceWrites(t *testing.T) {
	there, err := os.ReadFile(filepath.Join(deployments, "model.fga"))
	if err != nil {
		t.Fatal(err)
	}
	if string(there) != modelDSL {
		t.Errorf("deployments/openfga/model.fga differs from services/authz/internal/openfga/model.fga: copy one over the other")
	}
}

func TestAModelIsWrittenAgainOnlyWhenItChanged(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	first := open(t, s, "acme")
	if again := open(t, s, "acme"); again.Model() != first.Model() || again.id != first.id {
		t.Errorf("opening the store again gave store %s with model %s, want %s with %s", again.id, again.Model(), first.id, first.Model())
	}
	s.Close()

	s = start(t, dir)
	if after := open(t, s, "acme"); after.Model() != first.Model() || after.id != first.id {
		t.Errorf("after a restart: store %s with model %s, want %s with %s", after.id, after.Model(), first.id, first.Model())
	}
	s.model.TypeDefinitions = append(slices.Clone(s.model.TypeDefinitions), sdk.TypeDefinition{Type: "guild"})
	if changed := open(t, s, "acme"); changed.Model() == first.Model() {
		t.Error("a changed model was not written")
	}
}

// storeFile is the part of a store.fga.yaml that is used here.
type storeFile struct {
	Tuples []struct {
		User, Relation, Object string
		Condition              *struct {
			Name    string
			Context map[string]string
		}
	}
	Tests []struct {
		Name  string
		Check []struct {
			User, Object string
			Context      map[string]any
			Assertions   map[string]bool
		}
		ListObjects []struct {
			User, Type string
			Context    map[string]any
			Assertions map[string][]string
		} `yaml:"list_objects"`
		ListUsers []struct {
			Object     string
			Context    map[string]any
			Assertions map[string]struct{ Users []string }
		} `yaml:"list_users"`
	}
}

// store puts the file's tuples into a store of the linked-in server.
func (f storeFile) store(t *testing.T) *Store {
	t.Helper()
	store := open(t, start(t, t.TempDir()), "acme")
	var tuples []relations.Tuple
	for _, in := range f.Tuples {
		tuple := relations.Tuple{Object: in.Object, Relation: in.Relation, User: in.User}
		if in.Condition != nil {
			var err error
			if tuple.Until, err = time.Parse(time.RFC3339, in.Condition.Context["until"]); err != nil || in.Condition.Name != condition {
				t.Fatalf("condition of %v: %v", in, err)
			}
		}
		tuples = append(tuples, tuple)
	}
	if err := store.Write(t.Context(), nil, tuples); err != nil {
		t.Fatal(unwrapped(err))
	}
	return store
}

func TestStoreFileHoldsAgainstTheLinkedInServer(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deployments, "store.fga.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file storeFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Tests) == 0 {
		t.Fatal("the file has no tests")
	}
	store := file.store(t)
	for _, test := range file.Tests {
		t.Run(test.Name, func(t *testing.T) {
			for _, c := range test.Check {
				for relation, want := range c.Assertions {
					question := client.ClientCheckRequest{User: c.User, Relation: relation, Object: c.Object, Context: &c.Context}
					resp, err := store.fga.Check(t.Context()).Body(question).Execute()
					if err != nil {
						t.Fatal(err)
					}
					if resp.GetAllowed() != want {
						t.Errorf("%s %s %s: %v, want %v", c.User, relation, c.Object, resp.GetAllowed(), want)
					}
				}
			}
			for _, l := range test.ListObjects {
				for relation, want := range l.Assertions {
					question := client.ClientListObjectsRequest{User: l.User, Relation: relation, Type: l.Type, Context: &l.Context}
					resp, err := store.fga.ListObjects(t.Context()).Body(question).Execute()
					if err != nil {
						t.Fatal(err)
					}
					equal(t, l.User+" "+relation+" "+l.Type, resp.Objects, want)
				}
			}
			for _, l := range test.ListUsers {
				for relation, want := range l.Assertions {
					equal(t, l.Object+" "+relation, people(t, store, l.Object, relation, fmt.Sprint(l.Context[contextNow])), want.Users)
				}
			}
		})
	}
}

func people(t *testing.T, store *Store, object, relation, at string) []string {
	t.Helper()
	kind, id, _ := strings.Cut(object, ":")
	now, err := time.Parse(time.RFC3339, at)
	if err != nil {
		t.Fatal(err)
	}
	ids, err := store.People(t.Context(), kind, id, relation, now)
	if err != nil {
		t.Fatal(unwrapped(err))
	}
	for i := range ids {
		ids[i] = relations.User(ids[i])
	}
	return ids
}

func equal(t *testing.T, about string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", about, got, want)
	}
}
