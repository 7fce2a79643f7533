package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/resource"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
)

const replayPage = 10_000

func replayCommand(s *session) *cobra.Command {
	var files []string
	var reveal string
	var allowOpen bool
	since := span(24 * time.Hour)
	cmd := &cobra.Command{
		Use:   "replay -f FILE",
		Short: "Say which recorded calls policies would decide otherwise; exit 3 when there are any, 5 when some could not be judged",
		Long: "Decides the recorded calls twice, by the policies in force and by those with the files' in their places, and says where the two differ: in the effect, the\n" +
			"arguments, the redactions, the approvals or the sign-in asked for. How many calls the policies in force decide otherwise than then is said apart. Roles are those\n" +
			"of the record; departments, groups, teams, attributes, clearances and the servers' labels are today's. Arguments are known where the record holds a copy that\n" +
			"nothing was left out of, or with --reveal a sealed one: that takes the role security, is recorded for each, and is done\n" +
			"for those alone where it can change the answer. Where what is not recorded matters, the call is listed as open, by the effect that is recorded, and the exit\n" +
			"code is 5 where nothing differs; --allow-open takes such calls for calls that do not differ.",
		Example: "  headgate policy replay -f policies/ --since 7d",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if since <= 0 {
				return usageError{fmt.Errorf("--since takes a positive duration as 90m or 24h")}
			}
			return s.replay(cmd.Context(), files, time.Duration(since), strings.TrimSpace(reveal), allowOpen)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "file, folder or - for standard input; may be given again")
	cmd.Flags().StringVar(&reveal, "reveal", "", "open sealed arguments, for this reason")
	cmd.Flags().BoolVar(&allowOpen, "allow-open", false, "exit 0 also when some calls could not be judged")
	cmd.Flags().Var(&since, "since", "how far back, as 90m, 24h or 7d")
	return cmd
}

func (s *session) replay(ctx context.Context, files []string, since time.Duration, reason string, allowOpen bool) error {
	objects, err := s.load(files)
	if err != nil {
		return err
	}
	candidates, err := s.candidates(ctx, objects)
	if err != nil {
		return err
	}
	r := replayer{groups: map[groupKey]*replayed{}}
	if reason != "" {
		if r.reveal, err = s.revealing(ctx, reason); err != nil {
			return err
		}
	}
	for _, tenant := range slices.Sorted(maps.Keys(candidates)) {
		if r.people, err = s.people(ctx, tenant); err != nil {
			return err
		}
		if r.servers, err = s.serverLabels(ctx, tenant); err != nil {
			return err
		}
		r.tenant, r.candidate = tenant, candidates[tenant]
		if err := s.records(ctx, &auditv1.SearchRequest{Tenant: tenant, Since: timestamppb.New(clock.System().Add(-since)), PageSize: replayPage}, r.take); err != nil {
			return err
		}
	}
	if r.failed != nil {
		return r.failed
	}
	return s.printReplay(&r, allowOpen)
}

// compiled are the policies among objects, which have the calendars that these name as well.
func compiled(objects []resource.Object) ([]*policy.Compiled, error) {
	calendars, err := calendarsOf(objects)
	if err != nil {
		return nil, err
	}
	var out []*policy.Compiled
	for _, object := range objects {
		declared, ok := object.(*authzv1.Policy)
		if !ok {
			continue
		}
		one, err := policy.CompileWith(declared, calendars[declared.GetMetadata().GetTenant()])
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

// candidates are what would be in force in each tenant that the files have policies for.
func (s *session) candidates(ctx context.Context, objects []resource.Object) (map[string]*policy.Candidate, error) {
	wanted := map[string][]resource.Object{}
	for _, object := range objects {
		if object.GetKind() == "Policy" || object.GetKind() == "Calendar" {
			wanted[object.GetMetadata().GetTenant()] = append(wanted[object.GetMetadata().GetTenant()], object)
		}
	}
	if len(wanted) == 0 {
		return nil, usageError{fmt.Errorf("the files declare neither a policy nor a calendar")}
	}
	out := map[string]*policy.Candidate{}
	for tenant, changed := range wanted {
		inForce, err := s.policiesOf(ctx, tenant)
		if err != nil {
			return nil, err
		}
		now, err := compiled(inForce)
		if err != nil {
			return nil, err
		}
		then, err := compiled(slices.Concat(inForce, changed)) // the later of two with one name counts
		if err != nil {
			return nil, err
		}
		out[tenant] = policy.NewCandidate(now, then)
	}
	return out, nil
}

// policiesOf are a tenant's policies, and the calendars that they may name.
func (s *session) policiesOf(ctx context.Context, tenant string) ([]resource.Object, error) {
	owner, err := s.owner(resource.Owner("Policy"))
	if err != nil {
		return nil, err
	}
	policies, err := owner.List(ctx, "Policy", tenant)
	if err != nil {
		return nil, err
	}
	calendars, err := owner.List(ctx, "Calendar", tenant)
	return slices.Concat(calendars, policies), err
}

// people are a tenant's as the directory has them today.
func (s *session) people(ctx context.Context, tenant string) (map[string]policy.Principal, error) {
	owner, err := s.owner(resource.Owner("Person"))
	if err != nil {
		return nil, err
	}
	persons, err := owner.List(ctx, "Person", tenant)
	if err != nil {
		return nil, err
	}
	groups, err := owner.List(ctx, "Group", tenant)
	if err != nil {
		return nil, err
	}
	out := map[string]policy.Principal{}
	for _, object := range persons {
		if p, ok := object.(*identityv1.Person); ok {
			spec := p.GetSpec()
			out[p.GetMetadata().GetName()] = policy.Principal{
				Name: p.GetMetadata().GetName(), Email: spec.GetEmail(), Department: spec.GetDepartment(), Teams: spec.GetTeams(),
				Attributes: spec.GetAttributes(), Clearances: spec.GetClearances(),
			}
		}
	}
	for _, object := range groups {
		g, ok := object.(*identityv1.Group)
		if !ok {
			continue
		}
		for _, member := range g.GetSpec().GetMembers() {
			if one, there := out[member]; there {
				one.Groups = append(one.Groups, g.GetMetadata().GetName())
				out[member] = one
			}
		}
	}
	return out, nil
}

// serverLabels are those of a tenant's servers today: the record has a tool's labels, in which they are mixed.
func (s *session) serverLabels(ctx context.Context, tenant string) (map[string][]string, error) {
	owner, err := s.owner(resource.Owner("Server"))
	if err != nil {
		return nil, err
	}
	servers, err := owner.List(ctx, "Server", tenant)
	if err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, object := range servers {
		if one, ok := object.(*trustv1.Server); ok {
			out[one.GetMetadata().GetName()] = one.GetSpec().GetLabels()
		}
	}
	return out, nil
}

// records lets take see every record of a search.
func (s *session) records(ctx context.Context, query *auditv1.SearchRequest, take func(*eventsv1.Event)) error {
	audit, err := s.audit()
	if err != nil {
		return err
	}
	for {
		answer, err := audit.Search(ctx, connect.NewRequest(query))
		if err != nil {
			return err
		}
		for _, event := range answer.Msg.GetEvents() {
			take(event)
		}
		if query.PageToken = answer.Msg.GetNextPageToken(); query.GetPageToken() == "" {
			return nil
		}
	}
}
