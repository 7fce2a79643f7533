package cli_test

import (
	"path/filepath"
	"slices"
	"testing"

	"headgate.dev/libs/policy"
	"headgate.dev/libs/resource"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// TestReadyPacksPassTheirTests reads the packs as apply does. Every rule must match in some test, and nothing in them may look like a mistake.
func TestReadyPacksPassTheirTests(t *testing.T) {
	files, err := filepath.Glob("../../../../deployments/examples/policies/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, filepath.Base(file))
		located, err := resource.Load(file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		for _, one := range located {
			p, ok := one.Object.(*authzv1.Policy)
			if !ok {
				t.Errorf("%s declares a %s", file, one.Object.GetKind())
				continue
			}
			results, err := policy.RunTests(p)
			if err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			for _, r := range results {
				if !r.Passed {
					t.Errorf("%s: %s: %s", p.GetMetadata().GetName(), r.Name, r.Problem)
				}
			}
			if untried := policy.Untried(p, results); len(untried) > 0 {
				t.Errorf("%s: no test matches %v", p.GetMetadata().GetName(), untried)
			}
			if warnings := policy.Lint(p); len(warnings) > 0 {
				t.Errorf("%s: %v", p.GetMetadata().GetName(), warnings)
			}
		}
	}
	if want := []string{"everyday.yaml", "finra.yaml", "gdpr.yaml", "gxp.yaml", "hipaa.yaml", "massdelete.yaml", "pci.yaml", "soc2.yaml"}; !slices.Equal(names, want) {
		t.Errorf("the packs are %v", names)
	}
}
