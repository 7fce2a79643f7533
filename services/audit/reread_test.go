package audit

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
)

// unsteady is an index whose reading of older records fails so many times.
type unsteady struct {
	store

	fails, asked int
}

func (u *unsteady) Reread(context.Context) error {
	if u.asked++; u.asked <= u.fails {
		return errors.New("the disk is full")
	}
	return nil
}

func TestOlderRecordsAreReadUntilThatSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := &unsteady{fails: 3}
		a := &Audit{index: x, log: slog.New(slog.DiscardHandler)}
		a.reread(t.Context())
		if x.asked != 4 {
			t.Errorf("read %d times", x.asked)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		x := &unsteady{fails: 1 << 30}
		a := &Audit{index: x, log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithTimeout(t.Context(), 15*rereadPause/10)
		defer cancel()
		a.reread(ctx)
		if x.asked != 2 {
			t.Errorf("read %d times before the service ended", x.asked)
		}
	})
}
