//go:build external

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// node is a real Elasticsearch of this test's own, to be killed and started again on the data that it had.
type node struct {
	t         *testing.T
	home, dir string
}

// startNode runs it until the test ends. Its programs are in the folder HEADGATE_TEST_ELASTICSEARCH_HOME, where tools/engines/elasticsearch/install.sh put them.
func startNode(t *testing.T) *node {
	t.Helper()
	home := os.Getenv("HEADGATE_TEST_ELASTICSEARCH_HOME")
	if home == "" {
		t.Fatal("HEADGATE_TEST_ELASTICSEARCH_HOME is not set; it must name the folder that tools/engines/elasticsearch/install.sh made")
	}
	n := &node{t: t, home: home, dir: t.TempDir()}
	t.Cleanup(n.Kill)
	n.Up()
	return n
}

// URL is where it answers, whenever it runs.
func (n *node) URL() string {
	n.t.Helper()
	port, err := os.ReadFile(filepath.Join(n.dir, "port"))
	if err != nil {
		n.t.Fatal(err)
	}
	return "http://127.0.0.1:" + strings.TrimSpace(string(port))
}

// Up starts it and returns when it answers.
func (n *node) Up() { n.t.Helper(); n.script("start.sh", n.dir) }

// Kill ends it in the midst of what it does.
func (n *node) Kill() {
	n.t.Helper()
	if _, err := os.Stat(filepath.Join(n.dir, "pid")); err == nil {
		n.script("stop.sh", n.dir, "KILL")
	}
}

func (n *node) script(name string, args ...string) {
	n.t.Helper()
	log, err := os.OpenFile(filepath.Join(n.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(filepath.Join(n.home, name), args...)
	cmd.Stdout, cmd.Stderr = log, log // a file: the node goes on, and would hold a pipe open
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		n.t.Fatalf("%s: %v: %s", name, err, text)
	}
}
