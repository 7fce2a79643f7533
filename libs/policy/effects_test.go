package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func rulesOf(rules string) string {
	return `"match":{"server":"tickets"},"rules":[` + rules + `]`
}

const allowAll = `{"name":"all","when":"true","effect":"allow"}`

func TestABlockThatNeedsNoFactIsSaidFirst(t *testing.T) {
	b := bundle(t, "p", `"match":{"server":"tickets"},"facts":{"ticket":{"tool":"get_ticket","args":{"id":"args.id"}}},
		"rules":[{"name":"by-fact","when":"facts.ticket.open == true","effect":"block"},{"name":"never","when":"true","effect":"block"}]`)
	if d := b.Evaluate(ana(`{"id":"T-1"}`)); d.Effect != policy.Block || d.Rule != "p/never" || d.Reason != faultv1.Reason_REASON_RULE {
		t.Errorf("%+v", d)
	}
}

func TestRedactNamesWhatMustGoAndLetsNothingPassByItself(t *testing.T) {
	b := bundle(t, "p", rulesOf(`{"name":"no-ssn","when":"!(\"health\" in principal.clearances)","effect":"redact","redact":["/structuredContent/ssn"]},
		{"name":"no-dob","when":"true","effect":"redact","redact":["/structuredContent/dob","/structuredContent/ssn"]},`+allowAll))
	d := b.Evaluate(ana(`{"id":"T-1"}`))
	if d.Effect != policy.Modify || strings.Join(d.Redact, " ") != "/structuredContent/ssn /structuredContent/dob" || string(d.Arguments) != `{"id":"T-1"}` || d.Rule != "p/no-ssn" ||
		!strings.Contains(d.Sentence, "takes /structuredContent/ssn") {
		t.Errorf("%+v", d)
	}
	cleared := ana(`{"id":"T-1"}`)
	cleared.Principal.Clearances = []string{"health"}
	if d := b.Evaluate(cleared); len(d.Redact) != 2 || d.Rule != "p/no-dob" {
		t.Errorf("%+v", d)
	}
	blocked := bundle(t, "p", rulesOf(`{"name":"r","when":"true","effect":"redact","redact":["/a"]},{"name":"b","when":"true","effect":"block"}`))
	if d := blocked.Evaluate(ana(`{}`)); d.Effect != policy.Block || d.Redact != nil {
		t.Errorf("%+v", d)
	}
	alone := bundle(t, "p", rulesOf(`{"name":"r","when":"true","effect":"redact","redact":["/a"]}`))
	if d := alone.Evaluate(ana(`{}`)); d.Effect != policy.Block || d.Rule != "" {
		t.Errorf("a redaction lets pass by itself: %+v", d)
	}
	held := bundle(t, "p", rulesOf(`{"name":"r","when":"true","effect":"redact","redact":["/a"]},{"name":"e","when":"true","effect":"escalate"}`))
	if d := held.Evaluate(ana(`{}`)); d.Effect != policy.Escalate || len(d.Redact) != 1 {
		t.Errorf("what is approved is not redacted: %+v", d)
	}
}

// A policy that comes first by its name does not undercut the approvers of another.
func TestEveryApprovalIsNeeded(t *testing.T) {
	easy, err := policy.Compile(parse(t, "a-team", rulesOf(`{"name":"easy","when":"true","effect":"escalate","approval":{"by":"role:team","quorum":1}}`)))
	strict, other := policy.Compile(parse(t, "compliance", rulesOf(`{"name":"strict","when":"true","effect":"escalate","approval":{"by":"role:compliance","quorum":2},"reason":"Four eyes."},
		{"name":"again","when":"true","effect":"escalate","approval":{"by":"role:compliance","quorum":2}},
		{"name":"shadow","when":"true","effect":"escalate","shadow":true,"approval":{"by":"role:nobody"}}`)))
	if err != nil || other != nil {
		t.Fatal(err, other)
	}
	d := policy.NewBundle([]*policy.Compiled{strict, easy}).Evaluate(ana(`{}`))
	var by []string
	for _, a := range d.Proto().GetApprovals() {
		by = append(by, fmt.Sprint(a.GetBy(), a.GetQuorum()))
	}
	if d.Effect != policy.Escalate || strings.Join(by, " ") != "role:team1 role:compliance2" || d.Approval.GetBy() != "role:team" ||
		!strings.Contains(d.Sentence, "role team (rule a-team/easy), and 2 approvals of role compliance: Four eyes (rule compliance/strict)") {
		t.Errorf("%+v", d)
	}
}

func TestAnAlertSaysNothingButInTheRecord(t *testing.T) {
	b := bundle(t, "p", rulesOf(`{"name":"seen","when":"args.id == \"T-1\"","effect":"alert"},`+allowAll))
	if d := b.Evaluate(ana(`{"id":"T-1"}`)); d.Effect != policy.Allow || !d.Alert || d.Rule != "p/all" {
		t.Errorf("%+v", d)
	}
	if d := b.Evaluate(ana(`{"id":"T-2"}`)); d.Alert {
		t.Errorf("%+v", d)
	}
	if d := b.Evaluate(ana(`{}`)); d.Effect != policy.Allow || !d.Alert {
		t.Errorf("an alert that cannot be judged is silent, or blocks: %+v", d)
	}
	alone := bundle(t, "p", rulesOf(`{"name":"seen","when":"true","effect":"alert"}`))
	if d := alone.Evaluate(ana(`{}`)); d.Effect != policy.Block || d.Rule != "" {
		t.Errorf("an alert answers: %+v", d)
	}
}

func TestALimitBlocksWhenItIsUsedUp(t *testing.T) {
	b := bundle(t, "p", rulesOf(`{"name":"two","when":"args.force == true","effect":"limit","limit":{"calls":2,"window":"1h"},"reason":"Forcing is for emergencies."},`+allowAll))
	req := ana(`{"force":true}`)
	needs := b.CountNeeds(req)
	if len(needs) != 1 || needs[0].Key != "p/two" || needs[0].Amount != 1 || !strings.Contains(needs[0].Bucket, `person="ana"`) || !strings.Contains(needs[0].Bucket, `"acme"`) {
		t.Fatalf("%+v", needs)
	}
	for sum, effect := range map[float64]string{1: policy.Allow, 2: policy.Allow, 3: policy.Block} {
		req.Counts = map[string]float64{"p/two": sum}
		d := b.Evaluate(req)
		if d.Effect != effect || effect == policy.Block && (d.Reason != faultv1.Reason_REASON_RATE_LIMITED ||
			!strings.Contains(d.Sentence, "Forcing is for emergencies; at most 2 calls in 1h0m0s may pass (rule p/two)")) {
			t.Errorf("%v: %+v", sum, d)
		}
	}
	if needs := b.CountNeeds(ana(`{"force":false}`)); len(needs) != 0 {
		t.Errorf("a call that the rule is not about is counted: %+v", needs)
	}
	req.Counts = nil
	if d := b.Evaluate(req); d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_RULE_ERROR {
		t.Errorf("without a count it passes: %+v", d)
	}
	gone := ana(`{"force":true}`)
	gone.Relation.Call = false
	if needs := b.CountNeeds(gone); needs != nil {
		t.Errorf("who may not call is counted: %+v", needs)
	}
}

func TestCountersSumUpWhatPassed(t *testing.T) {
	b := bundle(t, "p", `"match":{"server":"tickets"},"counters":{"sent":{"of":"money(args.amount, args.currency).minor","per":["person","tool"],"window":"24h"},
		"never":{"window":"1m"}},"rules":[{"name":"daily","when":"counters.sent > 1000000","effect":"block"},`+allowAll+`]`)
	req := ana(`{"amount":12.5,"currency":"EUR"}`)
	needs := b.CountNeeds(req)
	if len(needs) != 1 || needs[0].Key != "p/sent" || needs[0].Amount != 1250 || !strings.HasSuffix(needs[0].Bucket, `person="ana" tool="tickets/close_ticket"`) {
		t.Fatalf("%+v", needs)
	}
	for sum, effect := range map[float64]string{1250: policy.Allow, 1000000: policy.Allow, 1000000.5: policy.Block, 1000001: policy.Block} {
		req.Counts = map[string]float64{"p/sent": sum}
		if d := b.Evaluate(req); d.Effect != effect {
			t.Errorf("%v: %+v", sum, d)
		}
	}
	for args, says := range map[string]string{`{"amount":-1,"currency":"EUR"}`: "at least 0", `{"amount":1}`: "no such key", `{"amount":"x","currency":"EUR"}`: "decimal"} {
		req := ana(args)
		if needs := b.CountNeeds(req); len(needs) != 0 {
			t.Errorf("%s is counted: %+v", args, needs)
		}
		if d := b.Evaluate(req); d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_RULE_ERROR || !strings.Contains(d.Sentence, says) {
			t.Errorf("%s: %+v", args, d)
		}
	}
	agents := bundle(t, "p", `"match":{"server":"tickets"},"counters":{"n":{"per":["agent"],"window":"1h"}},"rules":[{"name":"r","when":"counters.n > 5","effect":"block"}]`)
	one, two := ana(`{}`), ana(`{}`)
	two.Principal.Name = "ben"
	if a, b := agents.CountNeeds(one)[0].Bucket, agents.CountNeeds(two)[0].Bucket; a == b {
		t.Errorf("two people without an agent share %s", a)
	}
}

func TestEffectsThatSayWhatIsNotEnforcedAreRefused(t *testing.T) {
	for says, rules := range map[string]string{
		"needs at least one pointer under redact":       `{"name":"r","when":"true","effect":"redact"}`,
		"only a rule with effect redact":                `{"name":"r","when":"true","effect":"allow","redact":["/a"]}`,
		"needs limit.calls":                             `{"name":"r","when":"true","effect":"limit"}`,
		"only a rule with effect limit":                 `{"name":"r","when":"true","effect":"block","limit":{"calls":1,"window":"1h"}}`,
		"is not a duration from 1s":                     `{"name":"r","when":"true","effect":"limit","limit":{"calls":1,"window":"9999h"}}`,
		"none of person":                                `{"name":"r","when":"true","effect":"limit","limit":{"calls":1,"window":"1h","per":["planet"]}}`,
		`the counter "x" is not known`:                  `{"name":"r","when":"counters.x > 1","effect":"block"}`,
		"counters are read by name":                     `{"name":"r","when":"counters.size() > 1","effect":"block"}`,
		"is none of allow, block, escalate, modify, re": `{"name":"r","when":"true","effect":"step"}`,
		"redact, modify":                                `{"name":"r","when":"true","effect":"modify","modify":[{"path":"/q","filter":{"table":"t","source":"public.t","where":"1=1) OR (1=1"}}]}`,
	} {
		if says == "redact, modify" {
			says = "filter: where is not"
		}
		if _, err := policy.Compile(parse(t, "p", rulesOf(rules))); !fault.Is(err, faultv1.Reason_REASON_INVALID) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

func TestARefusedStatementSaysWhatIsWrongWithIt(t *testing.T) {
	b := bundle(t, "p", rulesOf(`{"name":"reads","when":"sql(args.query).readOnly","effect":"allow"},{"name":"writes","when":"args.n == 1 && !sql(args.query).readOnly","effect":"block","reason":"Use a SELECT."},
		{"name":"two","when":"args.n == 2","effect":"block"}`))
	for args, says := range map[string]string{
		`{"n":1,"query":"SELECT * FROM t WHERE a GLOB 'A*'"}`:            "Use a SELECT (rule p/writes). The statement is not known to only read: it cannot be parsed as PostgreSQL: it stops at glob.",
		`{"n":0,"query":"SELECT nextval('a')"}`:                          "The statement is not known to only read: the function nextval is not on the list",
		`{"n":0,"query":"SELECT * FROM t WHERE a = 1 'Jo' AND 'Smith'"}`: "it cannot be parsed as PostgreSQL.",
	} {
		if d := b.Evaluate(ana(args)); d.Effect != policy.Block || !strings.Contains(d.Sentence, says) || strings.Contains(d.Sentence, "Jo") {
			t.Errorf("%s: %s", args, d.Sentence)
		}
	}
	if d := b.Evaluate(ana(`{"n":2,"query":"DELETE FROM t"}`)); strings.Contains(d.Sentence, "statement") {
		t.Errorf("a rule that is not about the statement: %s", d.Sentence)
	}
}

func TestAFilterChangesAStatement(t *testing.T) {
	b := bundle(t, "p", rulesOf(`{"name":"own","when":"true","effect":"modify","modify":[{"path":"/query","filter":{"table":"orders","source":"main.orders","where":"region = 'eu'","others":["people"]}}]}`))
	d := b.Evaluate(ana(`{"query":"SELECT * FROM orders"}`))
	if d.Effect != policy.Modify || string(d.Arguments) != `{"query":"WITH orders AS (SELECT * FROM main.orders WHERE (region = 'eu')) SELECT * FROM orders"}` {
		t.Errorf("%+v", d)
	}
	if d := b.Evaluate(ana(`{"query":"SELECT * FROM orders, people"}`)); d.Effect != policy.Modify {
		t.Errorf("%+v", d)
	}
	if d := b.Evaluate(ana(`{"query":"SELECT * FROM secrets"}`)); d.Effect != policy.Block || !strings.Contains(d.Sentence, "the statement reads secrets") {
		t.Errorf("%+v", d)
	}
	if d := b.Evaluate(ana(`{"query":"SELECT * FROM main.orders"}`)); d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_RULE_ERROR {
		t.Errorf("%+v", d)
	}
}

func TestWhatIsRedactedIsGoneEverywhere(t *testing.T) {
	for _, c := range []struct{ name, in, paths, want, hit, missed string }{
		{"a member and its echoes", `{"structuredContent":{"ssn":"078-05-1120","n":1},"content":[{"type":"text","text":"SSN 078-05-1120"},{"type":"text","text":"{\"ssn\": \"078-05-1120\"}"}]}`,
			"/structuredContent/ssn",
			`{"structuredContent":{"ssn":"[redacted:policy]","n":1},"content":[{"type":"text","text":"SSN [redacted:policy]"},{"type":"text","text":"{\"ssn\": \"[redacted:policy]\"}"}]}`,
			"/structuredContent/ssn", ""},
		{"every element", `{"structuredContent":{"all":[{"ssn":"111122223"},{"x":1},{"ssn":null}]},"content":[]}`, "/structuredContent/all/*/ssn",
			`{"structuredContent":{"all":[{"ssn":"[redacted:policy]"},{"x":1},{"ssn":"[redacted:policy]"}]},"content":[]}`, "/structuredContent/all/*/ssn", "/structuredContent/all/*/ssn"},
		{"every member", `{"structuredContent":{"a":{"k":"secret-1"},"*":{"k":"secret-2"}}}`, "/structuredContent/*/k",
			`{"structuredContent":{"a":{"k":"[redacted:policy]"},"*":{"k":"[redacted:policy]"}}}`, "/structuredContent/*/k", ""},
		{"text alone", `{"content":[{"type":"text","text":" {\"ssn\":\"a\\\"b-123\"} "}]}`, "/structuredContent/ssn",
			`{"content":[{"type":"text","text":"{\"ssn\":\"[redacted:policy]\"}"}]}`, "/structuredContent/ssn", ""},
		{"a whole object", `{"structuredContent":{"p":{"first":"Anastasia","n":[12345]}},"content":[{"type":"resource","resource":{"text":"Anastasia 12345 p first"}}]}`,
			"/structuredContent/p", `{"structuredContent":{"p":"[redacted:policy]"},"content":[{"type":"resource","resource":{"text":"[redacted:policy] [redacted:policy] p first"}}]}`,
			"/structuredContent/p", ""},
		{"nothing there", `{"content":[{"type":"text","text":"hello"}]}`, "/structuredContent/ssn", `{"content":[{"type":"text","text":"hello"}]}`, "", "/structuredContent/ssn"},
		{"a text by its place", `{"content":[{"type":"text","text":"hello"}]}`, "/content/*/text", `{"content":[{"type":"text","text":"[redacted:policy]"}]}`, "/content/*/text", ""},
		{"all elements", `{"structuredContent":{"l":["abcd",2]}}`, "/structuredContent/l/*", `{"structuredContent":{"l":["[redacted:policy]","[redacted:policy]"]}}`, "/structuredContent/l/*", ""},
		{"the rest of the structured form, links and metadata",
			`{"structuredContent":{"ssn":"078-05-1120","summary":"Jo has SSN 078-05-1120","history":[{"ssn":"078-05-1120"},{"n":78051120}],"by":{"078-05-1120":1}},"_meta":{"k":"078051120"},` +
				`"content":[{"type":"resource_link","uri":"patient://078-05-1120","name":"Jo 078-05-1120","description":"078-05-1120"},{"type":"resource","resource":{"uri":"p://078-05-1120","text":"x"}}]}`,
			"/structuredContent/ssn",
			`{"structuredContent":{"ssn":"[redacted:policy]","summary":"Jo has SSN [redacted:policy]","history":[{"ssn":"[redacted:policy]"},{"n":"[redacted:policy]"}],"by":{"[redacted:policy]":1}},"_meta":{"k":"[redacted:policy]"},` +
				`"content":[{"type":"resource_link","uri":"patient://[redacted:policy]","name":"Jo [redacted:policy]","description":"[redacted:policy]"},{"type":"resource","resource":{"uri":"p://[redacted:policy]","text":"x"}}]}`,
			"/structuredContent/ssn", ""},
		{"a number", `{"structuredContent":{"pin":4711,"same":4711.0,"other":47110,"t":"pin 4711"}}`, "/structuredContent/pin",
			`{"structuredContent":{"pin":"[redacted:policy]","same":"[redacted:policy]","other":47110,"t":"pin [redacted:policy]"}}`, "/structuredContent/pin", ""},
		{"an address", `{"structuredContent":{"name":"Jo Doe","u":"https://a.example/Jo%20Doe?q=Jo+Doe"}}`, "/structuredContent/name",
			`{"structuredContent":{"name":"[redacted:policy]","u":"https://a.example/[redacted:policy]?q=[redacted:policy]"}}`, "/structuredContent/name", ""},
		{"JSON in a text, escaped in another way", `{"structuredContent":{"n":"Zoë-1"},"content":[{"type":"text","text":"[\"{\\\"a\\\":\\\"Zo\\\\u00eb-1\\\"}\"]"}]}`, "/structuredContent/n",
			`{"structuredContent":{"n":"[redacted:policy]"},"content":[{"type":"text","text":"[\"{\\\"a\\\":\\\"[redacted:policy]\\\"}\"]"}]}`, "/structuredContent/n", ""},
		{"words of the protocol", `{"structuredContent":{"a":"text","b":"content"},"content":[{"type":"text","text":"a text"}]}`, "/structuredContent/a /structuredContent/b",
			`{"structuredContent":{"a":"[redacted:policy]","b":"[redacted:policy]"},"content":[{"type":"text","text":"a [redacted:policy]"}]}`, "/structuredContent/a /structuredContent/b", ""},
		{"at another place", `{"structuredContent":{"patient":{"ssn":"078-05-1120"}},"content":[{"type":"text","text":"{\"ssn\":\"078-05-1120\"}"}]}`, "/structuredContent/ssn",
			`{"structuredContent":{"patient":{"ssn":"[redacted:policy]"}},"content":[{"type":"text","text":"{\"ssn\":\"[redacted:policy]\"}"}]}`, "/structuredContent/ssn", "/structuredContent/ssn"},
		{"a text that is no JSON beside one that is", `{"content":[{"type":"text","text":"{\"ssn\":\"1234\"}"},{"type":"text","text":"SSN 5678"}]}`, "/structuredContent/ssn",
			`{"content":[{"type":"text","text":"{\"ssn\":\"[redacted:policy]\"}"},{"type":"text","text":"SSN 5678"}]}`, "/structuredContent/ssn", "/structuredContent/ssn"},
		{"a picture", `{"content":[{"type":"text","text":"{\"ssn\":\"1234\"}"},{"type":"image","data":"AAAA"}]}`, "/structuredContent/ssn",
			`{"content":[{"type":"text","text":"{\"ssn\":\"[redacted:policy]\"}"},{"type":"image","data":"AAAA"}]}`, "/structuredContent/ssn", "/structuredContent/ssn"},
		{"nothing in a list", `{"structuredContent":{"l":[]}}`, "/structuredContent/l/*/ssn", `{"structuredContent":{"l":[]}}`, "", ""},
		{"no list", `{"structuredContent":{"l":"x"}}`, "/structuredContent/l/*/ssn", `{"structuredContent":{"l":"x"}}`, "", "/structuredContent/l/*/ssn"},
	} {
		got, taken, err := policy.RedactResult(json.RawMessage(c.in), strings.Fields(c.paths))
		if err != nil || string(got) != c.want || strings.Join(taken.Hit, " ") != c.hit || strings.Join(taken.Missed, " ") != c.missed {
			t.Errorf("%s: %s %+v %v", c.name, got, taken, err)
		}
	}
	if _, _, err := policy.RedactResult(json.RawMessage(`{"a":1,"a":2}`), []string{"/a"}); err == nil {
		t.Error("a result with a member that is there twice is redacted")
	}
	if out, _, err := policy.RedactResult(json.RawMessage(`{"s":"abcd","o":{"abcd":1,"xabcd":2,"x[redacted:policy]":3}}`), []string{"/s"}); err == nil {
		t.Errorf("two members have the same name: %s", out)
	}
}

func TestWhatAResultMayDoWithoutIsSaid(t *testing.T) {
	b := bundle(t, "p", rulesOf(`{"name":"one","when":"true","effect":"redact","redact":["/a"],"redactIfThere":["/b","/c"]},
		{"name":"two","when":"true","effect":"redact","redactIfThere":["/a","/d"],"redact":["/c"]},`+allowAll))
	d := b.Evaluate(ana(`{}`))
	if strings.Join(d.Redact, " ") != "/a /c /b /d" || strings.Join(d.RedactIfThere, " ") != "/b /d" || strings.Join(d.Proto().GetRedactIfThere(), " ") != "/b /d" {
		t.Errorf("%+v", d)
	}
}

func FuzzRedactResult(f *testing.F) {
	f.Add(`{"structuredContent":{"all":[{"ssn":"078-05-1120"}]},"content":[{"type":"text","text":"{\"all\":[{\"ssn\":\"078-05-1120\"}]}"}]}`, "/structuredContent/all/*/ssn")
	f.Fuzz(func(t *testing.T, doc, path string) {
		out, _, err := policy.RedactResult(json.RawMessage(doc), []string{path})
		if err != nil {
			return
		}
		if !json.Valid(out) {
			t.Fatalf("%s at %s is %s", doc, path, out)
		}
		again, _, err := policy.RedactResult(out, []string{path})
		if err != nil || string(again) != string(out) {
			t.Fatalf("%s at %s is %s and then %s, %v", doc, path, out, again, err)
		}
	})
}
