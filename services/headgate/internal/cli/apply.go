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
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/headgate/internal/admin"
)

func applyCommand(s *session) *cobra.Command {
	var files []string
	var how manner
	cmd := &cobra.Command{
		Use:     "apply -f FILE",
		Short:   "Create or change the resources that files declare",
		Example: "  headgate apply -f tenant.yaml\n  headgate apply -f policies/ --dry-run\n  headgate apply -f repository/ --owner git --prune",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if how.prune && how.owner == "" {
				return usageError{fmt.Errorf("--prune removes what --owner does not declare any more: say who that is")}
			}
			changes, err := s.apply(cmd.Context(), files, how)
			if err != nil {
				return err
			}
			return s.printChanges(changes, how.dryRun)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file, folder or - for standard input; may be given again")
	cmd.Flags().BoolVar(&how.dryRun, "dry-run", false, "only say what would change")
	cmd.Flags().StringVar(&how.owner, "owner", "", "the source that declares these resources, as git: only it changes them from then on")
	cmd.Flags().BoolVar(&how.takeOver, "take-over", false, "change also what another source declares: it is then declared by --owner, or by nobody")
	cmd.Flags().BoolVar(&how.prune, "prune", false, "remove what the owner has in the files' tenants and the files do not declare; never a tenant")
	return cmd
}

// manner is how files are applied.
type manner struct {
	dryRun, prune, takeOver bool
	owner                   string
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

func (s *session) apply(ctx context.Context, files []string, how manner) ([]*resourcev1.Change, error) {
	objects, err := s.load(files)
	if err != nil {
		return nil, err
	}
	conn, err := s.dial()
	if err != nil {
		return nil, err
	}
	claim := admin.Claim{Owner: how.owner, TakeOver: how.takeOver}
	if !how.dryRun {
		// Every owner looks at its part before any of them changes something.
		if _, err := admin.Apply(ctx, conn, objects, claim, true); err != nil {
			return nil, err
		}
	}
	done, err := admin.Apply(ctx, conn, objects, claim, how.dryRun)
	for _, warning := range append(done.Warnings, exposures(objects)...) {
		_, _ = fmt.Fprintln(s.stdio.Err, "warning: "+warning)
	}
	if err != nil || !how.prune {
		return done.Changes, err
	}
	gone, err := s.prune(ctx, objects, how.owner, how.dryRun)
	return append(done.Changes, gone...), err
}

// exposures warn of servers whose calls others on the way can read.
func exposures(objects []resource.Object) []string {
	var out []string
	for _, object := range objects {
		server, ok := object.(*trustv1.Server)
		if !ok {
			continue
		}
		if said := exposed(server.GetSpec()); said != "" {
			out = append(out, "Server "+server.GetMetadata().GetName()+" is at "+server.GetSpec().GetUrl()+": "+said)
		}
	}
	return out
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

// inForce is the resource of the same kind and name that is in force; nil when there is none.
func (s *session) inForce(ctx context.Context, object resource.Object) (resource.Object, error) {
	o, err := s.owner(resource.Owner(object.GetKind()))
	if err != nil {
		return nil, err
	}
	current, err := o.Get(ctx, object.GetKind(), object.GetMetadata().GetTenant(), object.GetMetadata().GetName())
	if fault.Is(err, faultv1.Reason_REASON_NOT_FOUND) {
		return nil, nil
	}
	return current, err
}

// diff prints each resource whose declared form differs from the one in force, as lines with - and +.
func (s *session) diff(ctx context.Context, files []string) error {
	objects, err := s.load(files)
	if err != nil {
		return err
	}
	different := false
	for _, object := range objects {
		current, err := s.inForce(ctx, object)
		if err != nil {
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
	if current != nil && wanted.GetMetadata().GetLabels()[ownerLabel] == "" {
		current = resource.Clone(current)
		delete(current.GetMetadata().GetLabels(), ownerLabel) // apply adds it
		if len(current.GetMetadata().GetLabels()) == 0 {
			current.GetMetadata().Labels = nil
		}
	}
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
