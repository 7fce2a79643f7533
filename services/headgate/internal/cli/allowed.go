package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
)

// largestPage is how much of a list one question asks for.
const largestPage = 1000

// allowed prints what the caller can see and call, by which relation, and the rules that look at each call.
func (s *session) allowed(ctx context.Context) error {
	authz, err := s.authz()
	if err != nil {
		return err
	}
	rows := [][]string{{"TOOL", "CAN", "BECAUSE", "UNTIL", "RULES"}}
	items := []json.RawMessage{}
	for token := ""; ; {
		page, err := authz.ListOwn(ctx, connect.NewRequest(&authzv1.ListOwnRequest{PageSize: largestPage, PageToken: token}))
		if err != nil {
			return err
		}
		for _, one := range page.Msg.GetTools() {
			rows = append(rows, []string{one.GetServer() + "." + one.GetTool(), can(one.GetCanCall(), one.GetCallIf()), one.GetVia(), ends(one.GetUntil()), ruled(one)})
			if items, err = encoded(items, one); err != nil {
				return err
			}
		}
		if token = page.Msg.GetNextPageToken(); token == "" {
			return s.print(join(items), rows)
		}
	}
}

// holders prints who has a relation to a server, or to one of its tools.
func (s *session) holders(ctx context.Context, server, tool string) error {
	tenant, err := s.workTenant(ctx, "Server", server)
	if err != nil {
		return err
	}
	authz, err := s.authz()
	if err != nil {
		return err
	}
	rows := [][]string{{"WHO", "TOOL", "CAN", "BECAUSE", "UNTIL"}}
	items := []json.RawMessage{}
	for token := ""; ; {
		page, err := authz.ListHolders(ctx, connect.NewRequest(&authzv1.ListHoldersRequest{
			Tenant: tenant, Server: server, Tool: tool, PageSize: largestPage, PageToken: token,
		}))
		if err != nil {
			return err
		}
		for _, one := range page.Msg.GetHolders() {
			who := one.GetPerson()
			if one.GetAgent() != "" {
				who = "agent " + one.GetAgent()
			}
			rows = append(rows, []string{who, one.GetTool(), can(one.GetCanCall(), one.GetCallIf()), one.GetVia(), ends(one.GetUntil())})
			if items, err = encoded(items, one); err != nil {
				return err
			}
		}
		if token = page.Msg.GetNextPageToken(); token == "" {
			return s.print(join(items), rows)
		}
	}
}

func encoded(items []json.RawMessage, m proto.Message) ([]json.RawMessage, error) {
	raw, err := protojson.Marshal(m)
	return append(items, raw), err
}

func can(call bool, condition string) string {
	switch {
	case call:
		return "call"
	case condition != "":
		return "call if " + condition
	}
	return "see"
}

func ends(at *timestamppb.Timestamp) string {
	if at == nil {
		return ""
	}
	return at.AsTime().Format(time.RFC3339)
}

// ruled says which rules look at a call of a tool, and what holds when none of them does.
func ruled(one *authzv1.AllowedTool) string {
	if len(one.GetRules()) == 0 {
		return "none: " + one.GetOtherwise()
	}
	parts := make([]string, 0, len(one.GetRules())+1)
	for _, r := range one.GetRules() {
		parts = append(parts, fmt.Sprintf("%s (%s%s)", r.GetRule(), r.GetEffect(), map[bool]string{true: ", in shadow"}[r.GetShadow()]))
	}
	return strings.Join(parts, ", ") + "; otherwise " + one.GetOtherwise()
}
