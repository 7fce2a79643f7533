package dirlock_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"headgate.dev/libs/dirlock"
)

func TestADirectoryIsForOneAtATime(t *testing.T) {
	dir := t.TempDir()
	first, err := dirlock.Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = dirlock.Take(dir)
	if held, ok := errors.AsType[*dirlock.Held](err); !ok || held.Process != strconv.Itoa(os.Getpid()) {
		t.Errorf("taken twice: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := dirlock.Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = dirlock.Take(filepath.Join(dir, "none"))
	if _, held := errors.AsType[*dirlock.Held](err); held || err == nil {
		t.Errorf("a directory that is not there: %v", err)
	}
}
