package openfga

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/openfga/openfga/pkg/gateway"
	"github.com/openfga/openfga/pkg/logger"
	httpmiddleware "github.com/openfga/openfga/pkg/middleware/http"
	"github.com/openfga/openfga/pkg/middleware/validator"
	"github.com/openfga/openfga/pkg/server"
	servererrors "github.com/openfga/openfga/pkg/server/errors"
	"github.com/openfga/openfga/pkg/storage/migrate"
	"github.com/openfga/openfga/pkg/storage/sqlcommon"
	"github.com/openfga/openfga/pkg/storage/sqlite"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"headgate.dev/libs/secret"
)

// Embedded is the linked-in OpenFGA: its server and its HTTP gateway on one loopback port, behind a key that nobody else has. It is put together
// here and not by OpenFGA's run command, which would take over the process's signals, tracing and metrics and open ports of its own.
type Embedded struct {
	url   string
	token secret.String
	stop  []func()
}

const (
	connectTimeout = 10 * time.Second
	pingTimeout    = 2 * time.Second
	wireBuffer     = 1 << 20
)

// Embed runs the linked-in OpenFGA with its data in a directory. Close ends it.
func Embed(ctx context.Context, dir string, log *slog.Logger) (_ *Embedded, err error) {
	e := &Embedded{token: secret.New(randomKey())}
	defer func() {
		if err != nil {
			e.Close()
		}
	}()
	fga, err := e.openServer(dir, log)
	if err != nil {
		return nil, err
	}
	handler, err := e.serveGateway(ctx, fga)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("openfga: listen on loopback: %w", err)
	}
	front := &http.Server{Handler: e.guard(handler), ReadHeaderTimeout: pingTimeout}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := front.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the linked-in openfga stopped serving", "error", err)
		}
	}()
	e.stop = append(e.stop, func() { _ = front.Close(); <-done })
	e.url = "http://" + listener.Addr().String()
	return e, nil
}

// openServer brings the SQLite file to this version's schema and opens the server on it.
func (e *Embedded) openServer(dir string, log *slog.Logger) (*server.Server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("openfga: make the data directory: %w", err)
	}
	path, err := filepath.Abs(filepath.Join(dir, "openfga.db"))
	if err != nil {
		return nil, fmt.Errorf("openfga: find the data directory: %w", err)
	}
	// The relations are made again from the directory at every start, so a commit need not reach the disk.
	uri := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=synchronous(NORMAL)&_pragma=busy_timeout(5000)"
	zlog := &logger.ZapLogger{Logger: newZap(log)}
	err = migrate.RunMigrations(migrate.MigrationConfig{Engine: "sqlite", URI: uri, Timeout: connectTimeout, PingTimeout: pingTimeout, Logger: zlog})
	if err != nil {
		return nil, fmt.Errorf("openfga: bring %s to this version's schema: %w", path, err)
	}
	store, err := sqlite.New(uri, sqlcommon.NewConfig(sqlcommon.WithLogger(zlog), sqlcommon.WithMaxIdleConns(8)))
	if err != nil {
		return nil, fmt.Errorf("openfga: open %s: %w", path, err)
	}
	fga, err := server.NewServerWithOpts(
		server.WithDatastore(store),
		server.WithContinuationTokenSerializer(sqlcommon.NewSQLContinuationTokenSerializer()),
		server.WithLogger(zlog),
		server.WithTransport(gateway.NewRPCTransport(zlog)),
		// A list that is cut off, by number or by time, would look like rights that are gone.
		server.WithListUsersMaxResults(0),
		server.WithListObjectsDeadline(callTimeout),
		server.WithListUsersDeadline(callTimeout),
	)
	if err != nil {
		store.Close()
		return nil, fmt.Errorf("openfga: start: %w", err)
	}
	e.stop = append(e.stop, fga.Close)
	return fga, nil
}

// serveGateway puts OpenFGA's own HTTP gateway in front of its gRPC service. The wire between the two is a pipe in memory.
func (e *Embedded) serveGateway(ctx context.Context, fga *server.Server) (http.Handler, error) {
	wire := bufconn.Listen(wireBuffer)
	back := grpc.NewServer(
		grpc.ChainUnaryInterceptor(validator.UnaryServerInterceptor()),
		grpc.ChainStreamInterceptor(validator.StreamServerInterceptor()),
	)
	openfgav1.RegisterOpenFGAServiceServer(back, fga)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = back.Serve(wire) // ends with Stop, the only one who can end it
	}()
	e.stop = append(e.stop, func() { back.Stop(); <-done })

	conn, err := grpc.NewClient("passthrough:///openfga",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return wire.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("openfga: connect the gateway: %w", err)
	}
	e.stop = append(e.stop, func() { _ = conn.Close() })

	mux := runtime.NewServeMux(
		runtime.WithForwardResponseOption(httpmiddleware.HTTPResponseModifier),
		runtime.WithOutgoingHeaderMatcher(func(name string) (string, bool) { return name, true }),
		runtime.WithErrorHandler(func(c context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, e error) {
			httpmiddleware.CustomHTTPErrorHandler(c, w, r, encoded(e))
		}),
		runtime.WithStreamErrorHandler(func(_ context.Context, e error) *status.Status { return status.Convert(encoded(e)) }),
	)
	if err := openfgav1.RegisterOpenFGAServiceHandler(ctx, mux, conn); err != nil {
		return nil, fmt.Errorf("openfga: register the gateway: %w", err)
	}
	return mux, nil
}

func encoded(err error) *servererrors.EncodedError {
	return servererrors.NewEncodedError(servererrors.ConvertToEncodedErrorCode(status.Convert(err)), err.Error())
}

// guard lets only the holder of the key through: other programs of this machine can reach the port as well.
func (e *Embedded) guard(next http.Handler) http.Handler {
	want := []byte(e.token.Reveal())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || subtle.ConstantTimeCompare([]byte(token), want) != 1 {
			http.Error(w, "unauthenticated", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Config is how the server is reached: by URL, with its key.
func (e *Embedded) Config() Config { return Config{URL: e.url, Token: e.token} }

// Close stops what was started, last first, and waits for it.
func (e *Embedded) Close() {
	for _, v := range slices.Backward(e.stop) {
		v()
	}
	e.stop = nil
}

func randomKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(key)
}
