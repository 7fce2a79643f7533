package policy_test

import (
	"syscall"
	"testing"
	"time"
)

// used is the processor time of this process so far: on a busy machine, what a call costs is not how long it takes.
func used(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
