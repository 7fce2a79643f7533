package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"headgate.dev/libs/resource"
	"headgate.dev/services/headgate/internal/admin"
)

func getCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:     "get KIND [NAME]",
		Short:   "Show resources as they are declared",
		Example: "  headgate get Server\n  headgate get Policy tickets -o yaml",
		Args:    usageArgs(cobra.RangeArgs(1, 2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, kind, err := s.ownerOf(args[0])
			if err != nil {
				return err
			}
			if len(args) == 2 {
				return s.getOne(cmd.Context(), o, kind, args[1])
			}
			objects, err := o.List(cmd.Context(), kind, s.saidTenant())
			if err != nil {
				return err
			}
			return s.printObjects(objects)
		},
	}
}

func (s *session) getOne(ctx context.Context, o *admin.Owner, kind, name string) error {
	tenant, err := s.tenantFor(ctx, kind, name)
	if err != nil {
		return err
	}
	object, err := o.Get(ctx, kind, tenant, name)
	if err != nil {
		return err
	}
	encoded, err := resource.JSON(object)
	if err != nil {
		return err
	}
	return s.print(encoded, objectRows(object))
}

// tenantFor is the tenant of one resource; a Tenant itself has none.
func (s *session) tenantFor(ctx context.Context, kind, name string) (string, error) {
	if kind == "Tenant" {
		return "", nil
	}
	return s.workTenant(ctx, kind, name)
}

// printObjects prints many resources: in YAML as the documents of one file, which apply and diff read again.
func (s *session) printObjects(objects []resource.Object) error {
	if s.output == "yaml" {
		return s.printDocuments(objects)
	}
	items := make([]json.RawMessage, len(objects))
	for i, object := range objects {
		encoded, err := resource.JSON(object)
		if err != nil {
			return err
		}
		items[i] = encoded
	}
	return s.print(join(items), objectRows(objects...))
}

func (s *session) printDocuments(objects []resource.Object) error {
	for i, object := range objects {
		if i > 0 {
			if _, err := fmt.Fprintln(s.stdio.Out, "---"); err != nil {
				return err
			}
		}
		encoded, err := resource.JSON(object)
		if err != nil {
			return err
		}
		if err := writeYAML(s.stdio.Out, encoded); err != nil {
			return err
		}
	}
	return nil
}

func objectRows(objects ...resource.Object) [][]string {
	rows := [][]string{{"KIND", "TENANT", "NAME", "VERSION", "CHANGED"}}
	for _, object := range objects {
		meta := object.GetMetadata()
		changed := ""
		if at := meta.GetUpdatedAt(); at != nil {
			changed = at.AsTime().Format("2006-01-02T15:04:05Z")
		}
		rows = append(rows, []string{object.GetKind(), meta.GetTenant(), meta.GetName(), fmt.Sprint(meta.GetVersion()), changed})
	}
	return rows
}

func deleteCommand(s *session) *cobra.Command {
	var claim admin.Claim
	cmd := &cobra.Command{
		Use:   "delete KIND NAME",
		Short: "Remove a resource and what hangs on it",
		Args:  usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, kind, err := s.ownerOf(args[0])
			if err != nil {
				return err
			}
			tenant, err := s.tenantFor(cmd.Context(), kind, args[1])
			if err != nil {
				return err
			}
			if err := o.Delete(cmd.Context(), kind, tenant, args[1], claim); err != nil {
				return err
			}
			_, err = fmt.Fprintf(s.stdio.Err, "deleted %s %s\n", kind, args[1])
			return err
		},
	}
	cmd.Flags().StringVar(&claim.Owner, "owner", "", "the source that declares the resource, where one does")
	cmd.Flags().BoolVar(&claim.TakeOver, "take-over", false, "remove it also when another source declares it")
	return cmd
}
