package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// Forwarder stands on a port of this machine in front of a server and adds an access token to each request, for clients that cannot. All other bytes pass
// as they came and at once, both ways, so that who talks through it sees the server's own answers. Host and Origin pass as well, except that the forwarder's own
// address becomes the server's: a foreign one reaches the server as a foreign one.
type Forwarder struct {
	// Address is the host and port that it listens on.
	Address  string
	target   string
	token    string
	listener net.Listener
	mu       sync.Mutex
	open     map[net.Conn]struct{}
	closed   bool
	tasks    sync.WaitGroup
}

// Forward starts a forwarder to the server at target, host and port. Close ends it.
func Forward(target, token string) (*Forwarder, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &Forwarder{Address: listener.Addr().String(), target: target, token: token, listener: listener, open: map[net.Conn]struct{}{}}
	f.tasks.Go(f.accept)
	return f, nil
}

// Close ends all connections and waits until nothing runs any more.
func (f *Forwarder) Close() error {
	err := f.listener.Close()
	f.mu.Lock()
	f.closed = true
	for conn := range f.open {
		_ = conn.Close()
	}
	f.mu.Unlock()
	f.tasks.Wait()
	return err
}

func (f *Forwarder) accept() {
	for {
		client, err := f.listener.Accept()
		if err != nil {
			return
		}
		f.tasks.Go(func() { f.serve(client) })
	}
}

// keep remembers a connection for Close; false means that it came too late.
func (f *Forwarder) keep(conn net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.open[conn] = struct{}{}
	}
	return !f.closed
}

func (f *Forwarder) end(conns ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
		delete(f.open, conn)
	}
}

// serve carries one connection of a client over one to the server. When either side closes, both are closed.
func (f *Forwarder) serve(client net.Conn) {
	defer f.end(client)
	if !f.keep(client) {
		return
	}
	server, err := net.Dial("tcp", f.target)
	if err != nil {
		return
	}
	defer f.end(server)
	if !f.keep(server) {
		return
	}
	f.tasks.Go(func() {
		_, _ = io.Copy(client, server)
		f.end(client, server)
	})
	reader := bufio.NewReader(client)
	for {
		if err := f.request(reader, server); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				_, _ = fmt.Fprintf(client, "HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(err.Error()), err)
			}
			return
		}
	}
}

// request passes one request on. Its body is as long as Content-Length says.
func (f *Forwarder) request(from *bufio.Reader, to io.Writer) error {
	var head bytes.Buffer
	var length int64
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			return err
		}
		if strings.TrimRight(line, "\r\n") == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.ToLower(name) {
		case "host", "origin":
			line = strings.Replace(line, f.Address, f.target, 1)
		case "content-length":
			if length, err = strconv.ParseInt(value, 10, 64); err != nil {
				return err
			}
		case "transfer-encoding":
			return errors.New("the forwarder takes only bodies with a Content-Length")
		}
		head.WriteString(line)
	}
	head.WriteString("Authorization: Bearer " + f.token + "\r\n\r\n")
	if _, err := head.WriteTo(to); err != nil {
		return err
	}
	_, err := io.CopyN(to, from, length)
	return err
}
