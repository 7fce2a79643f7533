package catalogue

import (
	"context"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	trustv1 "headgate.dev/proto/gen/headgate/trust/v1"
	"headgate.dev/services/edge/internal/guard"
)

// mark is another whenever something changed that a tool was judged by. Both counts only grow.
func (c *Catalogue) mark() int64 { return c.generation.Load() + c.Changes() }

// Version implements guard.Catalogue.
func (c *Catalogue) Version() int64 { return c.mark() }

// Still implements guard.Catalogue. While nothing changed, only the time can have ended a relation.
func (c *Catalogue) Still(ctx context.Context, who *guard.Caller, tool *guard.Tool) error {
	if c.mark() == tool.Mark {
		return lapsed(tool, tool.Reach.Lookup(tool.Server.Name, tool.Name, c.Now()))
	}
	reach, err := c.Relations(ctx, who)
	if err != nil {
		return err
	}
	c.mu.RLock()
	s := c.servers[key{who.Tenant, tool.Server.Name}]
	c.mu.RUnlock()
	if s == nil || s.definition(tool.Name) == nil {
		return guard.Invisible(faultv1.Reason_REASON_UNKNOWN_TOOL, "There is no tool of this name any more.")
	}
	d, relation := s.definition(tool.Name), reach.Lookup(s.Name, tool.Name, c.Now())
	if err := invisible(s, d, relation); err != nil {
		return err
	}
	shown := s.seen.Load()
	if d.hash != tool.Hash || moved(&s.Server, tool.Server) || s.CA != tool.Server.CA || !d.method && shown != nil && shown.hashes[d.name] != d.hash {
		return guard.Invisible(faultv1.Reason_REASON_DEFINITION_CHANGED, "The server %s or its definition of %s changed while the call was prepared.", s.Name, d.name)
	}
	if err := c.Halted(who, tool); err != nil {
		return err
	}
	return lapsed(tool, relation)
}

// lapsed refuses by a relation that does not let the caller call any more. Where it has conditions, the call was decided by the same.
func lapsed(tool *guard.Tool, now policy.Relation) error {
	switch {
	case now.Call, now.May() && now.If() == tool.Relation.If():
		return nil
	case now.See && now.Reason == faultv1.Reason_REASON_BLOCK_LISTED:
		return fault.New(now.Reason, "A block list keeps you from calling %s of %s by now. Ask an administrator to change the list.", tool.Name, tool.Server.Name)
	case !now.See:
		return guard.Invisible(faultv1.Reason_REASON_NOT_GRANTED, "No relation gives %s of %s to this caller any more.", tool.Name, tool.Server.Name)
	}
	return fault.New(faultv1.Reason_REASON_NOT_GRANTED, "You may see %s of %s but not call it any more. Ask your administrator.", tool.Name, tool.Server.Name)
}

// Halted implements guard.Catalogue.
func (c *Catalogue) Halted(who *guard.Caller, tool *guard.Tool) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if err := c.stopped(who); err != nil {
		return err
	}
	s := c.servers[key{who.Tenant, tool.Server.Name}]
	switch {
	case s == nil:
		return fault.New(faultv1.Reason_REASON_KILLED, "The server %s was deleted, so nothing of it is used any more.", tool.Server.Name)
	case s.standing == trustv1.Standing_STANDING_QUARANTINED:
		return fault.New(faultv1.Reason_REASON_QUARANTINED, "The server %s was quarantined, so nothing of it is used any more.", s.Name)
	}
	return c.halted(s, tool.Name)
}
