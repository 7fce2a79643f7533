package sqlite_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"headgate.dev/services/audit/internal/index"
	"headgate.dev/services/audit/internal/index/indextest"
)

// Readers that do not take what they asked for stop nobody else, however many they are.
func TestASlowReaderOfUsesHoldsNoConnection(t *testing.T) {
	x := open(t, filepath.Join(t.TempDir(), "index.db"))
	if err := x.Add(t.Context(), []index.Record{indextest.Event("1", "acme", "ana", 1)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reached := 0
	var within func(depth int) error
	within = func(depth int) error {
		return x.Uses(ctx, "acme", time.Time{}, func(index.Use) error {
			reached = depth
			if depth == 8 { // the database has four connections
				return x.Add(ctx, []index.Record{indextest.Event("2", "acme", "ana", 2)})
			}
			return within(depth + 1)
		})
	}
	if err := within(1); err != nil || reached != 8 {
		t.Errorf("%d readers at once: %v", reached, err)
	}
}
