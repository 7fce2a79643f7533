package oauth

import (
	"context"
	"log/slog"
)

// quiet passes warnings and errors on; the library tells of every route that it registers.
type quiet struct{ slog.Handler }

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && q.Handler.Enabled(ctx, level)
}
