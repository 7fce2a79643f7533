package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"headgate.dev/libs/fault"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	"headgate.dev/proto/gen/headgate/authz/v1/authzv1connect"
)

func relationsCommand(s *session) *cobra.Command {
	check := &cobra.Command{
		Use:   "check",
		Short: "Compare the relations in OpenFGA with the directory (exit 3 for a difference)",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			tenant, authz, err := s.relations(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := authz.CheckRelations(cmd.Context(), connect.NewRequest(&authzv1.CheckRelationsRequest{Tenant: tenant}))
			if err != nil {
				return err
			}
			d := answer.Msg.GetDrift()
			if err := s.drift(d, "They give nobody anything; headgate relations mend takes out what is planted and brings back what is missing."); err != nil {
				return err
			}
			if differs(d) {
				return errNo
			}
			return nil
		},
	}
	mend := &cobra.Command{
		Use:   "mend",
		Short: "Make the relations in OpenFGA equal to the directory again; what was found is recorded",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			tenant, authz, err := s.relations(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := authz.MendRelations(cmd.Context(), connect.NewRequest(&authzv1.MendRelationsRequest{Tenant: tenant}))
			if err != nil {
				return err
			}
			return s.drift(answer.Msg.GetDrift(), "They were mended.")
		},
	}
	return group("relations", "Look after the relations in OpenFGA, and say who owns resources",
		putCommand(s), ownedCommand(s), removeCommand(s), check, mend, modelsCommand(s), useCommand(s))
}

func modelsCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "models",
		Short: "List the models of relations that the tenant's store has, the newest first",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			tenant, authz, err := s.relations(cmd.Context())
			if err != nil {
				return err
			}
			answer, err := authz.ListModels(cmd.Context(), connect.NewRequest(&authzv1.ListModelsRequest{Tenant: tenant}))
			if err != nil {
				return err
			}
			rows := [][]string{{"MODEL", "WRITTEN", "IS"}}
			items := []json.RawMessage{}
			for _, m := range answer.Msg.GetModels() {
				var is []string
				for _, mark := range []struct {
					set  bool
					word string
				}{{m.GetInUse(), "in use"}, {m.GetPrevious(), "the one before"}, {m.GetOwn(), "carried by this version"}} {
					if mark.set {
						is = append(is, mark.word)
					}
				}
				rows = append(rows, []string{m.GetId(), ends(m.GetWritten()), strings.Join(is, ", ")})
				if items, err = encoded(items, m); err != nil {
					return err
				}
			}
			return s.print(join(items), rows)
		},
	}
}

func useCommand(s *session) *cobra.Command {
	var dry, accept bool
	cmd := &cobra.Command{
		Use:   "use MODEL",
		Short: "Ask a tenant's relations by another model from now on; decisions go on meanwhile",
		Long: "Ask a tenant's relations by another model from now on, or by the one before (\"previous\"). The rights of people and agents are resolved by both\n" +
			"first. A model that lacks what authz asks is refused, and one by which rights differ unless --accept-differences says that they are meant. It is also\n" +
			"how to leave a model that does not answer any more: what it does not say cannot be compared and counts as a difference.",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			tenant, authz, err := s.relations(cmd.Context())
			if err != nil {
				return err
			}
			model := args[0]
			if model == "previous" {
				if model, err = previousModel(cmd.Context(), authz, tenant); err != nil {
					return err
				}
			}
			answer, err := authz.UseModel(cmd.Context(), connect.NewRequest(&authzv1.UseModelRequest{
				Tenant: tenant, Model: model, DryRun: dry, AcceptDifferences: accept,
			}))
			if err != nil {
				return err
			}
			return s.used(answer.Msg, dry)
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say whose rights would differ (exit 3 for a difference)")
	cmd.Flags().BoolVar(&accept, "accept-differences", false, "use it although rights differ by it")
	return cmd
}

func previousModel(ctx context.Context, authz authzv1connect.AuthzServiceClient, tenant string) (string, error) {
	answer, err := authz.ListModels(ctx, connect.NewRequest(&authzv1.ListModelsRequest{Tenant: tenant}))
	if err != nil {
		return "", err
	}
	for _, m := range answer.Msg.GetModels() {
		if m.GetPrevious() {
			return m.GetId(), nil
		}
	}
	return "", fault.NotFound("No other model was in use before in tenant %s. headgate relations models lists those that there are.", tenant)
}

// used prints whose rights differ by a model, and in words what was done.
func (s *session) used(answer *authzv1.UseModelResponse, dry bool) error {
	rows := [][]string{{"DIFFERENCE"}}
	for _, d := range answer.GetDifferences() {
		rows = append(rows, []string{d})
	}
	raw, err := protojson.Marshal(answer)
	if err != nil {
		return err
	}
	if err := s.print(raw, rows); err != nil {
		return err
	}
	did := "is in use; before it was " + answer.GetPrevious()
	if dry {
		did = "was only tried; in use is " + answer.GetPrevious()
	}
	if _, err := fmt.Fprintf(s.stdio.Err, "Model %s %s. The rights of %d people and agents were compared.\n", answer.GetModel(), did, answer.GetCompared()); err != nil {
		return err
	}
	if dry && len(answer.GetDifferences()) > 0 {
		return errNo
	}
	return nil
}

// relations is whose relations are meant, and the service that has them.
func (s *session) relations(ctx context.Context) (string, authzv1connect.AuthzServiceClient, error) {
	tenant, err := s.oneTenant(ctx)
	if err != nil {
		return "", nil, err
	}
	authz, err := s.authz()
	return tenant, authz, err
}

func differs(d *authzv1.Drift) bool { return len(d.GetPlanted())+len(d.GetMissing()) > 0 }

// drift prints differences, and in words how many there are and what follows.
func (s *session) drift(d *authzv1.Drift, follows string) error {
	rows := [][]string{{"WHAT", "OBJECT", "RELATION", "USER", "UNTIL"}}
	items := []json.RawMessage{}
	for _, part := range []struct {
		what   string
		tuples []*authzv1.RelationTuple
	}{{"planted", d.GetPlanted()}, {"missing", d.GetMissing()}} {
		for _, t := range part.tuples {
			rows = append(rows, []string{part.what, t.GetObject(), t.GetRelation(), t.GetUser(), ends(t.GetUntil())})
			item, err := json.Marshal(map[string]string{
				"what": part.what, "object": t.GetObject(), "relation": t.GetRelation(), "user": t.GetUser(), "until": ends(t.GetUntil()),
			})
			if err != nil {
				return err
			}
			items = append(items, item)
		}
	}
	if err := s.print(join(items), rows); err != nil {
		return err
	}
	text := fmt.Sprintf("OpenFGA holds the %d tuples that the directory says, and no other.", d.GetTuples())
	if differs(d) {
		text = fmt.Sprintf("%d tuples are planted and %d of %d are missing. %s", len(d.GetPlanted()), len(d.GetMissing()), d.GetTuples(), follows)
	}
	_, err := fmt.Fprintln(s.stdio.Err, text)
	return err
}
