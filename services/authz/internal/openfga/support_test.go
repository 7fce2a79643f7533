package openfga

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs the linked-in OpenFGA on a directory and ends it with the test.
func start(t *testing.T, dir string) *Server {
	t.Helper()
	s, err := Start(t.Context(), Config{Dir: dir}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

func open(t *testing.T, s *Server, tenant string) *Store {
	t.Helper()
	store, err := s.Store(t.Context(), tenant)
	if err != nil {
		t.Fatalf("open the store of %s: %v (%v)", tenant, err, unwrapped(err))
	}
	return store
}

// unwrapped is the cause that the sentence hides.
func unwrapped(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return nil
}
