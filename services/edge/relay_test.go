package edge_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/rpc"
	edgev1 "headgate.dev/proto/gen/headgate/edge/v1"
	"headgate.dev/proto/gen/headgate/edge/v1/edgev1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/services/edge"
)

// breaking is another edge that takes requests and breaks off, after it said something or before.
type breaking struct {
	edgev1connect.UnimplementedEdgeServiceHandler
	says bool
	got  chan *edgev1.RelayRequest
}

func (b breaking) Relay(_ context.Context, r *connect.Request[edgev1.RelayRequest], to *connect.ServerStream[edgev1.RelayResponse]) error {
	b.got <- r.Msg
	if b.says {
		if err := to.Send(&edgev1.RelayResponse{Message: []byte(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`)}); err != nil {
			return err
		}
	}
	return connect.NewError(connect.CodeAborted, errors.New("the process ended"))
}

func TestT27ACallThatBreaksAtAnotherEdgeIsRecordedHere(t *testing.T) {
	for name, says := range map[string]bool{"before it said anything": false, "after it said something": true} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t, mcp.V20251125)
			w := scripted(t, s)
			advertises := func(url string) func(*edge.Config) { return func(c *edge.Config) { c.Advertise = url } }
			one := start(t, w, advertises("http://one.test"))
			away := breaking{says: says, got: make(chan *edgev1.RelayRequest, 1)}
			way := rpc.Client(w.mux(optionsv1.Service_SERVICE_EDGE, func(m *rpc.Mux) {
				rpc.Handle(m, edgev1connect.NewEdgeServiceHandler, edgev1connect.EdgeServiceHandler(away))
			}), edgev1connect.NewEdgeServiceClient)
			w.edges = func(string) (edgev1connect.EdgeServiceClient, error) { return way, nil }
			two := start(t, w, advertises("http://two.test"))
			ana := one.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
			ana.h, ana.token = two, two.tokenFor("ana", two.base+"/mcp", nil)

			body, id := ana.body("tools/call", `{"name":"act","arguments":{}}`)
			header := ana.header("tools/call", "act")
			header.Set("User-Agent", strings.Repeat("long", 2000))
			r := ana.post(body, header)
			if !says && r.status != http.StatusBadGateway || !strings.Contains(string(r.body), "Look whether the call took effect") {
				t.Errorf("%d %s", r.status, r.body)
			}
			if got := len((<-away.got).GetUserAgent()); got != 512 {
				t.Errorf("the other edge was told a user agent of %d bytes", got)
			}
			ev := two.final(id)
			if ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || fault.Code(ev.GetDecision().GetReason()) != fault.Code(faultv1.Reason_REASON_UNAVAILABLE) {
				t.Errorf("recorded %v", ev)
			}
			if n := recordsOf(two, id); n != 1 || len(ev.GetSource().GetUserAgent()) != 512 || len(s.sent("tools/call")) != 0 {
				t.Errorf("%d records, %d calls, a user agent of %d bytes", n, len(s.sent("tools/call")), len(ev.GetSource().GetUserAgent()))
			}
		})
	}
}
