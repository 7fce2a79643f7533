package geoip_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/geoip"
	"headgate.dev/libs/geoip/geoiptest"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func write(t *testing.T, name string, of map[string]string) {
	t.Helper()
	if err := geoiptest.Replace(name, of); err != nil {
		t.Fatal(err)
	}
}

func TestCountriesOfAddresses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "countries.mmdb")
	write(t, name, map[string]string{"192.0.2.0/24": "DE", "198.51.100.0/25": "FR", "203.0.113.7/32": "US", "233.252.0.0/24": "xx"})
	db, err := geoip.Config{File: name}.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"192.0.2.1": "DE", "::ffff:192.0.2.255": "DE", "198.51.100.127": "FR", "198.51.100.128": "", "203.0.113.7": "US", "203.0.113.8": "", "127.0.0.1": "",
		"": "", "somewhere": "", "2001:db8::1": "", "192.0.2.1:80": "", "233.252.0.1": "",
	} {
		if got := db.Country(address); got != want {
			t.Errorf("%q is in %q, want %q", address, got, want)
		}
	}
	var none *geoip.Database
	if got := none.Country("192.0.2.1"); got != "" {
		t.Errorf("without a database: %q", got)
	}

	write(t, name, map[string]string{"192.0.2.0/24": "AT"})
	changed := func() bool { return db.Country("192.0.2.1") == "AT" }
	for deadline := time.Now().Add(30 * time.Second); !changed(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the changed file was not read again")
		}
	}
	if err := os.WriteFile(name, []byte("half of a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !changed() {
		t.Error("a broken file took the place of the good one")
	}
}

func TestADatabaseThatCannotBeUsedIsRefused(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good")
	write(t, good, map[string]string{"192.0.2.0/24": "DE"})
	raw, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"empty": "", "text": "country,iso_code", "cut": string(raw[len(raw)/2:]), "gone": ""} {
		file := filepath.Join(dir, name)
		if name != "gone" {
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := (geoip.Config{File: file}).Open(slog.New(slog.DiscardHandler)); !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (geoip.Config{File: dir}).Open(slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a directory is no database")
	}
	if db, err := (geoip.Config{}).Open(slog.New(slog.DiscardHandler)); db != nil || err != nil {
		t.Errorf("without a file: %v, %v", db, err)
	}
}
