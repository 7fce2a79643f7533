package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"headgate.dev/tools/proc"
)

// streamRow is what idle streams cost the edge.
type streamRow struct {
	Era     string `json:"era"`
	Method  string `json:"method"`
	Streams int    `json:"streams"`
	// KiB of memory for each stream: resident, after the collector was quiet; and what of it is the program's own live data.
	KiB     float64 `json:"kib_per_stream"`
	LiveKiB float64 `json:"live_kib_per_stream"`
	// Idle is the share of one processor that the edge takes while nothing is said.
	Idle float64 `json:"idle_processor_share"`
	// Lost is how many were not open any more at the end.
	Lost int `json:"streams_lost"`
}

const (
	// perAddress is how many connections come from one loopback address, so that its ports do not run out.
	perAddress = 4000
	openers    = 32
	idleFor    = 5 * time.Second
)

// streams opens idle streams of each kind at an edge that did nothing before.
func streams(ctx context.Context, f *field, c *config, r *report) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	count := min(c.streams, int(limit.Max)-1000)
	for _, e := range c.eras {
		door, err := f.fresh()
		if err != nil {
			return err
		}
		row, err := door.idle(ctx, e, count)
		if err != nil {
			return err
		}
		r.Streams = append(r.Streams, row)
	}
	return nil
}

// fresh starts the first edge anew and answers it.
func (f *field) fresh() (target, error) {
	at := slices.IndexFunc(f.targets, target.gate)
	t := f.targets[at]
	f.stack.Process(t.process).Stop()
	if err := f.stack.Run(t.process); err != nil {
		return t, err
	}
	if err := f.stack.WaitReady(t.process); err != nil {
		return t, err
	}
	t.pid = f.stack.Process(t.process).PID()
	for i := range f.targets {
		if f.targets[i].process == t.process {
			f.targets[i].pid = t.pid
		}
	}
	return t, nil
}

// idle opens streams and says what they cost.
func (t target) idle(ctx context.Context, e era, count int) (streamRow, error) {
	row := streamRow{Era: e.name, Method: "GET", Streams: count}
	if e == modern {
		row.Method = "subscriptions/listen"
	}
	opening := opening{to: t, era: e}
	first, err := opening.one(ctx, 0) // what the first of them makes is not a stream's
	if err != nil {
		return row, err
	}
	defer func() { _ = first.Close() }()
	before, err := t.quiet(ctx)
	if err != nil {
		return row, err
	}
	conns, err := opening.all(ctx, count)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	if err != nil {
		return row, err
	}
	after, err := t.quiet(ctx)
	if err != nil {
		return row, err
	}
	row.KiB = float64(after.pss-before.pss) / 1024 / float64(count)
	row.LiveKiB = (after.live - before.live) / 1024 / float64(count)
	used, err := proc.CPU(t.pid)
	if err != nil {
		return row, err
	}
	select {
	case <-time.After(idleFor):
	case <-ctx.Done():
		return row, ctx.Err()
	}
	since, err := proc.CPU(t.pid)
	row.Idle = float64(since-used) / float64(idleFor)
	for _, conn := range conns {
		if !stands(conn) {
			row.Lost++
		}
	}
	return row, err
}

// held is the memory of an edge when its collector is quiet.
type held struct {
	pss  int64
	live float64
}

// quiet has the edge collect its garbage and waits until its memory does not change any more, for half a minute at most.
func (t target) quiet(ctx context.Context) (held, error) {
	var last held
	for range 15 {
		for range 2 { // what a first collection finds dead in pools, the second frees
			response, err := http.Get("http://" + t.stats + "/debug/pprof/heap?gc=1")
			if err != nil {
				return last, err
			}
			_, err = io.Copy(io.Discard, response.Body)
			if err := errors.Join(err, response.Body.Close()); err != nil {
				return last, err
			}
		}
		select {
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return last, ctx.Err()
		}
		m, err := proc.MemoryOf(t.pid)
		if err != nil {
			return last, err
		}
		live, err := stat(t.stats, statHeap, statStacks)
		if err != nil {
			return last, err
		}
		change := m.PSS - last.pss
		last = held{pss: m.PSS, live: live[statHeap] + live[statStacks]}
		if max(change, -change) < m.PSS/200 {
			break
		}
	}
	return last, nil
}

// opening opens streams of one kind.
type opening struct {
	to  target
	era era
}

// all opens many streams, some at once. What was opened is answered also with an error.
func (o opening) all(ctx context.Context, count int) ([]net.Conn, error) {
	var mu sync.Mutex
	var conns []net.Conn
	var failed error
	numbers := make(chan int)
	var group sync.WaitGroup
	for range openers {
		group.Go(func() {
			for number := range numbers {
				conn, err := o.one(ctx, number)
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					conns = append(conns, conn)
				}
				mu.Unlock()
			}
		})
	}
	for number := range count {
		mu.Lock()
		stop := failed != nil
		mu.Unlock()
		if stop {
			break
		}
		numbers <- number + 1
	}
	close(numbers)
	group.Wait()
	return conns, failed
}

// one opens one stream and reads until it stands.
func (o opening) one(ctx context.Context, number int) (net.Conn, error) {
	to, err := url.Parse(o.to.url)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+number/perAddress))}}
	conn, err := dialer.DialContext(ctx, "tcp", to.Host)
	if err != nil {
		return nil, err
	}
	if err := o.begin(conn, to, number); err != nil {
		return nil, errors.Join(fmt.Errorf("stream %d: %w", number, err), conn.Close())
	}
	return conn, conn.SetDeadline(time.Time{})
}

func (o opening) begin(conn net.Conn, to *url.URL, number int) error {
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	reader := bufio.NewReaderSize(conn, 1024)
	common := " " + to.Path + " HTTP/1.1\r\nHost: " + to.Host + "\r\nAuthorization: Bearer " + o.to.token + "\r\nMCP-Protocol-Version: " + o.era.name + "\r\n"
	post := "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
	if o.era == modern {
		body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},%s}}`, number, modern.meta)
		head := "POST" + common + post + fmt.Sprintf("Mcp-Method: subscriptions/listen\r\nContent-Length: %d\r\n\r\n", len(body))
		if _, err := io.WriteString(conn, head+body); err != nil {
			return err
		}
		return standing(reader, "notifications/subscriptions/acknowledged")
	}
	body := `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`
	if _, err := io.WriteString(conn, "POST"+common+post+fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))+body); err != nil {
		return err
	}
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return err
	}
	said, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	session := response.Header.Get("Mcp-Session-Id")
	if session == "" {
		return fmt.Errorf("initialize was answered %d %.200s without a session", response.StatusCode, said)
	}
	if _, err := io.WriteString(conn, "GET"+common+"Accept: text/event-stream\r\nMcp-Session-Id: "+session+"\r\n\r\n"); err != nil {
		return err
	}
	return standing(reader, "")
}

// standing reads the head of a stream, and its first event where one must come.
func standing(reader *bufio.Reader, event string) error {
	status, err := reader.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.Contains(status, " 200 ") {
		rest, _ := io.ReadAll(io.LimitReader(reader, 500))
		return fmt.Errorf("a stream was answered %s%s", status, rest)
	}
	for line := "."; line != "\r\n"; {
		if line, err = reader.ReadString('\n'); err != nil {
			return err
		}
	}
	for line := ""; event != "" && !strings.Contains(line, event); {
		if line, err = reader.ReadString('\n'); err != nil {
			return err
		}
	}
	return nil
}

// stands reports whether a connection was not closed from the other side.
func stands(conn net.Conn) bool {
	var b [512]byte
	for {
		if conn.SetReadDeadline(time.Now().Add(time.Microsecond)) != nil {
			return false
		}
		if _, err := conn.Read(b[:]); err != nil {
			return errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}
