package kafkatest

import (
	"crypto/pbkdf2"
	"crypto/sha512"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	kafkago "github.com/segmentio/kafka-go"

	"headgate.dev/libs/kafka"
	"headgate.dev/libs/secret"
)

// Real runs a real broker until the test ends. Its programs are in the folder HEADGATE_TEST_KAFKA, where tools/engines/kafka/install.sh put them.
func Real(tb testing.TB) *Broker {
	tb.Helper()
	home := os.Getenv("HEADGATE_TEST_KAFKA")
	if home == "" {
		tb.Fatal("HEADGATE_TEST_KAFKA is not set; it must name the folder that tools/engines/kafka/install.sh made")
	}
	b := &Broker{tb: tb, dir: tb.TempDir(), home: home}
	b.Up()
	tb.Cleanup(b.Down)
	b.port = b.number("port")
	return b
}

// Secure is how to reach a real broker with TLS and SCRAM as a user that was made there.
func (b *Broker) Secure(user kafka.SASL) kafka.Config {
	b.tb.Helper()
	return kafka.Config{
		Brokers: []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(b.number("secure-port")))},
		TLS:     kafka.TLS{Enabled: true, CA: filepath.Join(b.dir, "ca.pem")}, SASL: user,
	}
}

func (b *Broker) number(file string) int {
	b.tb.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, file))
	if err != nil {
		b.tb.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		b.tb.Fatal(err)
	}
	return n
}

// script runs one of the broker's programs. One that is to stop what has stopped already says nothing.
func (b *Broker) script(name string, args ...string) {
	b.tb.Helper()
	if _, err := os.Stat(filepath.Join(b.dir, "pid")); name == "stop.sh" && err != nil {
		return
	}
	cmd := exec.Command(filepath.Join(b.home, name), args...)
	log, err := os.OpenFile(filepath.Join(b.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.tb.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log // a file: the broker goes on, and would hold a pipe open
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		b.tb.Fatalf("%s: %v: %s", name, err, text)
	}
}

// User makes a user of a real broker, who has no right yet, and returns how they say who they are.
func (b *Broker) User(name, password string) kafka.SASL {
	b.tb.Helper()
	const rounds = 4096
	salt := []byte("of " + name)
	salted, err := pbkdf2.Key(sha512.New, password, salt, rounds, sha512.Size)
	if err != nil {
		b.tb.Fatal(err)
	}
	wire := &kafkago.Transport{}
	defer wire.CloseIdleConnections()
	client := &kafkago.Client{Addr: kafkago.TCP(b.Config().Brokers...), Transport: wire}
	answer, err := client.AlterUserScramCredentials(b.tb.Context(), &kafkago.AlterUserScramCredentialsRequest{
		Upsertions: []kafkago.UserScramCredentialsUpsertion{
			{Name: name, Mechanism: kafkago.ScramMechanismSha512, Iterations: rounds, Salt: salt, SaltedPassword: salted},
		},
	})
	if err != nil {
		b.tb.Fatal(err)
	}
	for _, r := range answer.Results {
		if r.Error != nil {
			b.tb.Fatal(r.Error)
		}
	}
	return kafka.SASL{Mechanism: "SCRAM-SHA-512", User: name, Password: secret.New(password)}
}
