package duplex

import (
	"context"
	"slices"
	"time"

	"headgate.dev/libs/mcp"
	"headgate.dev/services/edge/internal/guard"
)

// speakUp lets a server of the older revisions say as much of its log as a request asks for: what 2026-07-28 says with each request, those say once.
// It never lets the server say less, which another request may have asked for.
func (c *Conversation) speakUp(ctx context.Context, ex guard.Exchange, limit time.Duration) error {
	wish, _ := mcp.Text(ex.Params, "_meta", mcp.MetaLogLevel)
	wanted, known := mcp.LogLevel(wish)
	if !known || !c.cfg.Alone || c.Era() != Legacy || !c.quieter(wanted) {
		return nil
	}
	params := slices.Concat([]byte(`{"level":`), mcp.Quote(wish), []byte{'}'})
	if _, err := c.ask(ctx, mcp.MethodSetLevel, params, ex.Lease, limit); err != nil {
		return err
	}
	c.leveled(mcp.MethodSetLevel, wish) // also where the server refused: it is not asked for the same again
	return nil
}

// quieter reports whether the server has a log and was not told to say this much of it.
func (c *Conversation) quieter(wanted int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	said, known := mcp.LogLevel(c.level)
	return mcp.Get(c.about.Capabilities, "logging") != nil && (!known || said > wanted)
}

// leveled notes the level that the server was told.
func (c *Conversation) leveled(method, level string) {
	if method != mcp.MethodSetLevel {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.level = level
}
