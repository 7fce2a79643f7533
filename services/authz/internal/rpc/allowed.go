package rpc

import (
	"context"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	"headgate.dev/libs/rpc"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// usualPage is how many entries a page has when the request does not say.
const usualPage = 100

// ListAllowed implements AuthzServiceHandler.
func (h *Handler) ListAllowed(
	ctx context.Context, req *connect.Request[authzv1.ListAllowedRequest],
) (*connect.Response[authzv1.ListAllowedResponse], error) {
	tenant, err := rpc.Tenant(ctx, req.Msg.GetTenant())
	if err != nil {
		return nil, err
	}
	if _, err := h.Tenants.Get(tenant); err != nil {
		return nil, err
	}
	tools, next, err := h.allowed(ctx, who{tenant, req.Msg.GetPerson(), req.Msg.GetAgent()}, listing{
		server: req.Msg.GetServer(), seen: req.Msg.GetSeen(), size: req.Msg.GetPageSize(), token: req.Msg.GetPageToken(),
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.ListAllowedResponse{Tools: tools, NextPageToken: next}), nil
}

// ListOwn implements AuthzServiceHandler.
func (h *Handler) ListOwn(ctx context.Context, req *connect.Request[authzv1.ListOwnRequest]) (*connect.Response[authzv1.ListOwnResponse], error) {
	me := rpc.CallerFrom(ctx).Person
	if me == nil {
		return nil, fault.New(faultv1.Reason_REASON_UNAUTHENTICATED, "Only a person has tools of their own. Send a person's access token.")
	}
	tools, next, err := h.allowed(ctx, who{me.GetTenant(), me.GetName(), me.GetAgent()}, listing{
		server: req.Msg.GetServer(), seen: true, size: req.Msg.GetPageSize(), token: req.Msg.GetPageToken(),
	})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&authzv1.ListOwnResponse{Tools: tools, NextPageToken: next}), nil
}

// listing is which part of a list is wanted.
type listing struct {
	server string // empty means all
	seen   bool   // also what may only be seen
	size   int32
	token  string
}

func (h *Handler) allowed(ctx context.Context, w who, want listing) ([]*authzv1.AllowedTool, string, error) {
	after, err := readToken(want.token)
	if err != nil {
		return nil, "", err
	}
	if err := h.Clock.Check(); err != nil {
		return nil, "", h.Alarm.Raise(w.tenant, err)
	}
	if err := h.servers(ctx); err != nil {
		return nil, "", err
	}
	reach, err := h.Resolver.Reach(ctx, w.tenant, w.person, w.agent)
	if err != nil {
		return nil, "", err
	}
	now, size := h.Now(), int(want.size)
	if size == 0 {
		size = usualPage
	}
	bundle := h.Policies.Bundle(w.tenant)
	var page []*authzv1.AllowedTool
	for _, server := range reach.Servers(now) {
		if want.server != "" && server != want.server || server < after[0] {
			continue
		}
		for _, tool := range h.Catalogue.Served(w.tenant, server) {
			if server == after[0] && tool <= after[1] {
				continue
			}
			one := allowedTool(reach, server, tool, now)
			if one == nil || !one.GetCanCall() && one.GetCallIf() == "" && !want.seen {
				continue
			}
			if len(page) == size {
				last := page[size-1]
				return page, writeToken(last.GetServer(), last.GetTool()), nil
			}
			one.Rules, one.Otherwise = bundle.About(server, tool)
			page = append(page, one)
		}
	}
	return page, "", nil
}

// allowedTool is nil for a tool that may not even be seen.
func allowedTool(reach *policy.Reach, server, tool string, now time.Time) *authzv1.AllowedTool {
	relation := reach.Lookup(server, tool, now)
	if !relation.See {
		return nil
	}
	one := &authzv1.AllowedTool{Server: server, Tool: tool, CanCall: relation.Call, CallIf: relation.If(), Via: relation.Via}
	if until := reach.Until(server, tool, now); !until.IsZero() {
		one.Until = timestamppb.New(until)
	}
	return one
}

// writeToken names the last entry of a page by two names, neither of which has a line break.
func writeToken(first, second string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(first + "\n" + second))
}

func readToken(token string) ([2]string, error) {
	if token == "" {
		return [2]string{}, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	parts := strings.Split(string(raw), "\n")
	if err != nil || len(parts) != 2 || slices.Contains(parts, "") {
		return [2]string{}, fault.Invalid("The page token is not one that a list gave. Start again without it.")
	}
	return [2]string{parts[0], parts[1]}, nil
}
