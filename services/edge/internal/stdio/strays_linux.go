package stdio

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// traces are what processes keep of the program that they came from when they leave its group: the ends of its pipes, and the folder that is its own.
type traces struct {
	pipes  []string // as the links of /proc name them
	folder string   // empty where it was declared: others may be there too
	group  int      // the group of the program, which ends by itself
}

func tracesOf(folder string, files ...*os.File) traces {
	t := traces{folder: folder}
	for _, file := range files {
		var about unix.Stat_t
		if unix.Fstat(int(file.Fd()), &about) == nil {
			t.pipes = append(t.pipes, "pipe:["+strconv.FormatUint(about.Ino, 10)+"]")
		}
	}
	return t
}

// mostSweeps is how often it is looked for processes that left the group; each time finds what those of the last one started meanwhile.
const mostSweeps = 4

// sweep ends the processes that came from a program, left its group and can be known by its traces. It returns how many there were.
func (t traces) sweep() int {
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0
	}
	all := 0
	for range mostSweeps {
		ended := 0
		for _, pid := range running() {
			if t.end(pid, own) {
				ended++
			}
		}
		if all += ended; ended == 0 {
			break
		}
	}
	return all
}

// running are the processes of this machine, but for this one.
func running() []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = proc.Close() }()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// end ends one process if it has a trace. The handle is taken before it is looked at: the number may be another's after.
func (t traces) end(pid int, own string) bool {
	handle, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(handle) }()
	if group, err := unix.Getpgid(pid); err != nil || group == t.group {
		return false
	}
	return t.left(filepath.Join("/proc", strconv.Itoa(pid)), own) && unix.PidfdSendSignal(handle, unix.SIGKILL, nil, 0) == nil
}

// left reports whether a process has a trace. One that still is a copy of the edge itself is about to become another program.
func (t traces) left(at, own string) bool {
	if exe, err := os.Readlink(filepath.Join(at, "exe")); err != nil || exe == own && !started(at) {
		return false
	}
	if in, err := os.Readlink(filepath.Join(at, "cwd")); err == nil && t.folder != "" && strings.TrimSuffix(in, " (deleted)") == t.folder {
		return true
	}
	files, err := os.ReadDir(filepath.Join(at, "fd"))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(files, func(file fs.DirEntry) bool {
		to, err := os.Readlink(filepath.Join(at, "fd", file.Name()))
		return err == nil && slices.Contains(t.pipes, to)
	})
}

// started reports whether a process has other arguments than this one, so that it was started and is no copy.
func started(at string) bool {
	theirs, err := os.ReadFile(filepath.Join(at, "cmdline"))
	ours, also := os.ReadFile("/proc/self/cmdline")
	return errors.Join(err, also) == nil && !bytes.Equal(theirs, ours)
}
