// Package proc starts programs for tests and benchmarks, ends them by process id, and reads what they cost.
package proc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a started program. Its output goes to a file.
type Process struct {
	Cmd  *exec.Cmd
	Log  string
	done chan struct{}
}

// Start runs a program with its output in logFile. The program dies with its parent.
func Start(logFile string, env []string, name string, args ...string) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(logFile), 0o700); err != nil {
		return nil, err
	}
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Cmd: cmd, Log: logFile, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// PID is its process id.
func (p *Process) PID() int { return p.Cmd.Process.Pid }

// Signal sends a signal to the program.
func (p *Process) Signal(sig syscall.Signal) error { return p.Cmd.Process.Signal(sig) }

// Kill ends it at once and waits until it is gone.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill()
	<-p.done
}

// Stop asks it to end and kills it when it has not after ten seconds.
func (p *Process) Stop() {
	_ = p.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.Kill()
	}
}

// Tail is the end of what it printed.
func (p *Process) Tail() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// WaitFile waits until the file is there and not empty, or the program ended, or the limit passed.
func (p *Process) WaitFile(path string, limit time.Duration) ([]byte, error) {
	deadline := time.After(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, err := os.ReadFile(path); err == nil && len(bytes.TrimSpace(text)) > 0 {
			return text, nil
		}
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended: %s", p.Cmd.Path, p.Tail())
		case <-deadline:
			return nil, fmt.Errorf("%s did not write %s within %s: %s", p.Cmd.Path, path, limit, p.Tail())
		case <-tick.C:
		}
	}
}

// CPU is the time that a process has spent on processors so far.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in brackets may hold spaces: count fields after it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const utime, stime, ticksPerSecond = 11, 12, 100
	user, err := strconv.ParseInt(fields[utime], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[stime], 10, 64)
	if err != nil {
		return 0, err
	}
	return time.Duration(user+system) * time.Second / ticksPerSecond, nil
}

// Memory is what a process holds of the machine's, in bytes.
type Memory struct {
	// RSS is resident; Anonymous is the part of it that is not read from files, such as the program itself.
	RSS, Anonymous int64
	// PSS counts what is shared with other processes in parts.
	PSS int64
}

// MemoryOf reads what a process holds. A service is closed to others of its user, so that who is not root sees no shares of it: then PSS is RSS.
func MemoryOf(pid int) (Memory, error) {
	var m Memory
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	fields := map[string]*int64{"Rss": &m.RSS, "Pss": &m.PSS, "Anonymous": &m.Anonymous}
	if errors.Is(err, os.ErrPermission) {
		text, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		fields = map[string]*int64{"VmRSS": &m.RSS, "RssAnon": &m.Anonymous}
	}
	if err != nil {
		return Memory{}, err
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		name, rest, ok := strings.Cut(line, ":")
		into := fields[name]
		if !ok || into == nil {
			continue
		}
		kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		if err != nil {
			return m, err
		}
		*into = kb * 1024
	}
	if m.RSS == 0 {
		return m, fmt.Errorf("process %d says nothing of its memory", pid)
	}
	m.PSS = cmp.Or(m.PSS, m.RSS)
	return m, nil
}

// Family is a process and those that it started.
func Family(pid int) []int {
	all := []int{pid}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return all
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		for child := range strings.FieldsSeq(string(text)) {
			if number, err := strconv.Atoi(child); err == nil {
				all = append(all, Family(number)...)
			}
		}
	}
	return all
}
