package authz_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
)

// zen is an application that asks by the AuthZEN API.
type zen struct {
	t      *testing.T
	h      *harness
	token  string
	change func(*http.Request)
}

// post answers the status and the body of one request.
func (z zen) post(path, body string) (int, string) {
	z.t.Helper()
	r := httptest.NewRequestWithContext(z.t.Context(), http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+z.token)
	r.Header.Set("X-Request-ID", "the request of the test")
	if z.change != nil {
		z.change(r)
	}
	w := httptest.NewRecorder()
	z.h.mux.ServeHTTP(w, r)
	if id := w.Header().Get("X-Request-ID"); id != "the request of the test" {
		z.t.Errorf("%s: the request id came back as %q", path, id)
	}
	return w.Code, w.Body.String()
}

// verdict is what an evaluation answers.
type verdict struct {
	Decision *bool `json:"decision"`
	Context  struct {
		Effect     string            `json:"effect"`
		Reason     string            `json:"reason"`
		Rule       string            `json:"rule"`
		Relation   string            `json:"relation"`
		Version    int               `json:"policy_version"`
		Needs      []string          `json:"needs_facts"`
		Given      []string          `json:"given_facts"`
		User       map[string]string `json:"reason_user"`
		Arguments  json.RawMessage   `json:"arguments"`
		Error      *struct{ Status int }
		ApprovalBy struct{ By string } `json:"approval"`
	} `json:"context"`
}

func (z zen) evaluate(body string) verdict {
	z.t.Helper()
	code, answer := z.post("/access/v1/evaluation", body)
	var v verdict
	if err := json.Unmarshal([]byte(answer), &v); err != nil || code != http.StatusOK || v.Decision == nil {
		z.t.Fatalf("%s: %d %s", body, code, answer)
	}
	return v
}

func question(person, agent, tool, arguments, facts string) string {
	return fmt.Sprintf(`{"subject":{"type":"user","id":%q,"department":"Sales","properties":{"agent":%q}},"action":{"name":"call","properties":{"arguments":%s}},
		"resource":{"type":"tool","id":%q,"properties":{"x":1}},"context":{"facts":%s},"futureField":{"nested":true}}`,
		person, agent, arguments, tool, facts)
}

const clampPolicy = `
apiVersion: headgate/v1
kind: Policy
metadata: {name: lists, tenant: acme}
spec:
  match: {server: tickets, tools: [list_tickets]}
  default: allow
  rules: [{name: few, when: "args.limit > 10", effect: modify, modify: [{path: /limit, clamp: {max: 10}}]}]
`

func asking(t *testing.T) zen {
	t.Helper()
	h := start(t, newAcme(t))
	if _, err := h.as("acme", "root", "admin").Apply(t.Context(), connect.NewRequest(applying(t, ticketsPolicy+"---"+clampPolicy))); err != nil {
		t.Fatal(err)
	}
	return zen{t: t, h: h, token: "acme/desk/app"}
}

func TestAuthZENAsksTheSameEngine(t *testing.T) {
	z := asking(t)
	v := z.evaluate(question("ana", "", "tickets.close_ticket", `{"id":"T-1"}`, `{"ticket":{"priority":"normal"}}`))
	if !*v.Decision || v.Context.Effect != "allow" || v.Context.Rule != "tickets/support-may-close" || v.Context.Version != 1 ||
		v.Context.Relation != "ana → role support → server tickets" || v.Context.User["en"] == "" {
		t.Errorf("allowed: %+v", v)
	}
	v = z.evaluate(question("ana", "", "tickets.close_ticket", `{"id":"T-1"}`, `{"ticket":{"priority":"high"}}`))
	if *v.Decision || v.Context.Effect != "escalate" || v.Context.Reason != "approval-required" || v.Context.ApprovalBy.By != "role:supervisor" {
		t.Errorf("escalated: %+v", v)
	}
	v = z.evaluate(question("ana", "", "tickets.close_ticket", `{"id":"T-1"}`, `null`))
	if *v.Decision || v.Context.Reason != "fact-unavailable" || len(v.Context.Needs) != 1 {
		t.Errorf("without its fact: %+v", v)
	}
	v = z.evaluate(question("ana", "scout", "crm.read_customer", `null`, `null`))
	if *v.Decision || v.Context.Reason != "agent" {
		t.Errorf("through an agent that has less: %+v", v)
	}
	if v = z.evaluate(question("carl", "", "tickets.close_ticket", `null`, `null`)); *v.Decision || v.Context.Reason != "not-granted" {
		t.Errorf("without a relation: %+v", v)
	}
	v = z.evaluate(question("ana", "", "tickets.list_tickets", `{"limit":50}`, `null`))
	if *v.Decision || v.Context.Effect != "modify" || string(v.Context.Arguments) != `{"limit":10}` {
		t.Errorf("a call that a rule changes is permitted as it is: %+v", v)
	}
	if v = z.evaluate(question("ana", "", "tickets.list_tickets", string(v.Context.Arguments), `null`)); !*v.Decision {
		t.Errorf("as the rule would have it: %+v", v)
	}
}

func TestAuthZENAnswersSeveralQuestions(t *testing.T) {
	z := asking(t)
	ask := func(options string) (int, []verdict) {
		code, answer := z.post("/access/v1/evaluations", `{"subject":{"type":"user","id":"ana"},"action":{"name":"call"},"resource":{"type":"tool"},`+options+`"evaluations":[
			{"resource":{"id":"tickets.get_ticket"}},
			{"resource":{"id":"tickets.get_ticket"},"subject":{"type":"user","id":"carl"}},
			{},
			{"resource":"tickets.get_ticket"},
			{"subject":{"id":"ben"},"resource":{"id":"crm.read_customer"}}]}`)
		var out struct{ Evaluations []verdict }
		if code == http.StatusOK && json.Unmarshal([]byte(answer), &out) != nil {
			t.Fatalf("%d %s", code, answer)
		}
		return code, out.Evaluations
	}
	said := func(all []verdict) string {
		var b strings.Builder
		for _, v := range all {
			fmt.Fprintf(&b, "%v", *v.Decision)
			if v.Context.Error != nil {
				fmt.Fprintf(&b, "(%d)", v.Context.Error.Status)
			}
			b.WriteByte(' ')
		}
		return b.String()
	}
	code, answer := z.post("/access/v1/evaluations", `{"subject":{"type":"user","id":"ana","properties":{"agent":"scout"}},"action":{"name":"call"},"evaluations":[
		{"subject":{"type":"user"},"resource":{"type":"tool","id":"crm.read_customer"}},
		{"subject":{"type":"user","id":"ana"},"resource":{"type":"tool","id":"crm.read_customer"}},
		{"subject":{"type":"user","id":"ana","properties":{"agnet":"scout"}},"resource":{"type":"tool","id":"crm.read_customer"}}]}`)
	var agents struct{ Evaluations []verdict }
	if err := json.Unmarshal([]byte(answer), &agents); err != nil || code != http.StatusOK || said(agents.Evaluations) != "false true false(400) " {
		t.Errorf("through an agent: %d %s", code, answer)
	}
	for options, want := range map[string]string{
		``: "true false false(400) false(400) true ",
		`"options":{"evaluations_semantic":"execute_all"},`:            "true false false(400) false(400) true ",
		`"options":{"evaluations_semantic":"deny_on_first_deny"},`:     "true false ",
		`"options":{"evaluations_semantic":"permit_on_first_permit"},`: "true ",
	} {
		if code, got := ask(options); code != http.StatusOK || said(got) != want {
			t.Errorf("%s: %d %s", options, code, said(got))
		}
	}
	for name, common := range map[string]string{
		"agnet": `"subject":{"type":"user","id":"ana","properties":{"agnet":"scout"}}`, "argumnets": `"action":{"name":"call","properties":{"argumnets":{}}}`, "fcats": `"context":{"fcats":{}}`,
	} {
		code, answer := z.post("/access/v1/evaluations", `{`+common+`,"evaluations":[
			{"subject":{"type":"user","id":"ana"},"action":{"name":"call"},"context":{},"resource":{"type":"tool","id":"crm.read_customer"}}]}`)
		if code != http.StatusBadRequest || !strings.Contains(answer, name) {
			t.Errorf("%s, misspelt for all: %d %s", name, code, answer)
		}
	}
	if code, _ := ask(`"options":{"evaluations_semantic":"some"},`); code != http.StatusBadRequest {
		t.Errorf("an unknown semantic: %d", code)
	}
	single := question("ana", "", "tickets.get_ticket", `null`, `null`)
	for _, body := range []string{single, strings.Replace(single, `"futureField"`, `"evaluations":[],"futureField"`, 1)} {
		if code, answer := z.post("/access/v1/evaluations", body); code != http.StatusOK || !strings.HasPrefix(answer, `{"decision":true`) {
			t.Errorf("a single question: %d %s", code, answer)
		}
	}
	if code, answer := z.post("/access/v1/evaluations", `{"evaluations":[`+strings.Repeat(`{},`, 1000)+`{}]}`); code != http.StatusBadRequest || !strings.Contains(answer, "1000") {
		t.Errorf("too many: %d %s", code, answer)
	}
}

func TestAuthZENRefusesWhatItDoesNotUnderstand(t *testing.T) {
	z := asking(t)
	good := question("ana", "", "tickets.get_ticket", `{}`, `{}`)
	if v := z.evaluate(good); !*v.Decision {
		t.Fatalf("%+v", v)
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	for name, c := range map[string]struct {
		body   string
		change func(*http.Request)
		code   int
		says   string
	}{
		"no subject":            {`{"action":{"name":"call"},"resource":{"type":"tool","id":"a.b"}}`, nil, 400, "subject"},
		"no action":             {`{"subject":{"type":"user","id":"ana"},"resource":{"type":"tool","id":"a.b"}}`, nil, 400, "action"},
		"no resource":           {`{"subject":{"type":"user","id":"ana"},"action":{"name":"call"}}`, nil, 400, "resource"},
		"a subject without id":  {strings.Replace(good, `"id":"ana"`, `"name":"ana"`, 1), nil, 400, "subject"},
		"a text for a subject":  {`{"subject":"ana","action":{"name":"call"},"resource":{"type":"tool","id":"a.b"}}`, nil, 400, "/subject"},
		"a number for a name":   {strings.Replace(good, `"name":"call"`, `"name":7`, 1), nil, 400, "/action/name"},
		"another action":        {strings.Replace(good, `"name":"call"`, `"name":"read"`, 1), nil, 400, "read"},
		"another kind of thing": {strings.Replace(good, `"type":"tool"`, `"type":"record"`, 1), nil, 400, "record"},
		"another kind of who":   {strings.Replace(good, `"type":"user"`, `"type":"service"`, 1), nil, 400, "service"},
		"no server":             {strings.Replace(good, `tickets.get_ticket`, `get_ticket`, 1), nil, 400, "SERVER.TOOL"},
		"a name in capitals":    {strings.Replace(good, `"subject"`, `"Subject"`, 1), nil, 400, "subject"},
		"a name twice":          {strings.Replace(good, `"id":"ana"`, `"id":"carl","id":"ana"`, 1), nil, 400, "strict"},
		"arguments in a list":   {strings.Replace(good, `"arguments":{}`, `"arguments":[]`, 1), nil, 400, "object"},
		"facts in a text":       {strings.Replace(good, `"facts":{}`, `"facts":"x"`, 1), nil, 400, "facts"},
		"an agent misspelt":     {strings.Replace(good, `"agent"`, `"agnet"`, 1), nil, 400, `subject.properties has a member that is not read: the member "agnet" is not known; the nearest is "agent"`},
		"arguments misspelt":    {strings.Replace(good, `"arguments"`, `"argumnets"`, 1), nil, 400, `action.properties has a member that is not read: the member "argumnets" is not known; the nearest is "arguments"`},
		"an address misspelt":   {strings.Replace(good, `"facts":{}`, `"facts":{},"ipp":"192.0.2.7"`, 1), nil, 400, `context has a member that is not read: the member "ipp" is not known; the nearest is "ip"`},
		"half a body":           {good[:20], nil, 400, "JSON"},
		"no body":               {``, nil, 400, "body"},
		"a list":                {`[]`, nil, 400, "object"},
		"another content type":  {good, header("Content-Type", "text/plain"), 400, "application/json"},
		"another tenant":        {strings.Replace(good, `"facts":{}`, `"tenant":"globex"`, 1), nil, 403, "globex"},
		"an unknown token":      {good, header("Authorization", "Bearer stolen"), 401, ""},
		"no token":              {good, func(r *http.Request) { r.Header.Del("Authorization") }, 401, ""},
		"two tokens":            {good, func(r *http.Request) { r.Header.Add("Authorization", "Bearer acme/desk/app") }, 401, ""},
		"a member":              {good, header("Authorization", "Bearer acme/ana/member"), 403, ""},
		"13 MB":                 {`{"x":"` + strings.Repeat("x", 13<<20) + `"}`, nil, 413, "bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			code, answer := zen{t, z.h, z.token, c.change}.post("/access/v1/evaluation", c.body)
			var sentence string
			if err := json.Unmarshal([]byte(answer), &sentence); err != nil || code != c.code || sentence == "" || !strings.Contains(sentence, c.says) {
				t.Errorf("%d %s", code, answer)
			}
		})
	}
	z.h.trust.hush()
	eventually(t, 40*time.Second, func() bool {
		code, _ := z.post("/access/v1/evaluation", good)
		return code == http.StatusServiceUnavailable
	})
}

func TestAuthZENSaysWhereItIs(t *testing.T) {
	h := start(t, newAcme(t))
	w := httptest.NewRecorder()
	h.mux.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://api.example.com/.well-known/authzen-configuration", nil))
	var said map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil || w.Code != http.StatusOK || said["policy_decision_point"] != "http://api.example.com" ||
		said["access_evaluation_endpoint"] != "http://api.example.com/access/v1/evaluation" ||
		said["access_evaluations_endpoint"] != "http://api.example.com/access/v1/evaluations" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
