//go:build !linux

package stdio

import "os"

// traces are not known here: who leaves the group of its program outlives it.
type traces struct{}

func tracesOf(string, ...*os.File) traces { return traces{} }
