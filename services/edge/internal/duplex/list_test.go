package duplex_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/duplex"
)

// TestT22PagesOfToolsWithoutEndAreNotKept: each page is within its bounds, all of them together are not.
func TestT22PagesOfToolsWithoutEndAreNotKept(t *testing.T) {
	filler := strings.Repeat("x", 3<<20)
	s := serve(t, true, func(s *server, m *mcp.Message) {
		page := len(s.heard(mcp.MethodToolsList))
		s.result(m, fmt.Sprintf(`{"tools":[{"name":"t%d","description":"%s"}],"nextCursor":"%d"}`, page, filler, page))
	})
	_, err := s.open(duplex.Config{}).Definitions(t.Context(), nil, 20*time.Second)
	if !fault.Is(err, faultv1.Reason_REASON_UPSTREAM) || !strings.Contains(err.Error(), "more than 16 MiB") {
		t.Errorf("%v", err)
	}
	if asked := len(s.heard(mcp.MethodToolsList)); asked != 6 {
		t.Errorf("it was asked for %d pages", asked)
	}
}
