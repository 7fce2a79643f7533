package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"headgate.dev/tools/proc"
)

// usage is what processors were used for until a moment.
type usage struct {
	at   time.Time
	busy time.Duration            // of the whole machine, without interrupts
	each map[string]time.Duration // of the processes of this run
}

// use reads what the machine and the run's processes have used so far.
func (f *field) use() (usage, error) {
	u := usage{at: time.Now(), each: map[string]time.Duration{}}
	for name, pid := range f.pids() {
		used, err := proc.CPU(pid)
		if err != nil {
			return u, err
		}
		u.each[name] = used
	}
	var err error
	u.busy, err = busy()
	return u, err
}

// since is what was used between two moments; foreign is the share of the machine that processes of others took.
func (u usage) since(before usage) (spent usage, foreign float64) {
	spent = usage{busy: u.busy - before.busy, each: map[string]time.Duration{}}
	others := spent.busy
	for name, used := range u.each {
		spent.each[name] = used - before.each[name]
		others -= spent.each[name]
	}
	capacity := u.at.Sub(before.at) * time.Duration(runtime.NumCPU())
	return spent, max(0, float64(others)/float64(capacity))
}

// pids are all processes of the run by name.
func (f *field) pids() map[string]int {
	all := map[string]int{"load": os.Getpid()}
	for _, t := range f.targets {
		if t.pid != 0 {
			all[t.process] = t.pid
		}
	}
	if f.stack != nil {
		for _, name := range append(f.stack.Names(), "broker") {
			all[name] = f.stack.Process(name).PID()
		}
	}
	return all
}

// busy is the time that all processors have spent on processes since the machine began.
func busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 4 {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	const ticksPerSecond = 100
	var sum int64
	for _, field := range fields[1:4] { // user, nice, system
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += ticks
	}
	return time.Duration(sum) * time.Second / ticksPerSecond, nil
}

// diagnostics is the address of the edge's diagnostics.
func diagnostics(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "edge.yaml"))
	if err != nil {
		return "", err
	}
	var config struct {
		Diagnostics string `json:"diagnostics"`
	}
	return config.Diagnostics, json.Unmarshal(text, &config)
}

// backlog is how many records the edge has written and not yet shipped.
func (f *field) backlog() (int64, error) {
	response, err := http.Get("http://" + f.diagnostics + "/metrics")
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	var written, shipped float64
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "headgate_journal_written_records "); ok {
			written, err = strconv.ParseFloat(text, 64)
		} else if text, ok := strings.CutPrefix(lines.Text(), "headgate_journal_shipped_records "); ok {
			shipped, err = strconv.ParseFloat(text, 64)
		}
		if err != nil {
			return 0, err
		}
	}
	return int64(written - shipped), lines.Err()
}

// settled waits until everything is shipped: what is left of one measurement must not run during the next.
func (f *field) settled() error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if left, err := f.backlog(); err != nil || left == 0 {
			return err
		}
	}
	return fmt.Errorf("the edge's journal is not shipped within a minute")
}

// profile fetches a processor profile of the edge while a measurement runs.
func (f *field) profile(file string, length time.Duration) error {
	response, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", f.diagnostics, max(1, int(length.Seconds()))))
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, response.Body)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}
