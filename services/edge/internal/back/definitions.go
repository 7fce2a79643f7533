package back

import (
	"context"
	"encoding/json"
	"slices"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

// maxPages, maxTools and maxListing, in bytes of all pages, bound what a server may list.
const (
	maxPages   = 100
	maxTools   = 10_000
	maxListing = 16 << 20
)

// definitions lists all tools that the server shows to a client that can do everything, page by page. Trust looks in the same way.
func (u *upstream) definitions(ctx context.Context, lease *guard.Lease) ([]mcp.Definition, error) {
	speaks, err := u.known(ctx, lease, 0)
	if err != nil {
		return nil, err
	}
	if speaks.elder {
		tools, err := u.elder.definitions(ctx, lease)
		return tools, u.mistaken(err)
	}
	var all []mcp.Definition
	var params json.RawMessage
	listed := 0
	for range maxPages {
		ex := guard.Exchange{Method: mcp.MethodToolsList, Params: params, Modern: true, Offer: json.RawMessage(mcp.Everything), Lease: lease}
		reply, err := u.call(ctx, ex, u.now().Add(u.limit))
		if err != nil {
			return nil, err
		}
		if reply.Result == nil {
			u.reconsider(ctx, speaks, lease)
			return nil, u.outside(nil, "it refused to list its tools")
		}
		if listed += len(reply.Result); listed > maxListing {
			return nil, u.outside(nil, "its list of tools has more than %d MiB on all pages", maxListing>>20)
		}
		tools, next, more, err := mcp.Tools(reply.Result)
		if err != nil {
			return nil, u.outside(err, "its list of tools: %s", err.Error())
		}
		all = append(all, tools...)
		if len(all) > maxTools {
			return nil, u.outside(nil, "it lists more than %d tools", maxTools)
		}
		if !more {
			return all, unique(u, all)
		}
		params = slices.Concat([]byte(`{"cursor":`), mcp.Quote(next), []byte(`}`))
	}
	return nil, u.outside(nil, "its list of tools has more than %d pages", maxPages)
}

func unique(u *upstream, all []mcp.Definition) error {
	names := make(map[string]bool, len(all))
	for _, one := range all {
		if names[one.Name] {
			return u.outside(nil, "it lists a tool twice")
		}
		names[one.Name] = true
	}
	return nil
}
