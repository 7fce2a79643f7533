// Package dev runs all of Headgate in one process for trying it out: the six services with their embedded stores, a broker on loopback,
// and, unless told otherwise, demo servers and demo people.
package dev

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"headgate.dev/libs/fault"
)

// Options are the flags of headgate dev.
type Options struct {
	Listen    string   // of the MCP endpoints
	APIListen string   // of everything else
	Metrics   string   // of the diagnostics
	Data      string   // folder that keeps everything
	Ephemeral bool     // keep nothing
	NoDemo    bool     // no demo servers, people and policies
	Files     []string // resources to apply; the programs of servers in them may run exactly as they are there
	// AllowCommands are further programs that servers may be, each a path or name, or a JSON array of the beginning of a command.
	AllowCommands []string
	ReadyFile     string // written when everything answers
	Log           slog.Level
	Out           io.Writer
	Err           io.Writer
}

// home is the data folder, held by this process alone.
type home struct {
	dir     string
	lock    *os.File
	discard bool
}

func openHome(o Options) (*home, error) {
	h := &home{dir: o.Data, discard: o.Ephemeral}
	if o.Ephemeral {
		dir, err := os.MkdirTemp("", "headgate-dev-")
		if err != nil {
			return nil, err
		}
		h.dir = dir
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, fault.Invalid("The data folder %s cannot be made: %s. Choose another with --data.", h.dir, err)
	}
	lock, err := os.OpenFile(filepath.Join(h.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.Invalid("The data folder %s cannot be written: %s. Choose another with --data.", h.dir, err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fault.Invalid("The data folder %s is in use by another headgate dev. Stop that one, choose another folder with --data, or use --ephemeral.", h.dir)
	}
	h.lock = lock
	return h, nil
}

func (h *home) path(parts ...string) string {
	return filepath.Join(append([]string{h.dir}, parts...)...)
}

func (h *home) close() error {
	err := h.lock.Close()
	if h.discard {
		err = errors.Join(err, os.RemoveAll(h.dir))
	}
	return err
}

// listeners are the ports that people and agents connect to. They are taken before anything is made on disk: a port in use leaves nothing behind.
type listeners struct{ mcp, api, metrics net.Listener }

func listen(o Options) (*listeners, error) {
	var l listeners
	for _, one := range []struct {
		at   *net.Listener
		flag string
		addr string
	}{{&l.mcp, "--listen", o.Listen}, {&l.api, "--api-listen", o.APIListen}, {&l.metrics, "--metrics-listen", o.Metrics}} {
		listener, err := net.Listen("tcp", one.addr)
		if err != nil {
			l.close()
			return nil, unusable(one.flag, one.addr, err)
		}
		*one.at = listener
	}
	return &l, nil
}

func unusable(flag, address string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fault.Invalid("%s is in use. Give another port with %s, or 127.0.0.1:0 for a free one.", address, flag)
	}
	return fault.Invalid("%q cannot be listened on: %s. Give host:port with %s, as 127.0.0.1:0 for a free port.", address, err, flag).Because(err)
}

func (l *listeners) close() {
	for _, listener := range []net.Listener{l.mcp, l.api, l.metrics} {
		if listener != nil {
			_ = listener.Close()
		}
	}
}

func base(listener net.Listener) string { return "http://" + listener.Addr().String() }
