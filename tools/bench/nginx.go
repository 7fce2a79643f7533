package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"headgate.dev/tools/proc"
	"headgate.dev/tools/stack"
)

// nginxConfig keeps connections open on both sides and writes no log, as the other bare proxies do.
const nginxConfig = `daemon off;
%[1]sworker_processes auto;
worker_rlimit_nofile 8192;
pid %[2]s/pid;
error_log %[2]s/error.log;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
  client_max_body_size 4m;
  client_body_buffer_size 64k;
  proxy_buffers 32 16k;
  keepalive_requests 100000000;
  upstream server { server %[4]s; keepalive 256; keepalive_requests 100000000; }
  server {
    listen %[3]s;
    location / {
      proxy_pass http://server;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }
  }
}
`

// startNginx runs nginx in front of the upstream, with nothing of the machine's own configuration.
func (f *field) startNginx(binary, upstream string) (target, error) {
	address, err := stack.Free()
	if err != nil {
		return target{}, err
	}
	dir := filepath.Join(f.dir, "nginx")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return target{}, err
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n" // its workers would be nobody, who cannot write here
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, user, dir, address, strings.TrimPrefix(upstream, "http://")), 0o600); err != nil {
		return target{}, err
	}
	if f.nginx, err = proc.Start(filepath.Join(dir, "log"), nil, binary, "-p", dir, "-c", file, "-e", filepath.Join(dir, "error.log")); err != nil {
		return target{}, err
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return target{name: "nginx", process: "nginx", url: "http://" + address + callPath, lists: "http://" + address + listPath, pid: f.nginx.PID()}, conn.Close()
		}
	}
	return target{}, fmt.Errorf("nginx does not listen on %s: %s", address, f.nginx.Tail())
}
