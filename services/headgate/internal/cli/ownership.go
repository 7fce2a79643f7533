package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// mostPut is how many relations go into one request.
const mostPut = 1000

func putCommand(s *session) *cobra.Command {
	var file, until string
	cmd := &cobra.Command{
		Use:   "put [RELATION...]",
		Short: "Say who owns, may change, see or approve a resource, as resource:ticket/17#owner@person:ana",
		Long: "Say who owns, may change, see or approve resources of an application, as resource:ticket/17#owner@person:ana: a kind and a name; owner, editor, viewer or\n" +
			"approver; a person, a group or a role. -f reads one of each line of a file (- is standard input), with \" until TIME\" behind it where it ends by itself.\n" +
			"A request has at most 1,000 of them and is done whole or not at all. Rules ask with related(\"resource:ticket/17\", \"owner\").",
		RunE: func(cmd *cobra.Command, args []string) error {
			all, err := s.ownedIn(args, file, until)
			if err != nil {
				return err
			}
			return s.put(cmd.Context(), all)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "read relations from a file")
	cmd.Flags().StringVar(&until, "until", "", "when those of the command line end by themselves (RFC 3339)")
	return cmd
}

func (s *session) put(ctx context.Context, all []*authzv1.ResourceRelation) error {
	tenant, authz, err := s.relations(ctx)
	if err != nil {
		return err
	}
	var changed int32
	inForce := true
	for batch := range slices.Chunk(all, mostPut) {
		answer, err := authz.PutRelations(ctx, connect.NewRequest(&authzv1.PutRelationsRequest{Tenant: tenant, Relations: batch}))
		if err != nil {
			return err
		}
		changed += answer.Msg.GetChanged()
		inForce = answer.Msg.GetInForce()
	}
	text := fmt.Sprintf("%d of %d relations are new or have another end.", changed, len(all))
	if !inForce {
		text += " They count as soon as OpenFGA has them."
	}
	_, err = fmt.Fprintln(s.stdio.Err, text)
	return err
}

func ownedCommand(s *session) *cobra.Command {
	var object, subject string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what was put",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			tenant, authz, err := s.relations(cmd.Context())
			if err != nil {
				return err
			}
			rows := [][]string{{"RELATION", "UNTIL", "BY", "SINCE"}}
			items := []json.RawMessage{}
			req := &authzv1.ListRelationsRequest{Tenant: tenant, Object: object, Subject: subject, PageSize: mostPut}
			for {
				answer, err := authz.ListRelations(cmd.Context(), connect.NewRequest(req))
				if err != nil {
					return err
				}
				for _, r := range answer.Msg.GetRelations() {
					rows = append(rows, []string{r.GetObject() + "#" + r.GetRelation() + "@" + r.GetSubject(), ends(r.GetUntil()), r.GetAuthor(), ends(r.GetWritten())})
					if items, err = encoded(items, r); err != nil {
						return err
					}
				}
				if req.PageToken = answer.Msg.GetNextPageToken(); req.GetPageToken() == "" {
					return s.print(join(items), rows)
				}
			}
		},
	}
	cmd.Flags().StringVar(&object, "object", "", "only of this resource, as resource:ticket/17")
	cmd.Flags().StringVar(&subject, "subject", "", "only of this person, group or role, as person:ana")
	return cmd
}

func removeCommand(s *session) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "remove [RELATION|RESOURCE...]",
		Short: "Take back relations, or everything of resources that are gone (resource:ticket/17)",
		RunE: func(cmd *cobra.Command, args []string) error {
			objects := slices.DeleteFunc(slices.Clone(args), func(text string) bool { return strings.Contains(text, "#") })
			args = slices.DeleteFunc(args, func(text string) bool { return !strings.Contains(text, "#") })
			var all []*authzv1.ResourceRelation
			if len(args) > 0 || file != "" || len(objects) == 0 {
				var err error
				if all, err = s.ownedIn(args, file, ""); err != nil {
					return err
				}
			}
			return s.removeOwned(cmd.Context(), all, objects)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "read relations from a file")
	return cmd
}

func (s *session) removeOwned(ctx context.Context, all []*authzv1.ResourceRelation, objects []string) error {
	tenant, authz, err := s.relations(ctx)
	if err != nil {
		return err
	}
	var requests []*authzv1.RemoveRelationsRequest
	for batch := range slices.Chunk(all, mostPut) {
		requests = append(requests, &authzv1.RemoveRelationsRequest{Tenant: tenant, Relations: batch})
	}
	for batch := range slices.Chunk(objects, mostPut) {
		requests = append(requests, &authzv1.RemoveRelationsRequest{Tenant: tenant, Objects: batch})
	}
	var removed int32
	for _, request := range requests {
		answer, err := authz.RemoveRelations(ctx, connect.NewRequest(request))
		if err != nil {
			return err
		}
		removed += answer.Msg.GetRemoved()
	}
	_, err = fmt.Fprintf(s.stdio.Err, "%d relations were removed.\n", removed)
	return err
}

// ownedIn reads relations from the command line and from a file.
func (s *session) ownedIn(args []string, file, until string) ([]*authzv1.ResourceRelation, error) {
	var all []*authzv1.ResourceRelation
	for _, text := range args {
		if until != "" {
			text += " until " + until
		}
		r, err := readOwned(text)
		if err != nil {
			return nil, usageError{err}
		}
		all = append(all, r)
	}
	if file != "" {
		from := s.stdio.In
		if file != "-" {
			opened, err := os.Open(file)
			if err != nil {
				return nil, fault.Invalid("The file cannot be read: %v.", err)
			}
			defer func() { _ = opened.Close() }()
			from = opened
		}
		read, err := ownedLines(file, from)
		if err != nil {
			return nil, err
		}
		all = append(all, read...)
	}
	if len(all) == 0 {
		return nil, usageError{errors.New("no relation is named; write one as resource:ticket/17#owner@person:ana, or -f FILE")}
	}
	return all, nil
}

func ownedLines(name string, from io.Reader) ([]*authzv1.ResourceRelation, error) {
	var all []*authzv1.ResourceRelation
	lines := bufio.NewScanner(from)
	for at := 1; lines.Scan(); at++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		r, err := readOwned(text)
		if err != nil {
			return nil, fault.Invalid("%s:%d: %s. Nothing was sent.", name, at, err)
		}
		all = append(all, r)
	}
	if err := lines.Err(); err != nil {
		return nil, fault.Invalid("%s cannot be read: %v.", name, err)
	}
	return all, nil
}

// readOwned reads resource:ticket/17#owner@person:ana, with "until TIME" behind it where it ends.
func readOwned(text string) (*authzv1.ResourceRelation, error) {
	text, until, ends := strings.Cut(text, " until ")
	object, rest, hasRelation := strings.Cut(text, "#")
	relation, subject, hasSubject := strings.Cut(rest, "@")
	if !hasRelation || !hasSubject {
		return nil, fmt.Errorf("%q is not a relation as resource:ticket/17#owner@person:ana", text)
	}
	r := &authzv1.ResourceRelation{Object: object, Relation: relation, Subject: subject}
	if ends {
		at, err := time.Parse(time.RFC3339, strings.TrimSpace(until))
		if err != nil {
			return nil, fmt.Errorf("%q is not a time as 2027-01-01T06:00:00Z", until)
		}
		r.Until = timestamppb.New(at)
	}
	return r, nil
}
