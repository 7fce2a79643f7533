package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// drainTime is how long calls under way may take to end after the server was told to stop.
const drainTime = 10 * time.Second

type drainKey struct{}

// Serve answers Connect, gRPC and JSON on one port until ctx ends: HTTP/1.1 and HTTP/2 without TLS, or TLS as tlsConfig says. Then it stops
// listening, ends streams at once, gives other calls ten seconds, and returns nil. It owns and closes ln.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, tlsConfig *tls.Config) error {
	base, abort := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), drainKey{}, ctx))
	defer abort()
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          errorLog(h),
		BaseContext:       func(net.Listener) context.Context { return base },
		Protocols:         new(http.Protocols),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 1000, SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
	server.Protocols.SetHTTP1(true)
	if tlsConfig == nil {
		server.Protocols.SetUnencryptedHTTP2(true)
	} else {
		server.Protocols.SetHTTP2(true)
		server.TLSConfig = tlsConfig.Clone()
	}
	served := make(chan error, 1)
	go func() {
		if tlsConfig == nil {
			served <- server.Serve(ln)
			return
		}
		served <- server.ServeTLS(ln, "", "")
	}()
	select {
	case err := <-served:
		return errors.Join(err, server.Close())
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		abort()
		err = server.Close()
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// errorLog takes what net/http has to say of broken connections, at debug level: scanners must not fill the log.
func errorLog(h http.Handler) *log.Logger {
	m, ok := h.(*Mux)
	if !ok {
		return log.New(io.Discard, "", 0)
	}
	return slog.NewLogLogger(m.cfg.Log.Handler(), slog.LevelDebug)
}
