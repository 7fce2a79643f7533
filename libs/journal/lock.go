package journal

import (
	"errors"
	"os"

	"headgate.dev/libs/dirlock"
	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// lockDir keeps other processes out.
func lockDir(dir string) (*os.File, error) {
	f, err := dirlock.Take(dir)
	if held, ok := errors.AsType[*dirlock.Held](err); ok {
		return nil, fault.New(faultv1.Reason_REASON_CONFLICT, "The journal directory %s is in use by process %s. Stop that process or name another directory.",
			dir, held.Process)
	}
	if err != nil {
		return nil, unusable(dir, err)
	}
	return f, nil
}
