package edge_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"headgate.dev/libs/token"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
)

// calendar changes the tenant's calendar, without its policies, to these days, every year.
func (w *world) calendar(name string, dates ...string) {
	text := "BEGIN:VCALENDAR\n"
	for _, date := range dates {
		text += "BEGIN:VEVENT\nSUMMARY:Off\nDTSTART;VALUE=DATE:" + date + "\nRRULE:FREQ=YEARLY\nEND:VEVENT\n"
	}
	c := &authzv1.Calendar{
		ApiVersion: "headgate/v1", Kind: "Calendar", Metadata: &resourcev1.Metadata{Name: name, Tenant: acme, Version: 1},
		Spec: &authzv1.CalendarSpec{Ical: text + "END:VCALENDAR\n"},
	}
	w.mu.Lock()
	w.calendars = []*authzv1.Calendar{c}
	m := &authzv1.WatchResponse{Revision: w.next(), Calendars: w.calendars}
	w.mu.Unlock()
	w.authzHub.Publish(m)
}

// greetAt calls the greeter with the official client at a time of the edge's clock, and says whether the call passed, and the refusal's text.
func greetAt(t *testing.T, h *harness, at string) (passed bool, text string) {
	t.Helper()
	when, err := time.Parse(time.RFC3339, at)
	must(t, err)
	h.ahead.Store(int64(time.Until(when)))
	fresh := h.tokenFor("ana", h.base+"/mcp", func(c *token.Claims) { c.IssuedAt, c.Expires = when.Add(-time.Minute), when.Add(time.Hour) })
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	var session *sdk.ClientSession
	eventually(t, 20*time.Second, "a session at "+at, func() bool { // what was heard before the clock was set is stale until the next heartbeat
		session, err = sdk.NewClient(&sdk.Implementation{Name: "official", Version: "1"}, nil).Connect(context.Background(), &sdk.StreamableClientTransport{
			Endpoint: h.base + "/mcp/greeter", HTTPClient: &http.Client{Transport: bearerTransport{fresh, base}}, DisableStandaloneSSE: true,
		}, nil)
		return err == nil
	})
	defer session.Close()
	var result *sdk.CallToolResult
	eventually(t, 20*time.Second, "an answer of the rules at "+at, func() bool {
		result, err = session.CallTool(context.Background(), &sdk.CallToolParams{Name: "greet", Arguments: map[string]any{"name": "ana"}})
		if err != nil || len(result.Content) != 1 {
			return false
		}
		said, ok := result.Content[0].(*sdk.TextContent)
		if !ok {
			return false
		}
		text = said.Text
		return !result.IsError || strings.Contains(text, "hours/") || strings.Contains(text, "policy hours")
	})
	return !result.IsError, text
}

func TestBusinessHoursHoldOnHolidaysAndOverSummerTimeForARealClient(t *testing.T) {
	upstream := httptest.NewServer(sdkServer(true)(t))
	t.Cleanup(upstream.Close)
	w := newWorld(t)
	w.person("ana", nil)
	w.server("greeter", upstream.URL, shown(t, upstream.URL, true), nil)
	w.grant("person/ana", "greeter", "*", "call")
	w.calendar("berlin", "20201225", "20200501")
	w.policy("hours", &authzv1.PolicySpec{Match: &authzv1.Match{Server: "greeter"}, Default: "block", Rules: []*authzv1.Rule{
		rule("open", `openAt(request.time, "Mo-Fr 08:00-18:00", "Europe/Berlin", "berlin")`, "allow"),
	}})
	h := start(t, w, nil)
	for _, c := range []struct {
		at     string
		passes bool
	}{
		{"2055-03-26T06:59:00Z", false}, // Friday 07:59 in winter
		{"2055-03-26T07:01:00Z", true},  // 08:01
		{"2055-03-29T05:59:00Z", false}, // Monday 07:59: the clocks changed on Sunday
		{"2055-03-29T06:01:00Z", true},  // 08:01 in summer
		{"2055-03-29T15:59:00Z", true},
		{"2055-03-29T16:01:00Z", false}, // 18:01
		{"2056-05-01T10:00:00Z", false}, // a Monday, and Labour Day
		{"2056-05-02T10:00:00Z", true},
		{"2056-10-27T06:01:00Z", true},  // Friday 08:01 in summer
		{"2056-10-30T06:01:00Z", false}, // Monday 07:01 in winter
		{"2056-12-25T10:00:00Z", false}, // a Monday, and Christmas
	} {
		if passed, text := greetAt(t, h, c.at); passed != c.passes {
			t.Errorf("%s: passed %v: %s", c.at, passed, text)
		}
	}
	w.calendar("berlin", "20200501") // Christmas is worked
	eventually(t, 20*time.Second, "the policy is decided by the new calendar", func() bool {
		passed, _ := greetAt(t, h, "2056-12-25T10:00:00Z")
		return passed
	})
}
