package stdio

import (
	"bytes"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestT19WhatIsASecretByItsNameIsNotLogged(t *testing.T) {
	tell := newTelltale()
	for _, one := range [][2]string{
		{"Authorization: Bearer abcdef.ghi-jkl", "Authorization: [redacted] [redacted]"},
		{"sent Bearer abcdef.ghi-jkl to crm", "sent Bearer [redacted] to crm"},
		{`{"user":"ana","password":"hunter\"2","n":1}`, `{"user":"ana","password":[redacted],"n":1}`},
		{`{"password":`, `{"password":`},
		{`  "hunter2"}`, "[redacted]"},
		{"db_password=hunter2 host=x", "db_password=[redacted] host=x"},
		{"key sk-ant-api03-AAAABBBBCCCCDDDD postgres://u:hunter22@db/x", "key [redacted] postgres://u:[redacted]@db/x"},
		{"key: -----BEGIN PRIVATE KEY-----", "key: [redacted]"},
		{"MIIEvQIBADANBgkqhkiG9w0BAQEF", "[redacted]"},
		{"12:00 AASCBKcwggSjAgEAAoIBAQC7VJTU", "[redacted]"},
		{"-----END PRIVATE KEY----- password=hunter2 loaded", "[redacted] password=[redacted] loaded"},
		{"used 5 tokens: 3 in, 2 out", "used 5 tokens: 3 in, 2 out"},
		{"the bearer of news", "the bearer of news"},
	} {
		if got := tell.without(one[0], tell.behind(one[0])); got != one[1] {
			t.Errorf("%q became %q, not %q", one[0], got, one[1])
		}
	}
}

func TestT19AProgramThatPrintsSecretsInPiecesPrintsNoneIntoTheLog(t *testing.T) {
	const script = `printf 'my key is %s\n' "$API_KEY" >&2; printf 'Authorization: Bea' >&2; printf 'rer own-token-of-mine\n' >&2
printf '{"password":\n "hunter2"}\n' >&2; echo ready >&2`
	var out bytes.Buffer
	c := Command{Command: []string{"sh", "-c", script}, Env: map[string]string{"API_KEY": "key-of-the-edge"}}
	none := func(string) (string, bool) { return "", false }
	s := &stderr{log: slog.New(slog.NewTextHandler(&out, nil)), redact: redactor(c, none), tells: newTelltale(), now: time.Now}
	cmd := exec.Command(c.Command[0], c.Command[1:]...)
	cmd.Env = append(environment(c, none), "PATH=/usr/bin:/bin")
	from, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.read(from)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"key-of-the-edge", "own-token", "hunter2"} {
		if strings.Contains(out.String(), word) {
			t.Errorf("%s is in the log:\n%s", word, &out)
		}
	}
	if !strings.Contains(out.String(), "ready") || strings.Count(out.String(), "\n") != 5 {
		t.Errorf("%s", &out)
	}
}

// A private key that does not end hides the lines of the longest of keys, not the rest of what a program says.
func TestT19AKeyWithoutAnEndHidesItsLinesAlone(t *testing.T) {
	tell := newTelltale()
	tell.behind("-----BEGIN PRIVATE KEY-----")
	for n := range mostOfKey {
		if got := tell.without("MIIE", tell.behind("MIIE")); got != hidden {
			t.Fatalf("line %d became %q", n, got)
		}
	}
	if got := tell.without("ready", tell.behind("ready")); got != "ready" {
		t.Errorf("%q", got)
	}
}

// A secret at the place where a line is cut is not half kept.
func TestT19ASecretIsNotCutBeforeItIsKnown(t *testing.T) {
	var out bytes.Buffer
	s := &stderr{log: slog.New(slog.NewTextHandler(&out, nil)), redact: strings.Clone, tells: newTelltale(), now: time.Now}
	s.read(strings.NewReader(strings.Repeat("x ", mostWords/2-5) + "sk-proj-AAAABBBBCCCCDDDD\n"))
	if strings.Contains(out.String(), "sk-proj") {
		t.Errorf("%s", out.String()[mostWords-20:])
	}
}
