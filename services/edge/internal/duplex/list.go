package duplex

import (
	"context"
	"encoding/json"
	"time"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

const (
	// maxPages, maxTools and maxListing, in bytes of all pages, bound what a server may list.
	maxPages   = 100
	maxTools   = 10_000
	maxListing = 16 << 20
)

// Definitions lists all tools that the server shows, page by page. One that says that it has none is not asked.
func (c *Conversation) Definitions(ctx context.Context, lease *guard.Lease, limit time.Duration) ([]mcp.Definition, error) {
	c.mu.Lock()
	none := mcp.Get(c.about.Capabilities, "tools") == nil
	c.mu.Unlock()
	if none {
		return nil, nil
	}
	var all []mcp.Definition
	names := map[string]bool{}
	var params json.RawMessage
	listed := 0
	for range maxPages {
		reply, err := c.ask(ctx, mcp.MethodToolsList, params, lease, limit)
		if err != nil {
			return nil, err
		}
		if kind, said := mcp.Text(reply.Result, "resultType"); reply.Result == nil || said && kind != mcp.ResultComplete {
			return nil, c.outside(nil, "it refused to list its tools")
		}
		if listed += len(reply.Result); listed > maxListing {
			return nil, c.outside(nil, "its list of tools has more than %d MiB on all pages", maxListing>>20)
		}
		tools, next, more, err := mcp.Tools(reply.Result)
		if err != nil {
			return nil, c.outside(err, "its list of tools: %s", err.Error())
		}
		for _, tool := range tools {
			if names[tool.Name] {
				return nil, c.outside(nil, "it lists a tool twice")
			}
			names[tool.Name] = true
		}
		if all = append(all, tools...); len(all) > maxTools {
			return nil, c.outside(nil, "it lists more than %d tools", maxTools)
		}
		if !more {
			return all, nil
		}
		if params, err = mcp.Set([]byte("{}"), mcp.Quote(next), "cursor"); err != nil {
			return nil, c.outside(err, "a cursor of its list of tools is no text")
		}
	}
	return nil, c.outside(nil, "its list of tools has more than %d pages", maxPages)
}
