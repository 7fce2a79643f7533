package policy_test

import (
	"encoding/json"
	"strings"
	"testing"

	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// What is sent is what rules saw: whatever a rule put into the arguments is judged like what was asked.
func TestWhatARuleChangedIsJudgedAsWell(t *testing.T) {
	const ticket = `"match":{"server":"tickets"},"facts":{"ticket":{"tool":"get_ticket","args":{"id":"args.id"}}},"rules":[
		{"name":"high","when":"facts.ticket.priority == \"high\"","effect":"block"},{"name":"all","when":"true","effect":"allow"},`
	const set = `{"name":"change","when":"true","effect":"modify","modify":[{"path":"/text","set":"a secret word"}]}`
	for name, c := range map[string]struct {
		spec, args string
		effect     string
		reason     faultv1.Reason
		rule, says string
	}{
		"a rule blocks what another put in": {
			rulesOf(`{"name":"no-secrets","when":"has(args.text) && args.text.contains(\"secret\")","effect":"block"},` + set), `{"id":"T-1"}`,
			policy.Block, faultv1.Reason_REASON_RULE, "p/no-secrets", "as rules had changed them",
		},
		"a rule escalates it": {
			rulesOf(`{"name":"ask","when":"has(args.text) && args.text.contains(\"secret\")","effect":"escalate","approval":{"by":"role:lead"}},` + set), `{"id":"T-1"}`,
			policy.Escalate, faultv1.Reason_REASON_APPROVAL_REQUIRED, "p/ask", "lead",
		},
		"a fact of another ticket": {
			ticket + `{"name":"swap","when":"true","effect":"modify","modify":[{"path":"/id","set":"T-2"}]}]`, `{"id":"T-1"}`,
			policy.Block, faultv1.Reason_REASON_FACT_UNAVAILABLE, "p/high", "was read for the arguments as they were asked",
		},
		"a fact of the same ticket": {
			ticket + `{"name":"mark","when":"true","effect":"modify","modify":[{"path":"/text","set":"x"}]}]`, `{"id":"T-1"}`,
			policy.Modify, 0, "p/mark", "it changed /text",
		},
		"a rule that cannot be judged any more": {
			rulesOf(`{"name":"long","when":"args.text.size() > 5","effect":"block"},{"name":"drop","when":"true","effect":"modify","modify":[{"path":"/text","remove":true}]}`), `{"text":"abc"}`,
			policy.Block, faultv1.Reason_REASON_RULE_ERROR, "p/long", "",
		},
		"what allowed it is not asked again": {
			rulesOf(`{"name":"cap","when":"args.n > 10","effect":"modify","modify":[{"path":"/n","clamp":{"max":10}}]}`), `{"n":500}`,
			policy.Modify, 0, "p/cap", "it changed /n",
		},
		"a rule in shadow decides nothing": {
			rulesOf(`{"name":"no-secrets","when":"has(args.text) && args.text.contains(\"secret\")","effect":"block","shadow":true},` + set), `{"id":"T-1"}`,
			policy.Modify, 0, "p/change", "",
		},
		"a limit that was not counted": {
			rulesOf(`{"name":"few","when":"args.n <= 10","effect":"limit","limit":{"calls":5,"window":"1h"}},{"name":"cap","when":"args.n > 10","effect":"modify","modify":[{"path":"/n","clamp":{"max":10}}]}`),
			`{"n":500}`, policy.Block, faultv1.Reason_REASON_RULE_ERROR, "p/few", "(the calls of this limit were not counted for the arguments as they were asked",
		},
		"a sum that would have been larger": {
			`"match":{"server":"tickets"},"counters":{"spent":{"of":"args.n","window":"24h","per":["person"]}},"rules":[
				{"name":"day","when":"counters.spent > 1000","effect":"block"},{"name":"more","when":"true","effect":"modify","modify":[{"path":"/n","set":900}]}]`, `{"n":5}`,
			policy.Block, faultv1.Reason_REASON_RULE_ERROR, "p/day", "(the counter spent counted the arguments as they were asked",
		},
		"a sum that would have been smaller": {
			`"match":{"server":"tickets"},"counters":{"spent":{"of":"args.n","window":"24h","per":["person"]}},"rules":[
				{"name":"day","when":"counters.spent > 1000","effect":"block"},{"name":"less","when":"true","effect":"modify","modify":[{"path":"/n","set":1}]}]`, `{"n":5}`,
			policy.Modify, 0, "p/less", "",
		},
	} {
		b, req := bundle(t, "p", c.spec), ana(c.args)
		req.Facts = map[string]any{"p/ticket": json.RawMessage(`{"priority":"normal"}`)}
		for _, need := range b.CountNeeds(req) {
			if req.Counts == nil {
				req.Counts = map[string]float64{}
			}
			req.Counts[need.Key] = need.Amount
		}
		d := b.Evaluate(req)
		if d.Effect != c.effect || d.Reason != c.reason || d.Rule != c.rule || !strings.Contains(d.Sentence, c.says) {
			t.Errorf("%s: %s %s %s: %s", name, d.Effect, d.Reason, d.Rule, d.Sentence)
		}
		if d.Effect == policy.Block && (d.Arguments != nil || d.Changed != nil) {
			t.Errorf("%s: blocked, with arguments to be sent: %s", name, d.Arguments)
		}
	}
}

func TestARuleThatRedactsOrAlertsSeesWhatWasChanged(t *testing.T) {
	b := bundle(t, "p", rulesOf(`{"name":"hide","when":"args.n == 10","effect":"redact","redact":["/structuredContent/a"]},{"name":"tell","when":"args.n == 10","effect":"alert"},
		{"name":"cap","when":"args.n > 10","effect":"modify","modify":[{"path":"/n","clamp":{"max":10}}]}`))
	d := b.Evaluate(ana(`{"n":500}`))
	if d.Effect != policy.Modify || string(d.Arguments) != `{"n":10}` || len(d.Redact) != 1 || !d.Alert || !d.Rules[0].Matched || !d.Rules[1].Matched {
		t.Errorf("%+v", d)
	}
}
