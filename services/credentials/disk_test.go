package credentials_test

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/journal"
	"headgate.dev/libs/rpc"
	credentialsv1 "headgate.dev/proto/gen/headgate/credentials/v1"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/services/credentials"
)

func TestASecretSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	t.Run("before", func(t *testing.T) { start(t, dir).mustApply(crm()) })
	t.Run("after", func(t *testing.T) {
		if lease, err := start(t, dir).lease("acme", "crm", "crm.example:443"); err != nil || lease.GetSecrets()[0] != apiKey {
			t.Error(err)
		}
	})
}

func TestADatabaseWithoutItsKeyFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	t.Run("first", func(t *testing.T) { start(t, dir).mustApply(crm()) })
	refused := func(t *testing.T, says string) {
		t.Helper()
		_, err := credentials.New(config(dir), credentials.Deps{Journal: &recorder{}, Log: slog.New(slog.DiscardHandler), Now: clock.System})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v", err)
		}
	}
	key := config(dir).KeyFile
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, "chmod 600")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	refused(t, "Put the key file back")
	if _, err := os.Stat(key); !os.IsNotExist(err) {
		t.Error("a new key file was made over secrets that it does not open")
	}
	t.Run("another key", func(t *testing.T) { start(t, filepath.Join(dir, "other")) })
	if err := os.Rename(config(filepath.Join(dir, "other")).KeyFile, key); err != nil {
		t.Fatal(err)
	}
	refused(t, "the key of another")
}

func TestT18TheSecretIsNowhereOnTheDiskAndInNoRecord(t *testing.T) {
	dir := t.TempDir()
	log := &bytes.Buffer{}
	t.Run("use", func(t *testing.T) {
		writer, err := journal.Open(journal.Config{Dir: filepath.Join(dir, "journal")}, "credentials", slog.New(slog.NewJSONHandler(log, nil)), clock.System)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := writer.Close(); err != nil {
				t.Error(err)
			}
		}()
		service, err := credentials.New(config(dir), credentials.Deps{Journal: writer, Log: slog.New(slog.NewJSONHandler(log, nil)), Now: clock.System})
		if err != nil {
			t.Fatal(err)
		}
		h := &harness{t: t, dir: dir, mux: rpc.NewMux(rpc.MuxConfig{
			Self: optionsv1.Service_SERVICE_CREDENTIALS, Authenticate: people, Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Record: func(ev *eventsv1.Event) error { return writer.Append(ev, journal.Strict) },
		})}
		service.Register(h.mux)
		h.mustApply(crm())
		for _, host := range []string{"crm.example:443", "evil.example"} {
			_, _ = h.lease("acme", "crm", host) // the second is refused; what matters is what it leaves behind
		}
		_, _ = h.apply(false, crm(func(c *credentialsv1.Connection) { c.Spec.Secret = apiKey + "\n" }))
		_, _ = h.apply(false, crm(func(c *credentialsv1.Connection) { c.Metadata.Name = "twin" }))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := service.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	files := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		files++
		if bytes.Contains(content, []byte(apiKey)) || bytes.Contains(content, []byte(apiKey[3:])) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("%d files were looked at, %v", files, err)
	}
	if strings.Contains(log.String(), apiKey) {
		t.Error("the log holds the secret")
	}
}
