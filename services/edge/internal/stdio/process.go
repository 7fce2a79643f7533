package stdio

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const (
	// queued is how many messages wait for a process that does not read.
	queued = 16
	// stuck is how long a process may not read before it counts as hung.
	stuck = time.Minute
	// lastWords is how long a process that ended may still be read from.
	lastWords = time.Second
)

// Process is one running server. Send is safe for concurrent use, Receive is for one goroutine.
type Process struct {
	launcher *Launcher
	log      *slog.Logger
	limits   Options

	cmd   *exec.Cmd
	in    *os.File // what it reads
	out   *os.File // what it writes
	err   *os.File // what it says of itself
	lines *mcp.LineReader
	began time.Time
	// traces are by whom its group left is found.
	traces traces

	outgoing chan []byte
	leaving  chan struct{} // closed when it shall end
	gone     chan struct{} // closed when it and its group have ended
	end      error         // how it ended, and whether it was asked to; set before gone is closed
	asked    bool
	leave    sync.Once
	all      sync.WaitGroup

	mu     sync.Mutex
	reaped bool // its number may be another's from now on
}

// pipes are both ends of the three streams of a process.
type pipes struct {
	inR, inW, outR, outW, errR, errW *os.File
}

func newPipes() (p pipes, err error) {
	for _, pair := range []struct{ r, w **os.File }{{&p.inR, &p.inW}, {&p.outR, &p.outW}, {&p.errR, &p.errW}} {
		if *pair.r, *pair.w, err = os.Pipe(); err != nil {
			p.close(p.inR, p.inW, p.outR, p.outW, p.errR, p.errW)
			return p, err
		}
	}
	return p, nil
}

func (pipes) close(files ...*os.File) {
	for _, file := range files {
		if file != nil {
			_ = file.Close()
		}
	}
}

// Start starts a program for a server of a tenant. It does not wait for the server to speak.
func (l *Launcher) Start(tenant, server string, program Program) (*Process, error) {
	if err := l.take(server); err != nil {
		return nil, err
	}
	p, err := l.start(tenant, server, program)
	if err != nil {
		l.give()
		return nil, fault.New(faultv1.Reason_REASON_UPSTREAM, "The server %s could not be started on this edge. Its operator finds why in the log.", server).Because(err)
	}
	return p, nil
}

func (l *Launcher) start(tenant, server string, program Program) (*Process, error) {
	if l.unusable != nil {
		return nil, l.unusable
	}
	dir, remove, err := l.folder(program.command.Directory)
	if err != nil {
		return nil, err
	}
	streams, err := newPipes()
	if err != nil {
		remove()
		return nil, err
	}
	p := &Process{
		launcher: l, log: l.log.With("tenant", tenant, "server", server), limits: l.options, in: streams.inW, out: streams.outR, err: streams.errR,
		lines: mcp.NewLineReader(streams.outR, l.options.MaxLine), outgoing: make(chan []byte, queued), leaving: make(chan struct{}),
		gone: make(chan struct{}), began: time.Now(),
	}
	own := dir
	if program.command.Directory != "" {
		own = ""
	}
	p.traces = tracesOf(own, streams.inR, streams.outW, streams.errW) // the ends that it gets: both of a pipe have one number
	p.cmd = &exec.Cmd{
		Path: program.path, Args: program.command.Command, Env: environment(program.command, l.at(dir)), Dir: dir,
		Stdin: streams.inR, Stdout: streams.outW, Stderr: streams.errW, SysProcAttr: ownGroup(),
	}
	started := make(chan error, 1)
	p.all.Go(func() { p.live(started, remove) })
	err = <-started
	streams.close(streams.inR, streams.outW, streams.errW)
	if err != nil {
		p.all.Wait()
		streams.close(streams.inW, streams.outR, streams.errR)
		l.log.Error("a server cannot be started", "tenant", tenant, "server", server, "error", err)
		return nil, err
	}
	said := &stderr{log: p.log, redact: redactor(program.command, l.options.Lookup), tells: newTelltale(), now: time.Now}
	p.all.Go(func() { p.listen(said) })
	p.all.Go(p.write)
	p.all.Go(p.finish)
	p.log.Info("a server is started", "pid", p.cmd.Process.Pid)
	return p, nil
}

// folder is where a process runs: the declared one, or a new one of its own.
func (l *Launcher) folder(declared string) (dir string, remove func(), err error) {
	if declared != "" {
		return declared, func() {}, nil
	}
	if dir, err = os.MkdirTemp("", "headgate-server-"); err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	if err := l.owner.own(dir); err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, nil
}

// at finds the edge's own variables for a process in a folder, which is the home of one that runs as another user.
func (l *Launcher) at(dir string) Lookup {
	if l.owner == (owner{}) {
		return l.options.Lookup
	}
	return func(name string) (string, bool) {
		if name == "HOME" {
			return dir, true
		}
		return l.options.Lookup(name)
	}
}

// live starts the process and stays until it and its group have ended. The system ends the process when the thread that started it ends, so the
// thread is kept.
func (p *Process) live(started chan<- error, remove func()) {
	defer remove()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.launcher.owner.become(p.cmd.SysProcAttr)
	if err == nil {
		err = p.cmd.Start()
	}
	started <- err
	if err != nil {
		return
	}
	p.end = p.wait()
	select {
	case <-p.leaving:
		p.asked = true
	default:
	}
	// Somebody who left the group may hold the other ends forever.
	_ = p.out.SetReadDeadline(time.Now().Add(lastWords))
	_ = p.err.SetReadDeadline(time.Now().Add(lastWords))
	p.launcher.give()
	close(p.gone)
}

// listen keeps what the process says of itself, and says how it ended.
func (p *Process) listen(said *stderr) {
	said.read(p.err)
	_ = p.err.Close()
	<-p.gone
	if p.asked {
		p.log.Info("a server ended", "pid", p.cmd.Process.Pid)
		return
	}
	p.log.Warn("a server ended by itself", "pid", p.cmd.Process.Pid, "ran", time.Since(p.began).Round(time.Millisecond), "how", how(p.end), "said", said.lines())
}

// how names the way in which a process ended.
func how(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// reap says that the number of the process may be another's from now on.
func (p *Process) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
}

// signal sends a signal to the group of the process, unless it has ended.
func (p *Process) signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		signalGroup(p.cmd.Process, s)
	}
}

// write brings messages to the process, one after the other and each whole, whoever still waits for its answer.
func (p *Process) write() {
	defer func() { _ = p.in.Close() }() // the sign to leave
	for {
		select {
		case <-p.leaving:
			return
		case <-p.gone:
			return
		case line := <-p.outgoing:
			err := p.in.SetWriteDeadline(time.Now().Add(stuck))
			if err == nil {
				_, err = p.in.Write(line)
			}
			if err == nil {
				continue
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				p.log.Error("a server does not read its input and is ended", "pid", p.cmd.Process.Pid)
			}
			p.goAway()
			return
		}
	}
}

// finish ends the process in steps once it shall leave: its input is closed, it is told to end, it is ended.
func (p *Process) finish() {
	select {
	case <-p.gone:
		return
	case <-p.leaving:
	}
	for _, step := range []struct {
		wait   time.Duration
		signal os.Signal
	}{{p.limits.Leave, termSignal()}, {p.limits.Term, killSignal()}} {
		timer := time.NewTimer(step.wait)
		select {
		case <-p.gone:
			timer.Stop()
			return
		case <-timer.C:
			p.signal(step.signal)
		}
	}
	<-p.gone
}

func (p *Process) goAway() { p.leave.Do(func() { close(p.leaving) }) }

// ErrEnded says that the process has ended, or shall.
var ErrEnded = errors.New("the server's process has ended")

// Send gives the process one message. It is written whole even when ctx ends meanwhile.
func (p *Process) Send(ctx context.Context, message []byte) error {
	line, err := mcp.WriteLine(message)
	if err != nil {
		return err
	}
	if p.ended() {
		return ErrEnded
	}
	select {
	case <-p.leaving:
		return ErrEnded
	case <-p.gone:
		return ErrEnded
	case <-ctx.Done():
		return ctx.Err()
	case p.outgoing <- line:
		return nil
	}
}

func (p *Process) ended() bool {
	select {
	case <-p.leaving:
		return true
	case <-p.gone:
		return true
	default:
		return false
	}
}

// Receive answers the next line that the process wrote; a *mcp.LongLineError is about one line, any other error ends the reading.
func (p *Process) Receive() ([]byte, error) {
	line, err := p.lines.Next()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
		p.mourn()
		return nil, io.EOF
	}
	return line, err
}

// mourn gives a process that says nothing more the moment that it needs to end by itself, so that the log says how it did.
func (p *Process) mourn() {
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-p.gone:
	case <-p.leaving:
	case <-timer.C:
	}
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Close ends the process with all of its group and waits until they have ended. Receive ends with it.
func (p *Process) Close() {
	p.goAway()
	<-p.gone
	_ = p.out.Close()
	p.all.Wait()
}
