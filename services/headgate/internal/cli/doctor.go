package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	edgev1 "headgate.dev/proto/gen/headgate/edge/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

func doctorCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check that every service answers and that the edge decides by fresh data",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return s.doctor(cmd.Context()) },
	}
}

// finding is one thing the doctor looked at.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Note  string `json:"note"`
}

func (s *session) doctor(ctx context.Context) error {
	findings, err := s.examine(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"CHECK", "OK", "NOTE"}}
	healthy := true
	for _, f := range findings {
		rows = append(rows, []string{f.Check, fmt.Sprint(f.OK), f.Note})
		healthy = healthy && f.OK
	}
	encoded, err := json.Marshal(findings)
	if err != nil {
		return err
	}
	if err := s.print(encoded, rows); err != nil {
		return err
	}
	if !healthy {
		return errNo
	}
	return nil
}

func (s *session) examine(ctx context.Context) ([]finding, error) {
	identity, err := s.identity()
	if err != nil {
		return nil, err
	}
	who, err := identity.WhoAmI(ctx, connect.NewRequest(&identityv1.WhoAmIRequest{}))
	if err != nil {
		return nil, err
	}
	findings := []finding{{"identity answers", true, "you are " + who.Msg.GetCaller().GetName()}}
	for _, name := range []string{"authz", "trust", "credentials"} {
		o, err := s.owner(name)
		if err != nil {
			return nil, err
		}
		kind := map[string]string{"authz": "Policy", "trust": "Server", "credentials": "Connection"}[name]
		_, err = o.List(ctx, kind, s.saidTenant())
		findings = append(findings, examined(name+" answers", err, ""))
	}
	audit, err := s.audit()
	if err != nil {
		return nil, err
	}
	ofNoCall := &auditv1.SearchRequest{Tenant: s.saidTenant(), Since: timestamppb.New(clock.System().Add(-time.Minute)), CallId: "none", PageSize: 1} // nobody's records are read
	_, err = audit.Search(ctx, connect.NewRequest(ofNoCall))
	findings = append(findings, examined("audit answers", err, ""))
	return append(findings, s.examineEdge(ctx)...), nil
}

func (s *session) examineEdge(ctx context.Context) []finding {
	edge, err := s.edge()
	if err != nil {
		return []finding{examined("edge answers", err, "")}
	}
	status, err := edge.Status(ctx, connect.NewRequest(&edgev1.StatusRequest{}))
	if err != nil {
		return []finding{examined("edge answers", err, "")}
	}
	journal := status.Msg.GetJournal()
	findings := []finding{{"edge answers", true, fmt.Sprintf("journal %s: %d written, %d shipped", journal.GetWriter(), journal.GetWritten(), journal.GetShipped())}}
	for _, replica := range status.Msg.GetReplicas() {
		note := fmt.Sprintf("revision %d, heard %s ago", replica.GetRevision(), replica.GetAge().AsDuration().Round(time.Millisecond))
		findings = append(findings, finding{"edge hears " + replica.GetName(), !replica.GetStale(), note})
	}
	return findings
}

func examined(check string, err error, note string) finding {
	if fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) {
		return finding{check, true, "it refuses to tell you more: that takes a right that you do not have"}
	}
	if err != nil {
		return finding{check, false, fault.From(err).Sentence}
	}
	return finding{check, true, note}
}
