package stdio

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// What a process was given does not get into the log: no line of a key in several lines, no argument, and nothing that the cut of a line leaves over.
func TestT19PartsOfWhatAProcessWasGivenAreNotLogged(t *testing.T) {
	const first, second = "MIIEvQIBADANBgkqhkiG9w0BAQEF", "AASCBKcwggSjAgEAAoIBAQC7VJTU"
	c := Command{
		Command: []string{"/usr/bin/server-program", "--token=argument-value-1", "--key", "argument-value-2", "--verbose",
			"--padded", "cGFkZGVkLWtleQ==", "--dsn", "postgres://u:pass-w0rd@h/db?sslmode=require", "mysql://u:posit1on@h/db", "--header", "Authorization: Bearer bearer-value"},
		Env: map[string]string{"KEY": "-----BEGIN KEY-----\n" + first + "\r\n" + second + "\n-----END KEY-----\n", "LONG": strings.Repeat("long-secret", 20)},
	}
	var out bytes.Buffer
	s := &stderr{log: slog.New(slog.NewTextHandler(&out, nil)), redact: redactor(c, func(string) (string, bool) { return "", false }), tells: newTelltale(), now: time.Now}
	s.read(strings.NewReader("key " + first + "\n" + second + "\nargument-value-1 argument-value-2 cGFkZGVkLWtleQ== pass-w0rd posit1on bearer-value --verbose /usr/bin/server-program\n" +
		strings.Repeat("x", mostWords-40) + c.Env["LONG"] + " end\n"))
	for _, never := range []string{first, second, "argument-value", "long-secret", "cGFkZGVkLWtleQ", "pass-w0rd", "posit1on", "bearer-value"} {
		if strings.Contains(out.String(), never) {
			t.Errorf("%s is in the log: %s", never, out.String())
		}
	}
	for _, always := range []string{"--verbose", "/usr/bin/server-program", "xxx"} {
		if !strings.Contains(out.String(), always) {
			t.Errorf("%s is not in the log", always)
		}
	}
}
