//go:build external

package kafkatest

import "testing"

func external(t *testing.T, run func(t *testing.T, b *Broker)) {
	t.Helper()
	t.Run("kafka", func(t *testing.T) { run(t, Real(t)) })
}
