package back

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

// TestT22PagesOfToolsWithoutEndAreNotKept: each page is within its bounds, all of them together are not.
func TestT22PagesOfToolsWithoutEndAreNotKept(t *testing.T) {
	filler := strings.Repeat("x", 3<<20)
	for _, version := range []string{"", mcp.V20251125} {
		srv := newServer(t, version)
		srv.when(mcp.MethodToolsList, func(r received) {
			page := len(srv.got(mcp.MethodToolsList))
			r.result(fmt.Sprintf(`{"tools":[{"name":"t%d","description":"%s","inputSchema":{}}],"nextCursor":"%d"}`, page, filler, page))
		})
		b := newSide(t, srv.URL, nil)
		_, err := b.Definitions(context.Background(), b.server, nil)
		refused(t, err, faultv1.Reason_REASON_UPSTREAM)
		require.Contains(t, err.Error(), "more than 16 MiB")
		require.Len(t, srv.got(mcp.MethodToolsList), 6)
		require.NotNil(t, b.must(nil).Result, "its calls go on")
	}
}

// TestT22OnePrincipalLeavesRoomAtAServerForOthers: who has many calls waiting is refused more of them, and nobody else is.
func TestT22OnePrincipalLeavesRoomAtAServerForOthers(t *testing.T) {
	const all, each = 16, 2 // an eighth
	srv := newServer(t, mcp.V20251125)
	b := newSide(t, srv.URL, func(c *Config) { c.MaxCalls = all })
	hold := make(chan struct{})
	srv.when(mcp.MethodToolsCall, func(r received) {
		select {
		case <-hold:
			r.result(`{"content":[]}`)
		case <-r.gone:
		}
	})
	var running []<-chan outcome
	for range each {
		running = append(running, b.start(context.Background(), nil))
	}
	eventually(t, "they run", func() bool { return len(srv.got(mcp.MethodToolsCall)) == each })
	_, err := b.forward(nil)
	refused(t, err, faultv1.Reason_REASON_RATE_LIMITED)
	require.Contains(t, err.Error(), "2 calls running at the server one")
	others := []*guard.Caller{{Tenant: "acme", Person: "bob", Agent: "bot", ClientID: "ide"}, {Tenant: "acme", Person: "ana", Agent: "other", ClientID: "ide"}}
	for _, other := range others {
		running = append(running, b.start(context.Background(), func(ex *guard.Exchange) { ex.Caller, ex.Session = other, other.Person+other.Agent }))
	}
	eventually(t, "another's run too", func() bool { return len(srv.got(mcp.MethodToolsCall)) == each+len(others) })
	close(hold)
	for _, one := range running {
		require.NoError(t, within(t, one).err)
	}
	require.Empty(t, b.place().of, "nothing is counted any more")
	b.must(nil)
}

// place is where the side counts.
func (s *side) place() *place {
	p, err := s.of(s.server)
	require.NoError(s.t, err)
	return p
}
