package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/resource"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/headgate/internal/admin"
)

func applyCommand(s *session) *cobra.Command {
	var files []string
	var dryRun bool
	cmd := &cobra.Command{
		Use:     "apply -f FILE",
		Short:   "Create or change the resources that files declare",
		Example: "  headgate apply -f tenant.yaml\n  headgate apply -f policies/ --dry-run",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			changes, err := s.apply(cmd.Context(), files, dryRun)
			if err != nil {
				return err
			}
			return s.printChanges(changes, dryRun)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file, folder or - for standard input; may be given again")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	return cmd
}

func diffCommand(s *session) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "diff -f FILE",
		Short: "Show how files differ from what is in force; exit 3 when they do",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.diff(cmd.Context(), files)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file, folder or - for standard input; may be given again")
	return cmd
}

func (s *session) load(files []string) ([]resource.Object, error) {
	if len(files) == 0 {
		return nil, usageError{fmt.Errorf("say which files with -f")}
	}
	located, err := resource.Load(files...)
	if err != nil {
		return nil, err
	}
	objects := make([]resource.Object, len(located))
	for i, one := range located {
		objects[i] = one.Object
	}
	return objects, nil
}

func (s *session) apply(ctx context.Context, files []string, dryRun bool) ([]*resourcev1.Change, error) {
	objects, err := s.load(files)
	if err != nil {
		return nil, err
	}
	conn, err := s.dial()
	if err != nil {
		return nil, err
	}
	if !dryRun {
		// Every owner looks at its part before any of them changes something.
		if _, _, err := admin.Apply(ctx, conn, objects, true); err != nil {
			return nil, err
		}
	}
	changes, _, err := admin.Apply(ctx, conn, objects, dryRun)
	return changes, err
}

func (s *session) printChanges(changes []*resourcev1.Change, dryRun bool) error {
	rows := [][]string{{"KIND", "TENANT", "NAME", "ACTION", "VERSION"}}
	items := make([]json.RawMessage, len(changes))
	for i, change := range changes {
		action := strings.ToLower(strings.TrimPrefix(change.GetAction().String(), "ACTION_"))
		rows = append(rows, []string{change.GetKind(), change.GetTenant(), change.GetName(), action, fmt.Sprint(change.GetVersion())})
		encoded, err := json.Marshal(map[string]any{"kind": change.GetKind(), "tenant": change.GetTenant(), "name": change.GetName(), "action": action,
			"version": change.GetVersion(), "dryRun": dryRun})
		if err != nil {
			return err
		}
		items[i] = encoded
	}
	return s.print(join(items), rows)
}

// diff prints each resource whose declared form differs from the one in force, as lines with - and +.
func (s *session) diff(ctx context.Context, files []string) error {
	objects, err := s.load(files)
	if err != nil {
		return err
	}
	different := false
	for _, object := range objects {
		meta := object.GetMetadata()
		o, err := s.owner(resource.Owner(object.GetKind()))
		if err != nil {
			return err
		}
		current, err := o.Get(ctx, object.GetKind(), meta.GetTenant(), meta.GetName())
		if err != nil && !fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
			return err
		}
		changed, err := s.printDifference(current, object)
		if err != nil {
			return err
		}
		different = different || changed
	}
	if different {
		return errNo
	}
	return nil
}

func (s *session) printDifference(current, wanted resource.Object) (bool, error) {
	before, err := declared(current)
	if err != nil {
		return false, err
	}
	after, err := declared(wanted)
	if err != nil {
		return false, err
	}
	if bytes.Equal(before, after) {
		return false, nil
	}
	meta := wanted.GetMetadata()
	_, err = fmt.Fprintf(s.stdio.Out, "--- %s %s/%s\n%s", wanted.GetKind(), meta.GetTenant(), meta.GetName(), lineDiff(string(before), string(after)))
	return true, err
}

// declared is the YAML of what a person writes: without what the service adds, and without secrets.
func declared(object resource.Object) ([]byte, error) {
	if object == nil {
		return nil, nil
	}
	bare := resource.Clone(object)
	meta := bare.GetMetadata()
	meta.Version, meta.Hash, meta.UpdatedAt = 0, "", nil
	if connection, ok := bare.(*credentialsv1.Connection); ok {
		connection.GetSpec().Secret = ""
	}
	return resource.YAML(bare)
}
