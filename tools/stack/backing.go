package stack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"headgate.dev/tools/proc"
)

// startBacking runs what the services lean on, or prepares what somebody else runs.
func (s *Stack) startBacking() error {
	if s.cfg.Kafka == "" {
		if err := s.startBroker(); err != nil {
			return err
		}
	}
	if s.cfg.Elasticsearch == "" {
		return nil
	}
	cmd := exec.Command(s.cfg.Binary, "audit", "install", "--only", "elasticsearch", "--config", filepath.Join(s.cfg.Dir, "audit.yaml"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("headgate audit install: %w: %s", err, out)
	}
	return nil
}

// startBroker runs the broker in a process of its own, so that killing a service does not take it along.
func (s *Stack) startBroker() error {
	binary, err := Build("./tools/stack/cmd/stack")
	if err != nil {
		return err
	}
	started, err := proc.Start(filepath.Join(s.cfg.Dir, "log-broker"), nil, binary, "broker", "--dir", filepath.Join(s.cfg.Dir, "kafka"), "--listen", s.plan.broker)
	if err != nil {
		return err
	}
	s.processes["broker"] = started
	return reachable(s.plan.broker, started)
}

func reachable(address string, process *proc.Process) error {
	deadline := time.Now().Add(readyWithin)
	for time.Now().Before(deadline) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-process.Done():
			return fmt.Errorf("the broker ended: %s", process.Tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("the broker does not listen on %s: %s", address, process.Tail())
}

// Broker runs a broker that speaks Kafka's protocol and keeps its topics in dir, until the context ends.
func Broker(ctx context.Context, dir, address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(number), kfake.DataDir(dir))
	if err != nil {
		return err
	}
	defer cluster.Close()
	<-ctx.Done()
	return nil
}

func (s *Stack) startIngress() error {
	handler, err := Ingress(filepath.Join(s.cfg.Dir, "certs", "ca.pem"), s.plan.rpc)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.plan.api)
	if err != nil {
		return err
	}
	s.ingress = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.ingress.Serve(listener) }()
	return nil
}

// Ingress takes people's calls to the service that serves them, as an ingress controller does in a cluster. It has no certificate of a service:
// who calls is known by the access token alone.
func Ingress(ca string, rpc map[string]string) (http.Handler, error) {
	authority, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return nil, errors.New("no certificate in " + ca)
	}
	mux := http.NewServeMux()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true}
	for name, address := range rpc {
		kind := service(name)
		if kind != name {
			continue
		}
		proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "https", Host: address})
		proxy.Transport = transport
		mux.Handle(fmt.Sprintf("/headgate.%s.v1.%sService/", kind, strings.ToUpper(kind[:1])+kind[1:]), proxy)
		if kind == "identity" {
			mux.Handle("/oauth2/", proxy)
			mux.Handle("/.well-known/", proxy)
		}
		if kind == "authz" {
			mux.Handle("/access/v1/", proxy)
			mux.Handle("/.well-known/authzen-configuration", proxy)
		}
	}
	return mux, nil
}
