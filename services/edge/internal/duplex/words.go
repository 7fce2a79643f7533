package duplex

import (
	"context"
	"errors"
	"fmt"
	"os"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// broken says that the channel ended before the answer came.
func (c *Conversation) broken(cause error) error {
	return fault.New(faultv1.Reason_REASON_UPSTREAM,
		"The connection to the server %s ended before its answer came. Look whether the call took effect before you call again.", c.cfg.Server).
		Because(errors.Join(ErrHungUp, cause))
}

// outside says that what came is not of the protocol.
func (c *Conversation) outside(cause error, format string, args ...any) error {
	return fault.New(faultv1.Reason_REASON_UPSTREAM,
		"The server %s answered outside the protocol: %s. Tell its owner.", c.cfg.Server, fmt.Sprintf(format, args...)).Because(cause)
}

// unwaited says why nobody waits any more.
func (c *Conversation) unwaited(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.New(faultv1.Reason_REASON_CANCELLED, "The call was cancelled before the server %s answered.", c.cfg.Server).Because(ctx.Err())
	}
	return c.late()
}

func (c *Conversation) late() error {
	return fault.New(faultv1.Reason_REASON_UPSTREAM_TIMEOUT,
		"The server %s did not answer in time. It may still be working on the call; look before you call again.", c.cfg.Server)
}

// unsent says that a message did not reach the channel. What the channel says in words for people stays as it is.
func (c *Conversation) unsent(ctx context.Context, err error) error {
	var known *fault.Error
	var long *mcp.LongLineError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &long):
		return c.outside(err, "a message is too long")
	case ctx.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		return c.unwaited(ctx)
	}
	return c.broken(err)
}
