package back

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"headgate.dev/libs/mcp"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/edge/internal/guard"
)

const (
	batchedProgress = `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`
	batchedLog      = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"[x]"}}`
)

// whole is the answer to a request as a message.
func (r received) whole() string {
	return string(mcp.Result(r.message.ID, json.RawMessage(`{"content":[]}`)))
}

// batching is a way to answer a call with batches, and what its client is told by them.
type batching struct {
	answer func(received)
	told   []string
}

func batchings() map[string]batching {
	return map[string]batching{
		"an event": {func(r received) {
			r.stream()
			r.event("[" + batchedProgress + "," + r.whole() + "]")
		}, []string{batchedProgress}},
		"events": {func(r received) {
			r.stream()
			r.event("[" + batchedProgress + " , " + batchedLog + "]")
			r.event(batchedLog)
			r.event(r.whole())
		}, []string{batchedProgress, batchedLog, batchedLog}},
		"an answer before its notices": {func(r received) {
			r.stream()
			r.event("[" + r.whole() + "," + batchedLog + "]")
		}, []string{batchedLog}},
		"a body":            {func(r received) { r.json(http.StatusOK, "["+r.whole()+"]") }, nil},
		"a body with words": {func(r received) { r.json(http.StatusOK, " ["+batchedLog+","+r.whole()+"]\n") }, []string{batchedLog}},
	}
}

func TestAServerOf20250326MayAnswerInBatchesAndNoOther(t *testing.T) {
	revisions(t, func(t *testing.T, version string) {
		for name, c := range batchings() {
			t.Run(name, func(t *testing.T) {
				srv := newServer(t, version)
				srv.when(mcp.MethodToolsCall, c.answer)
				b := newSide(t, srv.URL, nil)
				var told notices
				_, err := b.forward(func(ex *guard.Exchange) { ex.Notify = told.take })
				if version != mcp.V20250326 {
					refused(t, err, faultv1.Reason_REASON_UPSTREAM)
					require.Contains(t, err.Error(), "outside the protocol")
					require.Empty(t, told.list())
					return
				}
				require.NoError(t, err)
				require.Equal(t, c.told, told.list())
			})
		}
	})
}

func TestT19ABatchAnswersOneRequestOnce(t *testing.T) {
	for name, answer := range map[string]func(received){
		"twice":             func(r received) { r.stream(); r.event("[" + r.whole() + "," + r.whole() + "]") },
		"twice in a body":   func(r received) { r.json(http.StatusOK, "["+r.whole()+","+r.whole()+"]") },
		"another's":         func(r received) { r.stream(); r.event(`[{"jsonrpc":"2.0","id":"x","result":{}}]`) },
		"another's in one":  func(r received) { r.json(http.StatusOK, `[{"jsonrpc":"2.0","id":"x","result":{}}]`) },
		"nothing":           func(r received) { r.json(http.StatusOK, "[]") },
		"no answer":         func(r received) { r.json(http.StatusOK, "["+batchedLog+"]") },
		"asks in a body":    func(r received) { r.json(http.StatusOK, "["+questionOf("1", mcp.MethodElicit)+","+r.whole()+"]") },
		"a batch in one":    func(r received) { r.stream(); r.event("[[" + r.whole() + "]]") },
		"a name twice":      func(r received) { r.stream(); r.event(`[{"a":1,"a":2},` + r.whole() + "]") },
		"too many messages": func(r received) { r.stream(); r.event("[" + strings.Repeat(batchedLog+",", 1024) + r.whole() + "]") },
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, mcp.V20250326)
			srv.when(mcp.MethodToolsCall, answer)
			_, err := newSide(t, srv.URL, nil).forward(nil)
			refused(t, err, faultv1.Reason_REASON_UPSTREAM)
			require.Contains(t, err.Error(), "outside the protocol")
		})
	}
}

func TestTheStreamOfASessionOf20250326MayHoldBatches(t *testing.T) {
	srv := newServer(t, mcp.V20250326)
	srv.capabilities = `{"tools":{},"logging":{}}`
	say := speaking(t, srv)
	running, release := holding(srv)
	b := newSide(t, srv.URL, nil)
	var told notices
	out := b.start(context.Background(), func(ex *guard.Exchange) {
		asking(accepts)(ex)
		ex.Notify = told.take
		ex.Params = json.RawMessage(`{"name":"echo","_meta":{"progressToken":1}}`)
	})
	within(t, running)
	say("[" + batchedProgress + "," + questionOf(`"q"`, mcp.MethodElicit) + "," + batchedLog + "]")
	eventually(t, "the answer comes", func() bool { return strings.Contains(srv.answers()[`"q"`], "accept") })
	eventually(t, "both are told", func() bool { return len(told.list()) == 2 })
	close(release)
	require.NoError(t, within(t, out).err)
	require.Equal(t, []string{batchedProgress, batchedLog}, told.list())
}
