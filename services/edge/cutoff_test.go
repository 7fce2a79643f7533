package edge_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/rpc"
	edgev1 "headgate.dev/proto/gen/headgate/edge/v1"
	"headgate.dev/proto/gen/headgate/edge/v1/edgev1connect"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/services/edge"
)

const stopping = "Headgate is stopping, so the call was ended before its answer came. Look whether the call took effect before you make it again."

// soon ends an edge with nearly no time for what is under way.
func soon(c *edge.Config) { c.Grace = 20 * time.Millisecond }

// calls makes a call beside, and answers where its answer comes; nothing comes when there is none.
func (c *client) calls(tool string) <-chan reply {
	answered := make(chan reply, 1)
	go func() {
		defer close(answered)
		answered <- c.call(tool, `{}`)
	}()
	return answered
}

// TestACallThatIsCutOffAtTheEndOfAnEdgeIsAnswered: whoever made it has to know that it may have taken effect.
func TestACallThatIsCutOffAtTheEndOfAnEdgeIsAnswered(t *testing.T) {
	for name, modern := range map[string]bool{"2026-07-28": true, "2025-11-25": false} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, echoTool)
			h := start(t, support(t, u), soon)
			ana, arrived := h.client("ana", "/mcp/echo", modern), make(chan struct{})
			u.replies(func(_ http.ResponseWriter, r *http.Request, _ *mcp.Message) {
				close(arrived)
				<-r.Context().Done()
			})
			answered := ana.calls("echo")
			<-arrived
			h.end()
			r := <-answered
			if r.id == "" {
				return // no answer came, which has been said
			}
			if !r.refused() || r.text() != stopping || r.reason() != "cancelled" {
				t.Errorf("%d %s", r.status, r.body)
			}
			if ev := h.final(r.id); ev.GetOutcome() != eventsv1.Outcome_OUTCOME_FAILURE || ev.GetDecision().GetSentence() != stopping {
				t.Errorf("%v", ev)
			}
		})
	}
}

// endless is another edge that takes requests and does not answer.
type endless struct {
	edgev1connect.UnimplementedEdgeServiceHandler
	got chan struct{}
}

func (e endless) Relay(ctx context.Context, _ *connect.Request[edgev1.RelayRequest], _ *connect.ServerStream[edgev1.RelayResponse]) error {
	close(e.got)
	<-ctx.Done()
	return ctx.Err()
}

func TestACallThatAnotherEdgeMakesIsAnsweredAtTheEndOfThisOne(t *testing.T) {
	w := scripted(t, newScript(t, mcp.V20251125))
	one := start(t, w, func(c *edge.Config) { c.Advertise = "http://one.test" })
	away := endless{got: make(chan struct{})}
	way := rpc.Client(w.mux(optionsv1.Service_SERVICE_EDGE, func(m *rpc.Mux) {
		rpc.Handle(m, edgev1connect.NewEdgeServiceHandler, edgev1connect.EdgeServiceHandler(away))
	}), edgev1connect.NewEdgeServiceClient)
	w.edges = func(string) (edgev1connect.EdgeServiceClient, error) { return way, nil }
	two := start(t, w, func(c *edge.Config) {
		soon(c)
		c.Advertise = "http://two.test"
	})
	ana := one.guest("ana", "/mcp/acts", mcp.V20251125, `{}`)
	ana.h, ana.token = two, two.tokenFor("ana", two.base+"/mcp", nil)
	answered := ana.calls("act")
	<-away.got
	two.end()
	r := <-answered
	if r.id == "" {
		return
	}
	if !strings.Contains(string(r.body), "Look whether the call took effect") {
		t.Errorf("%d %s", r.status, r.body)
	}
	if ev := two.final(r.id); fault.Code(ev.GetDecision().GetReason()) != "cancelled" {
		t.Errorf("%v", ev)
	}
}
