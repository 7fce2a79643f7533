package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

// one is a policy for close_ticket with one block rule and default allow; the rule blocks when the expression is true.
func one(t testing.TB, when string) *policy.Bundle {
	t.Helper()
	return bundle(t, "p", oneSpec(t, when))
}

func oneSpec(t testing.TB, when string) string {
	t.Helper()
	quoted, err := json.Marshal(when)
	if err != nil {
		t.Fatal(err)
	}
	return `"match":{"server":"tickets"},"default":"allow","rules":[{"name":"r","when":` + string(quoted) + `,"effect":"block"}]`
}

func TestWhatRulesSee(t *testing.T) {
	req := ana(`{"id":"T-1","n":9007199254740993,"big":18446744073709551615,"f":1.5,"whole":3.0,"e":1e3,"list":[1,2,3],"o":{"a":{"b":null}},"force":true,
		"q":"SELECT * FROM users WHERE id = 1"}`)
	req.Agent.Name = "bot"
	req.Principal.Groups, req.Principal.Teams = []string{"g"}, []string{"care-1"}
	req.Principal.Attributes = map[string]string{"level": "2"}
	req.Server.Labels, req.Tool.Labels = []string{"egress"}, []string{"destructive"}
	req.Tool.Annotations = json.RawMessage(`{"readOnlyHint":false,"n":1}`)
	req.Country = "DE"
	req.Trust = map[string]any{"score": int64(70)}
	req.Taint = []string{"reads-private"}
	for _, when := range []string{
		`principal.name == "ana"`, `principal.email.endsWith("@acme.example")`, `principal.department == "care"`, `"support" in principal.roles`,
		`"g" in principal.groups && principal.teams.exists(t, t.startsWith("care"))`, `principal.attributes.level == "2"`,
		`!has(principal.attributes.other)`, `has(principal.email)`, `principal == principal`,
		`agent.name == "bot"`, `has(agent.name)`, `server.name == "tickets" && "egress" in server.labels`,
		`tool.name == "close_ticket" && tool.labels == ["destructive"]`, `tool.annotations.readOnlyHint == false`, `!has(tool.annotations.destructiveHint)`,
		`request.time == timestamp("2026-03-04T12:00:00Z")`, `request.time.getHours("Europe/Berlin") == 13`, `request.ip == "203.0.113.9"`,
		`cidr("203.0.113.0/24").containsIP(request.ip)`, `request.country == "DE"`, `has(request.country)`,
		`trust.score >= 70`, `"reads-private" in taint`,
		`args.n == 9007199254740993`, `args.n != 9007199254740992`, `args.n > 9007199254740992`, `args.big == 18446744073709551615u`, `args.f == 1.5`,
		`args.whole == 3`, `args.whole + 1 == 4`, `args.e == 1000`, `args.n > 1.5`, `args.list.all(x, x > 0)`, `2 in args.list`, `args.list.size() == 3`,
		`args.o.a.b == null`, `has(args.o.a) && !has(args.o.x)`, `args.force == true`, `args["id"] == "T-1"`, `"id" in args`, `args.exists(k, k == "force")`,
		`args.map(k, k)[0] == "big"`, `args.id.matches("^T-[0-9]+$")`, `args.id.lowerAscii() == "t-1"`, `math.greatest(args.list) == 3`,
		`sql(args.q).readOnly`, `sql(args.q).tables == ["users"]`, `sql(args.q).hasWhere && sql(args.q).statements == 1`, `sql(args.q).functions.size() == 0`,
		`sql(args.q).columns.exists(c, c in ["ssn", "*"])`,
		`!sql("DELETE FROM t").readOnly`, `sql("PRAGMA x").why != ""`, `!sql("PRAGMA x").understood`, `type(args.n) == int`,
		`args.list.map(x, x * 2) == [2, 4, 6]`,
	} {
		d := one(t, when).Evaluate(req)
		if d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_RULE {
			t.Errorf("%s: %s: %s", when, d.Effect, d.Sentence)
		}
	}
}

// A rule that cannot be evaluated blocks (threat T26: nothing fails open).
func TestT26ARuleThatCannotBeEvaluatedBlocks(t *testing.T) {
	for when, says := range map[string]string{
		`args.x == 1`:                                        "no such key: x",
		`args.o.deep.er == 1`:                                "no such key: deep",
		`args.list[9] == 1`:                                  "index",
		`args.id > 3`:                                        "no such overload",
		`int(args.id) > 3`:                                   "",
		`1 / (args.n - 1) == 1`:                              "division by zero",
		`args.n * 9223372036854775807 * 4 > 1`:               "overflow",
		`principal.attributes.level == "2"`:                  "no such key: level",
		`request.country == "DE"`:                            "request.country is not known",
		`trust.score > 1`:                                    "trust",
		`"egress" in taint`:                                  "taint",
		`tool.annotations.readOnlyHint == true`:              "no such key",
		`sql(args.id).tables.size() == 0`:                    "not understood",
		`sql(args.n).readOnly`:                               "no such overload",
		`args.id.matches(args.bad)`:                          "error parsing regexp",
		`cidr(args.id).containsIP(request.ip)`:               "",
		`args.list.exists(x, args.list.exists(y, x.z == y))`: "",
	} {
		d := one(t, when).Evaluate(ana(`{"id":"T-1","n":1,"list":[1],"o":{},"bad":"("}`))
		if when == `args.n * 9223372036854775807 * 4 > 1` {
			d = one(t, when).Evaluate(ana(`{"n":3}`))
		}
		reason := faultv1.Reason_REASON_RULE_ERROR
		if says == "no such overload" {
			reason = faultv1.Reason_REASON_RULE_TYPE
		}
		if d.Effect != policy.Block || d.Reason != reason || !d.Alert || d.Rule != "p/r" || !strings.Contains(d.Sentence, "rule p/r") ||
			!strings.Contains(d.Rules[0].Error, says) || d.Rules[0].Matched {
			t.Errorf("%s: %+v", when, d)
		}
	}
}

func TestT26ArgumentsThatAreNoObjectBlockWhereARuleReadsThem(t *testing.T) {
	for _, args := range []string{`[1]`, `{"a":1`, `{"a":1,"a":2}`, `{"a":1e400}`, `{} {}`, `"x"`, `null`, "{\"a\":\"\xff\"}", `{"a":"\ud800"}`} {
		d := one(t, `has(args.a) && args.a == 7`).Evaluate(ana(args))
		if d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_RULE_ERROR {
			t.Errorf("%s: %+v", args, d)
		}
	}
	if d := one(t, `has(args.a)`).Evaluate(ana("")); d.Effect != policy.Allow {
		t.Errorf("no arguments: %+v", d)
	}
}

func TestT26ARuleThatCostsTooMuchBlocks(t *testing.T) {
	list := make([]string, 3000)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	args := `{"l":[` + strings.Join(list, ",") + `]}`
	d := one(t, `args.l.exists(x, args.l.exists(y, x + y < 0))`).Evaluate(ana(args))
	if d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_RULE_COST || !d.Alert || !strings.Contains(d.Rules[0].Error, "cost") {
		t.Errorf("%+v", d)
	}
	sql := one(t, `args.l.exists(x, sql("SELECT " + string(x) + args.pad).readOnly == false)`)
	d = sql.Evaluate(ana(`{"pad":" FROM ` + strings.Repeat("a", 1000) + `","l":[` + strings.Join(list, ",") + `]}`))
	if d.Reason != faultv1.Reason_REASON_RULE_COST || !strings.Contains(d.Rules[0].Error, "cost") {
		t.Errorf("%+v", d)
	}
	if d := one(t, `args.l.exists(x, args.l.exists(y, x + y < 0))`).Evaluate(ana(`{"l":[1,2,3]}`)); d.Effect != policy.Allow {
		t.Errorf("%+v", d)
	}
}

func TestMistakesAreRefusedWhenCompiledWithTheirPlace(t *testing.T) {
	for _, c := range []struct {
		when         string
		line, column string
		says         string
	}{
		{`principle.name == "ana"`, "1", "1", `the name "principle" is not known; the nearest is "principal"`},
		{"true &&\n  argz.id == 1", "2", "3", `the name "argz" is not known; the nearest is "args"`},
		{`principal.rolez.size() == 0`, "1", "10", `the field "rolez" is not known; the nearest is "roles"`},
		{`sqll(args.q).readOnly`, "1", "5", `the name "sqll" is not known; the nearest is "sql"`},
		{`args.id.startWith("T")`, "1", "18", `the name "startWith" is not known; the nearest is "startsWith"`},
		{`sql(args.q).readonly`, "1", "12", `the field "readonly" is not known; the nearest is "readOnly"`},
		{`sql(args.q, 1).readOnly`, "1", "4", `sql`},
		{`sql(1).readOnly`, "1", "4", `'sql' applied to '(int)'`},
		{`facts.tickt.priority == "x"`, "1", "6", `the fact "tickt" is not known; the nearest is "ticket"`},
		{`facts["ticket"].priority == "x"`, "1", "1", "facts are read by name"},
		{`size(facts) > 0`, "1", "6", "facts are read by name"},
		{`args.id`, "1", "1", "the expression gives a value whose type is only known when it runs"},
		{`1 + 1`, "1", "1", "the expression gives a int, it must give a bool"},
		{`args.id ==`, "1", "11", "Syntax error"},
		{`args.id.matches("(")`, "1", "17", "invalid matches argument"},
		{`request.time > timestamp("yesterday")`, "1", "26", "invalid timestamp argument"},
		{`principal.name == 1`, "1", "16", "found no matching overload for '_==_' applied to '(string, int)'"},
		{`args.t.replace("a", args.t) == "x"`, "1", "25", "what replace inserts must be a text of at most 64 bytes"},
		{`args.l.join(args.t) == "x"`, "1", "17", "what join inserts"},
		{`headgate.Principal{name: "root"} == principal`, "1", "19", "a rule cannot make"},
		{`@memo == @memo`, "1", "1", "Syntax error"},
	} {
		spec := strings.Replace(oneSpec(t, c.when), `"default"`, `"facts":{"ticket":{"tool":"get_ticket"}},"default"`, 1)
		_, err := policy.Compile(parse(t, "p", spec))
		f := fault.From(err)
		if f == nil {
			t.Errorf("%s: compiles", c.when)
			continue
		}
		if f.Reason != faultv1.Reason_REASON_INVALID || f.About["rule"] != "r" || f.About["policy"] != "p" || f.About["line"] != c.line ||
			f.About["column"] != c.column || !strings.Contains(f.Sentence, c.says) || !strings.Contains(f.Sentence, "rule r, line "+c.line) {
			t.Errorf("%s: %s %v", c.when, f.Sentence, f.About)
		}
	}
}

func TestPoliciesThatSayWhatIsNotEnforcedAreRefused(t *testing.T) {
	rule := func(s string) string { return `"match":{"server":"s"},"rules":[{"name":"r","when":"true",` + s + `}]` }
	for name, spec := range map[string]string{
		"two rules of one name":      `"match":{"server":"s"},"rules":[{"name":"r","when":"true","effect":"allow"},{"name":"r","when":"true","effect":"block"}]`,
		"no effect":                  rule(`"reason":"x"`),
		"modify without changes":     rule(`"effect":"modify"`),
		"changes without modify":     rule(`"effect":"allow","modify":[{"path":"/a","remove":true}]`),
		"approval without escalate":  rule(`"effect":"block","approval":{"by":"role:x"}`),
		"an expiry of zero":          rule(`"effect":"escalate","approval":{"by":"role:x","expires":"0s"}`),
		"a change of nothing":        rule(`"effect":"modify","modify":[{"path":"/a"}]`),
		"remove false":               rule(`"effect":"modify","modify":[{"path":"/a","remove":false}]`),
		"clamp without bounds":       rule(`"effect":"modify","modify":[{"path":"/a","clamp":{}}]`),
		"clamp upside down":          rule(`"effect":"modify","modify":[{"path":"/a","clamp":{"min":2,"max":1}}]`),
		"clamp to infinity":          rule(`"effect":"modify","modify":[{"path":"/a","clamp":{"max":"Infinity"}}]`),
		"an unknown mask":            rule(`"effect":"modify","modify":[{"path":"/a","mask":"half"}]`),
		"a path that is none":        rule(`"effect":"modify","modify":[{"path":"a","remove":true}]`),
		"a path with a bad escape":   rule(`"effect":"modify","modify":[{"path":"/a~2","remove":true}]`),
		"the whole of the arguments": rule(`"effect":"modify","modify":[{"path":"","remove":true}]`),
		"a default that is neither":  `"match":{"server":"s"},"default":"escalate","rules":[{"name":"r","when":"true","effect":"allow"}]`,
		"no match":                   `"rules":[{"name":"r","when":"true","effect":"allow"}]`,
		"a fact of facts": `"match":{"server":"s"},"facts":{"a":{"tool":"t","args":{"x":"facts.b"}},"b":{"tool":"t"}},` +
			`"rules":[{"name":"r","when":"true","effect":"allow"}]`,
		"a fact with a bad path": `"match":{"server":"s"},"facts":{"a":{"tool":"t","path":"x"}},"rules":[{"name":"r","when":"true","effect":"allow"}]`,
	} {
		if _, err := policy.Compile(parse(t, "p", spec)); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Log(err)
		}
	}
	for _, p := range []*authzv1.Policy{nil, {}} {
		if _, err := policy.Compile(p); !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Errorf("%v: %v", p, err)
		}
	}
}

func TestLargeAndDeepRules(t *testing.T) {
	long := `args.id in ["T-1"` + strings.Repeat(`,"T-100000"`, 1400) + `]`
	if d := one(t, long).Evaluate(ana(`{"id":"T-1"}`)); d.Effect != policy.Block {
		t.Errorf("%d bytes: %+v", len(long), d)
	}
	chain := `args.id == "x"` + strings.Repeat(` || args.id == "T-1"`, 700)
	if d := one(t, chain).Evaluate(ana(`{"id":"T-1"}`)); d.Effect != policy.Block {
		t.Errorf("%d bytes: %+v", len(chain), d)
	}
	for name, when := range map[string]string{
		"parentheses": strings.Repeat("(", 8000) + "true" + strings.Repeat(")", 8000), "not": strings.Repeat("!", 8000) + "true",
		"lists": strings.Repeat("[", 4000) + strings.Repeat("]", 4000) + " == []", "fields": "args" + strings.Repeat(".a", 4000) + " == 1",
		"calls": strings.Repeat("size(", 2000) + "1" + strings.Repeat(")", 2000) + " == 1", "too long": `"` + strings.Repeat("a", 17000) + `" == ""`,
		"comprehensions": strings.Repeat("args.a.exists(x, ", 100) + "true" + strings.Repeat(")", 100),
	} {
		started := time.Now()
		c, err := policy.Compile(parse(t, "p", oneSpec(t, when)))
		if err == nil {
			policy.NewBundle([]*policy.Compiled{c}).Evaluate(ana(`{"a":[1,2,3]}`))
		} else if !fault.Is(err, faultv1.Reason_REASON_INVALID) || len(err.Error()) > 600 {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %v", name, time.Since(started))
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("%s took %v", name, took)
		}
	}
}
