package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
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
		family := []int{pid}
		if name == "nginx" {
			family = proc.Family(pid)
		}
		for _, one := range family {
			used, err := proc.CPU(one)
			if err != nil {
				return u, err
			}
			u.each[name] += used
		}
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

// machine is what figures were taken on.
type machine struct {
	Processors int    `json:"processors"`
	System     string `json:"system"`
	Go         string `json:"go"`
}

func here() machine {
	return machine{Processors: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
}

// The names under which every Go process of the run says what it allocated, and edges what they wrote.
const (
	statMallocs = "go_memstats_mallocs_total"
	statBytes   = "go_memstats_alloc_bytes_total"
	statHeap    = "go_memstats_heap_inuse_bytes"
	statStacks  = "go_memstats_stack_inuse_bytes"
	statWritten = "headgate_journal_written_records"
	statShipped = "headgate_journal_shipped_records"
)

// stat reads numbers that a process says of itself.
func stat(address string, names ...string) (map[string]float64, error) {
	response, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	out := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || !slices.Contains(names, name) {
			continue
		}
		if out[name], err = strconv.ParseFloat(value, 64); err != nil {
			return nil, err
		}
	}
	if len(out) < len(names) {
		return nil, fmt.Errorf("http://%s/metrics does not say all of %s", address, strings.Join(names, ", "))
	}
	return out, lines.Err()
}

// edges are where the edges say their statistics.
func (f *field) edges() []string {
	var all []string
	for _, t := range f.targets {
		if t.gate() && !slices.Contains(all, t.stats) {
			all = append(all, t.stats)
		}
	}
	return all
}

// backlog is how many records the edges have written and not yet shipped.
func (f *field) backlog() (int64, error) {
	var left int64
	for _, address := range f.edges() {
		stats, err := stat(address, statWritten, statShipped)
		if err != nil {
			return 0, err
		}
		left += int64(stats[statWritten] - stats[statShipped])
	}
	return left, nil
}

// settled waits until everything is shipped: what is left of one measurement must not run during the next. It does not ask often, because answering
// costs the edge.
func (f *field) settled() error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if left, err := f.backlog(); err != nil || left == 0 {
			return err
		}
	}
	return fmt.Errorf("the edges' journals are not shipped within a minute")
}

// profile fetches profiles of an edge while a measurement runs: of the processor, and what was allocated since it began.
func profile(dir, name, address string, length time.Duration) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for kind, query := range map[string]string{"cpu": fmt.Sprintf("profile?seconds=%d", max(1, int(length.Seconds()))), "allocs": "allocs"} {
		if err := fetch("http://"+address+"/debug/pprof/"+query, filepath.Join(dir, name+"-"+kind+".prof")); err != nil {
			return err
		}
	}
	return nil
}

func fetch(from, file string) error {
	response, err := http.Get(from)
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
