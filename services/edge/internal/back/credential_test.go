package back

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

func keyOf(value string) *guard.Lease {
	return &guard.Lease{ID: value, Headers: []guard.LeasedHeader{{Name: "X-Key", Value: value}}}
}

func with(person string, lease *guard.Lease) func(*guard.Exchange) {
	return func(ex *guard.Exchange) {
		ex.Lease, ex.Session = lease, person
		ex.Caller = &guard.Caller{Tenant: "acme", Person: person, ClientID: "ide"}
	}
}

// gated makes a server refuse one credential for every method, before anything else.
func gated(srv *server, bad string, refuse func(received)) {
	for _, method := range []string{mcp.MethodDiscover, mcp.MethodInitialize, mcp.MethodToolsCall, "notifications/initialized"} {
		srv.when(method, func(r received) {
			switch {
			case r.header.Get("X-Key") == bad:
				refuse(r)
			case srv.version == "":
				srv.modern(r)
			default:
				srv.legacy(r)
			}
		})
	}
}

// TestT22ABadCredentialFailsNobodyElse: what a server says to one person's credential is not what it says to another's.
func TestT22ABadCredentialFailsNobodyElse(t *testing.T) {
	for name, refuse := range map[string]func(received){
		"401":       func(r received) { r.w.WriteHeader(http.StatusUnauthorized) },
		"403":       func(r received) { http.Error(r.w, "<html>", http.StatusForbidden) },
		"a page":    func(r received) { http.Error(r.w, "<html>", http.StatusBadRequest) },
		"hidden":    func(r received) { http.Error(r.w, "<html>", http.StatusNotFound) },
		"a gateway": func(r received) { http.Error(r.w, "<html>", http.StatusBadGateway) },
	} {
		for _, version := range []string{"", mcp.V20251125} {
			t.Run(name+" "+version, func(t *testing.T) {
				srv := newServer(t, version)
				b := newSide(t, srv.URL, nil)
				good, bad := keyOf("good"), keyOf("bad")
				reached, held := make(chan struct{}, 100), make(chan struct{})
				gated(srv, "bad", func(r received) {
					reached <- struct{}{}
					<-held
					refuse(r)
				})
				// Bob is the first: ana shares the attempt that he began.
				bob := b.start(context.Background(), with("bob", bad))
				within(t, reached)
				ana := b.start(context.Background(), with("ana", good))
				eventually(t, "ana waits", func() bool { return b.place().calls() == 2 })
				close(held)
				require.Error(t, within(t, bob).err)
				require.NoError(t, within(t, ana).err)
				found := len(srv.got(mcp.MethodDiscover))
				for range 5 {
					_, err := b.forward(with("bob", bad))
					require.Error(t, err)
					b.must(with("ana", good))
				}
				require.Len(t, srv.got(mcp.MethodDiscover), found, "nothing is forgotten for bob's sake")
			})
		}
	}
}

func TestADoubtIsLookedIntoByWhoHasItAndKeepsWhatIsKnown(t *testing.T) {
	srv := newServer(t, "")
	b := newSide(t, srv.URL, nil)
	var ahead atomic.Int64
	b.now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	good, bad := keyOf("good"), keyOf("bad")
	b.must(with("ana", good))
	gated(srv, "bad", func(r received) { http.Error(r.w, "<html>", http.StatusBadRequest) })
	ahead.Store(int64(2 * doubtAfter))
	_, err := b.forward(with("bob", bad))
	refused(t, err, faultv1.Reason_REASON_UPSTREAM)
	asked := srv.got(mcp.MethodDiscover)
	require.Len(t, asked, 2)
	require.Equal(t, "bad", asked[1].header.Get("X-Key"))
	b.must(with("ana", good))
	require.Len(t, srv.got(mcp.MethodDiscover), 2)

	// The server does change: who sees it looks, and all know.
	srv.when(mcp.MethodToolsCall, func(r received) { http.Error(r.w, "gone", http.StatusMethodNotAllowed) })
	srv.when(mcp.MethodDiscover, func(r received) { http.Error(r.w, "gone", http.StatusMethodNotAllowed) })
	srv.mu.Lock()
	srv.version = mcp.V20251125
	srv.mu.Unlock()
	_, err = b.forward(with("ana", good))
	refused(t, err, faultv1.Reason_REASON_UPSTREAM)
	srv.when(mcp.MethodToolsCall, nil)
	require.False(t, b.must(with("cleo", good)).Modern)
}
