package journal

import (
	"errors"
	"syscall"
	"testing"

	"headgate.dev/libs/fault"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func TestADiskThatDoesNotTakeWhatIsInMemoryIsAnErrorAndNotTheEnd(t *testing.T) {
	w := openAt(t, Config{Dir: t.TempDir()})
	mustAppend(t, w, call("", "1", start))
	s := w.segments[len(w.segments)-1]
	if len(s.window.bytes) == 0 {
		t.Fatal("the file is not in memory")
	}
	// Without its file, memory cannot be written: the processor says so as it does for a disk that fails.
	if err := s.file.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(call("", "2", start), Spool); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) || !errors.Is(err, syscall.EIO) {
		t.Errorf("it was taken: %v", err)
	}
	if err := w.Append(call("", "3", start), Spool); !fault.Is(err, faultv1.Reason_REASON_JOURNAL) {
		t.Errorf("a journal that cannot be trusted takes another record: %v", err)
	}
	if status := w.Status(); status.Written != 1 {
		t.Errorf("%+v", status)
	}
}
