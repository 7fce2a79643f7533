package catalogue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge/internal/guard"
)

// methods are what relations and rules take for tools of every server. A tool cannot have such a name.
var methods = map[string]*definition{
	mcp.MethodResourceRead: method(mcp.MethodResourceRead), mcp.MethodPromptsGet: method(mcp.MethodPromptsGet), mcp.MethodComplete: method(mcp.MethodComplete),
}

func method(name string) *definition {
	return &definition{name: name, state: trustv1.DefinitionState_DEFINITION_STATE_APPROVED, method: true}
}

// definition is a tool or a method of a server; nil when there is none.
func (s *server) definition(name string) *definition {
	if d := methods[name]; d != nil {
		return d
	}
	return s.definitions[name]
}

// Method implements guard.Catalogue. What a method reaches is not pinned: it is inspected as it comes.
func (c *Catalogue) Method(ctx context.Context, who *guard.Caller, name, method string) (*guard.Tool, error) {
	mark := c.mark()
	reach, err := c.Relations(ctx, who)
	if err != nil {
		return nil, err
	}
	c.mu.RLock()
	s := c.servers[key{who.Tenant, name}]
	c.mu.RUnlock()
	if s == nil {
		return nil, guard.Invisible(faultv1.Reason_REASON_UNKNOWN_TOOL, "There is no server of this name.")
	}
	d := methods[method]
	if d == nil {
		return nil, fault.New(faultv1.Reason_REASON_METHOD, "%s is not a method that relations are about.", method)
	}
	tool := c.tool(s, d, reach)
	tool.Mark, tool.Arguments = mark, open{}
	if err := invisible(s, d, tool.Relation); err != nil {
		return tool, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if err := c.stopped(who); err != nil {
		return tool, err
	}
	return tool, c.halted(s, d.name)
}

// Servers implements guard.Catalogue.
func (c *Catalogue) Servers(ctx context.Context, who *guard.Caller, endpoint string) ([]*guard.Server, error) {
	reach, err := c.Relations(ctx, who)
	if err != nil {
		return nil, err
	}
	var out []*guard.Server
	for _, s := range c.within(who.Tenant, endpoint, reach) {
		out = append(out, &s.Server)
	}
	return out, nil
}

// open takes all arguments: a method has no schema of the server's.
type open struct{}

// Validate implements guard.Arguments.
func (open) Validate(json.RawMessage) (map[string]any, error) { return nil, nil }

// Visible implements guard.Catalogue.
func (c *Catalogue) Visible(ctx context.Context, who *guard.Caller, endpoint string) (string, error) {
	reach, err := c.Relations(ctx, who)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, s := range c.within(who.Tenant, endpoint, reach) {
		shown := s.seen.Load()
		if shown == nil {
			continue
		}
		var listing guard.Listing
		c.add(&listing, s, shown, reach, endpoint == "")
		for _, tool := range listing.Tools {
			_, _ = sum.Write(tool)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Recheck implements guard.Catalogue. A server that cannot be looked at is found out by whoever uses it.
func (c *Catalogue) Recheck(ctx context.Context, of *guard.Server) {
	c.mu.RLock()
	s := c.servers[key{of.Tenant, of.Name}]
	c.mu.RUnlock()
	if s != nil {
		s.seen.Store(nil)
		_, _ = c.look(ctx, s)
	}
}
