//go:build !linux

package clock

import "time"

// NewSteady returns the time since this moment, whatever anybody sets the clock to.
func NewSteady() func() time.Duration {
	began := time.Now()
	return func() time.Duration { return time.Since(began) }
}
