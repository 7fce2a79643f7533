package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"headgate.dev/libs/policy"
	"headgate.dev/libs/resource"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

func policyCommand(s *session) *cobra.Command {
	var files []string
	test := &cobra.Command{
		Use:     "test -f FILE",
		Short:   "Run the tests that policies carry; needs no server",
		Example: "  headgate policy test -f policies/",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return s.policyTest(files) },
	}
	test.Flags().StringArrayVarP(&files, "file", "f", nil, "file, folder or - for standard input; may be given again")
	return group("policy", "Try policies, see what they were, and go back", test, explainCommand(s), replayCommand(s), shadowCommand(s),
		historyCommand(s), policyDiffCommand(s), rollbackCommand(s))
}

func (s *session) policyTest(files []string) error {
	objects, err := s.load(files)
	if err != nil {
		return err
	}
	s.warn(objects)
	calendars, err := calendarsOf(objects)
	if err != nil {
		return err
	}
	rows := [][]string{{"POLICY", "TEST", "OK", "NOTE"}}
	items := []json.RawMessage{}
	passed := true
	for _, object := range objects {
		document, ok := object.(*authzv1.Policy)
		if !ok {
			continue
		}
		compiled, err := policy.CompileWith(document, calendars[document.GetMetadata().GetTenant()])
		if err != nil {
			return err
		}
		if err := policy.CheckProvided(document); err != nil {
			return err
		}
		results := compiled.RunTests()
		if untried := policy.Untried(document, results); len(untried) > 0 {
			_, _ = fmt.Fprintf(s.stdio.Err, "%s: %d of %d rules match in some test; in none: %s\n", document.GetMetadata().GetName(),
				len(document.GetSpec().GetRules())-len(untried), len(document.GetSpec().GetRules()), strings.Join(untried, ", "))
		}
		for _, result := range results {
			passed = passed && result.Passed
			rows = append(rows, []string{document.GetMetadata().GetName(), result.Name, fmt.Sprint(result.Passed), result.Problem})
			encoded, err := json.Marshal(map[string]any{"policy": document.GetMetadata().GetName(), "test": result.Name, "ok": result.Passed, "note": result.Problem})
			if err != nil {
				return err
			}
			items = append(items, encoded)
		}
	}
	if err := s.print(join(items), rows); err != nil {
		return err
	}
	if !passed {
		return errNo
	}
	return nil
}

// calendarsOf are the calendars among objects, by tenant.
func calendarsOf(objects []resource.Object) (map[string]policy.Calendars, error) {
	calendars := map[string]policy.Calendars{}
	for _, object := range objects {
		declared, ok := object.(*authzv1.Calendar)
		if !ok {
			continue
		}
		read, err := policy.ReadCalendar(declared)
		if err != nil {
			return nil, err
		}
		calendars[read.Tenant()] = calendars[read.Tenant()].With(read)
	}
	return calendars, nil
}

// warn says what is allowed in the files and is probably a mistake. Roles and groups are held against the files' own where they declare some.
func (s *session) warn(objects []resource.Object) {
	roles, groups := map[string][]string{}, map[string][]string{}
	var policies []*authzv1.Policy
	for _, object := range objects {
		switch one := object.(type) {
		case *identityv1.Role:
			roles[one.GetMetadata().GetTenant()] = append(roles[one.GetMetadata().GetTenant()], one.GetMetadata().GetName())
		case *identityv1.Group:
			groups[one.GetMetadata().GetTenant()] = append(groups[one.GetMetadata().GetTenant()], one.GetMetadata().GetName())
		case *authzv1.Policy:
			policies = append(policies, one)
		}
	}
	calendars, err := calendarsOf(objects)
	if err != nil {
		calendars = nil
	}
	for _, p := range policies {
		var warnings []string
		if compiled, err := policy.CompileWith(p, calendars[p.GetMetadata().GetTenant()]); err == nil { // what is wrong is said by whoever applies or tests it
			warnings = compiled.Lint()
		}
		if known := roles[p.GetMetadata().GetTenant()]; len(known) > 0 {
			warnings = append(warnings, policy.UnknownRoles(p, known)...)
		}
		if known := groups[p.GetMetadata().GetTenant()]; len(known) > 0 {
			warnings = append(warnings, policy.UnknownGroups(p, known)...)
		}
		for _, warning := range warnings {
			_, _ = fmt.Fprintf(s.stdio.Err, "%s: %s\n", p.GetMetadata().GetName(), warning)
		}
	}
	for _, conflict := range policy.Conflicts(policies, nil) {
		_, _ = fmt.Fprintln(s.stdio.Err, conflict)
	}
}
