package kafka

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

func TestOnlyTroubleIsAWarning(t *testing.T) {
	const fetch = "the kafka reader got an unknown error reading partition %d of %s at offset %d: %s"
	timeout := fmt.Errorf("fetching message: %w", os.ErrDeadlineExceeded)
	late := func(partition int) func(*complaints) {
		return func(c *complaints) { c.Printf(fetch, partition, "headgate.audit.v1", 7, timeout) }
	}
	for name, c := range map[string]struct {
		every time.Duration
		times int
		say   []func(*complaints)
		want  int
	}{
		"an idle topic":                 {20 * time.Second, 100, []func(*complaints){late(0)}, 0},
		"idle partitions at once":       {20 * time.Second, 100, []func(*complaints){late(0), late(1), late(2), late(3), late(4), late(5)}, 0},
		"a broker that does not answer": {time.Second, 6, []func(*complaints){late(0)}, 1},
		"one that broke the connection": {20 * time.Second, 3, []func(*complaints){func(c *complaints) { c.Printf(fetch, 0, "t", 7, errors.New("connection reset by peer")) }}, 3},
		"one that cannot be reached": {20 * time.Second, 3, []func(*complaints){func(c *complaints) {
			c.Printf("error initializing the kafka reader for partition %d of %s: %s", 0, "t", timeout)
		}}, 3},
		"many complaints in a short while": {time.Millisecond, 100, []func(*complaints){func(c *complaints) { c.Printf("%v", errors.New("EOF")) }}, 1},
	} {
		var out bytes.Buffer
		now := time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC)
		told := &complaints{log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }}
		for range c.times {
			for _, say := range c.say {
				say(told)
			}
			now = now.Add(c.every)
		}
		if got := strings.Count(out.String(), "kafka reader in trouble"); got != c.want {
			t.Errorf("%s: %d warnings, want %d: %s", name, got, c.want, out.String())
		}
	}
}
