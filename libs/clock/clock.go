// Package clock passes time in as a value, so that everything that depends on it can be tested without waiting.
package clock

import "time"

// Now tells the time.
type Now func() time.Time

// System is the machine's clock in UTC.
func System() time.Time { return time.Now().UTC() }

// Fixed is a clock that stands still.
func Fixed(t time.Time) Now { return func() time.Time { return t } }
