//go:build !external

package kafkatest

import "testing"

// external needs a broker's programs, which only the build tag external promises.
func external(*testing.T, func(*testing.T, *Broker)) {}
