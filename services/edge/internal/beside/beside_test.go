package beside_test

import (
	"net"
	"path/filepath"
	"testing"

	"headgate.dev/services/edge/internal/beside"
)

func TestWhatIsNotEncryptedStaysOnThisMachine(t *testing.T) {
	for address, good := range map[string]bool{
		"unix:/run/headgate/authz": true, "127.0.0.1:1": true, "localhost:1": true, "[::1]:1": true,
		"0.0.0.0:1": false, "10.0.0.1:1": false, ":1": false, "example.com:1": false, "127.0.0.1": false,
	} {
		if err := beside.Check("extAuthz", address); (err == nil) != good {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"127.0.0.1:0", "unix:" + filepath.Join(t.TempDir(), "authz")} {
		ln, err := beside.Listen(t.Context(), "extAuthz", address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := beside.Listen(t.Context(), "extAuthz", "0.0.0.0:0"); err == nil {
		t.Error("listens to the world")
	}
}

// An edge that was killed leaves its socket: the next one takes its place, and that of an edge that still listens is nobody else's.
func TestASocketThatNobodyListensOnIsTakenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	if ln, err := beside.Listen(t.Context(), "extAuthz", "unix:"+path); err == nil {
		_ = ln.Close()
		t.Fatal("the socket of another was taken")
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	ln, err := beside.Listen(t.Context(), "extAuthz", "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Error(err)
	}
}
