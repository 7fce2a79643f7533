package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
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
	return group("policy", "Try policies", test)
}

func (s *session) policyTest(files []string) error {
	objects, err := s.load(files)
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
		results, err := policy.RunTests(document)
		if err != nil {
			return err
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
