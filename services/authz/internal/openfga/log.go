package openfga

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// slogCore passes OpenFGA's warnings and errors to Headgate's log. Its fields stay behind: they can hold whole requests.
type slogCore struct {
	zapcore.LevelEnabler
	log *slog.Logger
}

func newZap(log *slog.Logger) *zap.Logger {
	return zap.New(slogCore{LevelEnabler: zapcore.WarnLevel, log: log}, zap.WithFatalHook(zapcore.WriteThenPanic))
}

func (c slogCore) With([]zapcore.Field) zapcore.Core { return c }

func (c slogCore) Check(entry zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(entry.Level) {
		return ce
	}
	return ce.AddCore(entry, c)
}

func (c slogCore) Write(entry zapcore.Entry, _ []zapcore.Field) error {
	level := slog.LevelWarn
	if entry.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	c.log.Log(context.Background(), level, "openfga says", "message", entry.Message)
	return nil
}

func (c slogCore) Sync() error { return nil }
