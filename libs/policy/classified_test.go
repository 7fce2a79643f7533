package policy_test

import (
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/policy"
)

// A label of a place in a tool's results takes the place out for who has no clearance for its class, whatever lets the call pass.
func TestAPlaceOfAResultIsForThoseWhoAreClearedForIt(t *testing.T) {
	diagnosis, note := "/structuredContent/diagnosis", "/structuredContent/note"
	labels := []string{"data:health@" + diagnosis, "data:legal@?" + note, "egress"}
	none := policy.NewBundle(nil)
	allows := bundle(t, "p", spec("block", ruleJSON("support", policy.Allow, `"support" in principal.roles`)))
	defaults := bundle(t, "p", spec("allow", ruleJSON("never", policy.Block, `args.n == 7`)))
	redacts := bundle(t, "p", `"match":{"server":"tickets"},"default":"allow","rules":[{"name":"id","when":"true","effect":"redact","redact":["/structuredContent/ssn"]}]`)
	escalates := bundle(t, "p", `"match":{"server":"tickets"},"rules":[{"name":"ask","when":"true","effect":"escalate","approval":{"by":"group:leads"}}]`)
	blocks := bundle(t, "p", spec("block", ruleJSON("never", policy.Allow, `args.n == 7`)))
	for _, c := range []struct {
		name             string
		of               *policy.Bundle
		cleared          []string
		effect, out, may string
	}{
		{"relation alone", none, nil, policy.Modify, diagnosis + " " + note, note},
		{"relation alone, cleared for one", none, []string{"health"}, policy.Modify, note, note},
		{"relation alone, cleared for both", none, []string{"health", "legal"}, policy.Allow, "", ""},
		{"a rule", allows, nil, policy.Modify, diagnosis + " " + note, note},
		{"a rule, cleared for both", allows, []string{"legal", "health"}, policy.Allow, "", ""},
		{"a default", defaults, []string{"legal"}, policy.Modify, diagnosis, ""},
		{"a rule that redacts too", redacts, []string{"legal"}, policy.Modify, diagnosis + " /structuredContent/ssn", ""},
		{"an approval", escalates, []string{"legal"}, policy.Escalate, diagnosis, ""},
		{"a refusal", blocks, nil, policy.Block, "", ""},
	} {
		req := ana(`{"n":1}`)
		req.Tool.Labels, req.Principal.Clearances = labels, c.cleared
		d := c.of.Evaluate(req)
		if out := strings.Join(slices.Sorted(slices.Values(d.Redact)), " "); d.Effect != c.effect || out != c.out || strings.Join(d.RedactIfThere, " ") != c.may {
			t.Errorf("%s: %s takes %s (if there %v)", c.name, d.Effect, out, d.RedactIfThere)
		}
		if d.Effect == policy.Modify && (!strings.Contains(d.Sentence, "needs a clearance that the person does not have") || string(d.Arguments) != `{"n":1}` || len(d.Changed) != 0) {
			t.Errorf("%s: %s; %s %v", c.name, d.Sentence, d.Arguments, d.Changed)
		}
	}
}

func TestAPlaceOfAResultIsNoClassOfItsTool(t *testing.T) {
	b := bundle(t, "p", spec("allow", ruleJSON("health", policy.Block, `"health" in tool.classes || "health" in server.classes`)))
	req := ana(`{}`)
	req.Tool.Labels, req.Principal.Clearances = []string{"data:health@/structuredContent/diagnosis"}, []string{"health"}
	if d := b.Evaluate(req); d.Effect != policy.Allow {
		t.Error(d.Effect, d.Sentence)
	}
	req.Tool.Labels = []string{"data:health"}
	if d := b.Evaluate(req); d.Effect != policy.Block {
		t.Error(d.Effect, d.Sentence)
	}
}
