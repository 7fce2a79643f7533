// Package beside is how other data planes on the same machine ask the edge about requests that they carry themselves: an address that no network reaches,
// because tokens and credentials are in the questions and answers in the clear, and a gRPC server at it.
package beside

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"headgate.dev/libs/fault"
)

// maxMessage is what one question may have, in bytes: a body of the edge's largest, and its headers.
const maxMessage = 8 << 20

// Listen opens the address of a field of the configuration: unix:PATH, or HOST:PORT of this machine.
func Listen(ctx context.Context, field, address string) (net.Listener, error) {
	if err := Check(field, address); err != nil {
		return nil, err
	}
	network, at := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, at = "unix", path
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, network, at)
	if err != nil && network == "unix" && abandoned(ctx, at) && os.Remove(at) == nil {
		ln, err = lc.Listen(ctx, network, at)
	}
	if err != nil {
		return nil, fault.Invalid("The edge cannot listen on %s %s: is something else running there?", field, address).Because(err)
	}
	return ln, nil
}

// abandoned reports whether a path is a socket that nobody listens on: an edge that was killed leaves its own.
func abandoned(ctx context.Context, path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// Check refuses an address that Listen does not take.
func Check(field, address string) error {
	if strings.HasPrefix(address, "unix:") {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fault.Invalid("%s must be unix:PATH or an address of this machine, as 127.0.0.1:9191, not %q: tokens and credentials would cross the network "+
		"in the clear. Let the other data plane run beside the edge.", field, address)
}

// Serve answers until ctx ends and those under way have their answers, or grace is over.
func Serve(ctx context.Context, ln net.Listener, register func(*grpc.Server), grace time.Duration) error {
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
	register(server)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		cut := time.AfterFunc(grace, server.Stop)
		defer cut.Stop()
		server.GracefulStop()
	})
	err := server.Serve(ln)
	if !stop() {
		<-stopped
	}
	return err
}

// Bearer answers the token of an Authorization header; empty for anything else, two headers in one included.
func Bearer(value string) string {
	scheme, token, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.ContainsAny(token, " ,") {
		return ""
	}
	return token
}
