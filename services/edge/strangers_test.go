package edge_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.dev/services/edge"
)

// TestT22AStrangerIsGivenLittleRoom: a body that is not small is read only for a token that is known.
func TestT22AStrangerIsGivenLittleRoom(t *testing.T) {
	u := newUpstream(t, echoTool)
	h := start(t, support(t, u), nil)
	ana := h.client("ana", "/mcp/echo", true)
	body, _ := ana.body("tools/list", "")
	large := strings.Repeat(" ", 1<<20) + body
	if r := ana.post(large, ana.header("tools/list", "")); r.status != http.StatusOK {
		t.Fatalf("a known token's body of 1 MiB: %d %s", r.status, r.body)
	}
	for name, token := range map[string]string{"none": "", "another issuer's": "Bearer x.y.z"} {
		for more, want := range map[string]int{
			"Content-Length: 2000000\r\n\r\n":                                            http.StatusUnauthorized,
			"Transfer-Encoding: chunked\r\n\r\n11000\r\n" + strings.Repeat(" ", 0x11000): http.StatusRequestEntityTooLarge,
		} {
			c := h.dials()
			request := "POST /mcp/echo HTTP/1.1\r\nHost: " + strings.TrimPrefix(h.base, "http://") + "\r\nContent-Type: application/json\r\n"
			if token != "" {
				request += "Authorization: " + token + "\r\n"
			}
			_, err := io.WriteString(c, request+more) // the rest of the body never comes
			must(t, err)
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			must(t, err)
			if res.StatusCode != want || (want == http.StatusUnauthorized) != (res.Header.Get("WWW-Authenticate") != "") {
				t.Errorf("token %s, %.20s: %d %v", name, more, res.StatusCode, res.Header)
			}
			must(t, c.Close())
		}
	}
}

// dials opens a connection to the edge that ends with the test.
func (h *harness) dials() net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(h.base, "http://"))
	must(h.t, err)
	h.t.Cleanup(func() { _ = c.Close() })
	must(h.t, c.SetDeadline(time.Now().Add(30*time.Second)))
	return c
}

// TestT22ConnectionsAreBounded: beyond so many, more are closed at once and counted, and there is room again when others end.
func TestT22ConnectionsAreBounded(t *testing.T) {
	const most = 4
	h := start(t, support(t, newUpstream(t, echoTool)), func(c *edge.Config) { c.MaxConnections = most })
	h.http.CloseIdleConnections()
	alive := func(c net.Conn) error {
		if _, err := fmt.Fprintf(c, "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
			return err
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	var open []net.Conn
	eventually(t, 20*time.Second, "there is room", func() bool { // the harness has asked before whether the edge is ready
		c := h.dials()
		if alive(c) != nil {
			return false
		}
		open = append(open, c)
		return len(open) == most
	})
	before := h.counted("headgate_edge_refused_connections_total")
	if alive(h.dials()) == nil {
		t.Error("there was room for one more")
	}
	if after := h.counted("headgate_edge_refused_connections_total"); after != before+1 {
		t.Errorf("%v were refused, then %v", before, after)
	}
	for _, c := range open {
		must(t, alive(c))
	}
	must(t, open[0].Close())
	eventually(t, 20*time.Second, "there is room again", func() bool { return alive(h.dials()) == nil })
}

// counted is the value of a counter of the edge's.
func (h *harness) counted(name string) float64 {
	h.t.Helper()
	families, err := h.metrics.Gather()
	must(h.t, err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	h.t.Fatalf("there is no metric %s", name)
	return 0
}
