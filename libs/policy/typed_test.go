package policy_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

func tools() policy.Tools {
	all := policy.Tools{}
	all.Add(ticketTools())
	return all
}

func ticketTools() map[string]policy.Definition {
	schema := func(s string) json.RawMessage { return json.RawMessage(`{"type":"object","properties":` + s + `}`) }
	return map[string]policy.Definition{
		"close_ticket": {Schema: schema(`{"id":{},"force":{},"limit":{}}`)},
		"get_ticket":   {Schema: schema(`{"id":{}}`), ReadOnly: true},
		"open_ticket":  {Schema: schema(`{"title":{}}`)},
		"any":          {Schema: json.RawMessage(`{"type":"object","properties":{"id":{}},"additionalProperties":true}`)},
		"combined":     {Schema: json.RawMessage(`{"type":"object","allOf":[{"properties":{"x":{}}}]}`)},
		"pay": {Schema: schema(`{"card":{"type":"string"},"amount":{"type":"number"},"urgent":{"type":"boolean"},"state":{"enum":["open","closed"]},"both":{"type":["string","integer"]},"cased":{"type":"string","Type":"number","Enum":["x"]},"level":{"enum":[1,2]},"to":{"type":"object","properties":{"name":{"type":"string"}},"additionalProperties":false},
			"lines":{"type":"array","items":{"type":"object","properties":{"card":{"type":"string"}}}},"more":{"type":"object","properties":{"name":{}}},"free":{"type":"object"}}`)},
		"bare": {Schema: json.RawMessage(`{"type":"object"}`)},
	}
}

func typedSpec(match, rest string) string {
	return `"match":{"server":"tickets","tools":[` + match + `]},` + rest
}

func onRule(when string) string {
	return `"rules":[{"name":"r","when":` + strconv.Quote(when) + `,"effect":"block"}]`
}

func TestAnArgumentThatNoToolHasIsRefused(t *testing.T) {
	for _, c := range []struct{ match, rest, line, column, says string }{
		{`"close_ticket"`, onRule(`args.idd == "x"`), "1", "5", `the argument "idd" is not known; the nearest is "id"`},
		{`"close_ticket"`, onRule("true &&\n has(args.forse)"), "2", "5", `the nearest is "force"`},
		{`"close_ticket"`, onRule(`args["limitt"] == 1`), "1", "5", `the nearest is "limit"`},
		{`"close_ticket"`, onRule(`"idd" in args`), "1", "7", `the nearest is "id"`},
		{`"close_ticket","open_ticket"`, onRule(`args.titel == ""`), "1", "5", `the nearest is "title"`},
		{`"close_ticket"`, onRule(`sql(args.query).readOnly`), "1", "9", `the argument "query" is not known`},
		{`"close_ticket"`, `"rules":[{"name":"r","when":"true","effect":"modify","modify":[{"path":"/limitt","remove":true}]}]`, "", "", `modify /limitt: the argument "limitt" is not known; the nearest is "limit"`},
		{`"close_ticket"`, `"facts":{"ticket":{"tool":"get_tickets","args":{"id":"args.id"}}},` + onRule("true"), "", "", `fact ticket: the approved tool "get_tickets" is not known; the nearest is "get_ticket"`},
		{`"close_ticket"`, `"facts":{"ticket":{"tool":"open_ticket"}},` + onRule("true"), "", "", "not approved with readOnlyHint: true"},
		{`"close_ticket"`, `"facts":{"ticket":{"tool":"get_ticket","args":{"idd":"args.id"}}},` + onRule("true"), "", "", `args: the argument "idd" is not known`},
		{`"close_ticket"`, `"facts":{"ticket":{"tool":"get_ticket","args":{"id":"args.idd"}}},` + onRule("true"), "", "", `args.id: line 1, column 5: the argument "idd"`},
		{`"close_ticket"`, `"counters":{"n":{"of":"args.amount","window":"1h"}},` + onRule("true"), "", "", `counter n: of: line 1, column 5: the argument "amount"`},
	} {
		err := compile(t, "p", typedSpec(c.match, c.rest)).CheckAgainst(tools())
		f := fault.From(err)
		if f == nil || f.Reason != faultv1.Reason_REASON_INVALID || !strings.Contains(f.Sentence, c.says) || f.About["line"] != c.line || f.About["column"] != c.column {
			t.Errorf("%s: %v", c.rest, f)
		}
	}
}

func TestAComparisonWithWhatAnArgumentNeverIsIsRefused(t *testing.T) {
	for when, says := range map[string]string{
		`args.card == "4"`:                            "",
		`args.amount > 1000`:                          "",
		`args.amount == 10.5`:                         "",
		`args.amount == null`:                         "",
		`args.state == "open" && args.urgent`:         "",
		`args.state in ["open", "closed"]`:            "",
		`args.both == 5 || args.both == "5"`:          "",
		`args.lines[0].card == "4"`:                   "",
		`args.more.name == 5`:                         "",
		`args.free.whatever == 5`:                     "",
		`args.lines.exists(args, args.card == 5)`:     "",
		`args.card == 5`:                              "of the type string there, which is never a number",
		`5 != args.card`:                              "",
		`args.state != "clsoed"`:                      "",
		`!(args.state == "clsoed" || args.card == 5)`: "",
		`!(args.state in ["clsoed"])`:                 "",
		`args.amount in [1, "2"]`:                     "",
		`args.state in ["open", "x"]`:                 "",
		`args.lines["*"].card == "4"`:                 "",
		`args.cased == "5"`:                           "",
		`5 == args.card`:                              "of the type string there, which is never a number",
		`args.lines.card == "4"`:                      "the tool has a list there; read an element, as [0], or ask exists for all of them, not card",
		`args.level == "1"`:                           "no text among its values",
		`args["card"] < 5.5`:                          "of the type string there, which is never a number",
		`args.amount == "1000"`:                       "of the type number there, which is never text",
		`args.amount >= "1000"`:                       "of the type number there, which is never text",
		`args.amount in ["1", "2"]`:                   "of the type number there, which is never text",
		`args.amount.startsWith("1")`:                 "of the type number there, which is never text",
		`args.urgent == "true"`:                       "of the type boolean there, which is never text",
		`args.amount == true`:                         "of the type number there, which is never true or false",
		`args.state == "clsoed"`:                      `the value "clsoed" is not known; the nearest is "closed"`,
		`has(args.state) && args.state in ["y", "x"]`: `the value "x" is not known`,
		`args.to.nam == "x"`:                          `the argument "nam" is not known; the nearest is "name"`,
		`args.lines[0].card == 4`:                     "of the type string there, which is never a number",
		`args.to == "ana"`:                            "of the type object there, which is never text",
	} {
		err := compile(t, "p", typedSpec(`"pay"`, onRule(when))).CheckAgainst(tools())
		f := fault.From(err)
		if says == "" && err != nil || says != "" && (f == nil || f.About["line"] != "1" || !strings.Contains(f.Sentence, says)) {
			t.Errorf("%s: %v", when, f)
		}
	}
	// Of several tools, one in which it may be is enough.
	if err := compile(t, "p", typedSpec(`"pay","close_ticket"`, onRule(`args.id == 5 || args.amount == 5`))).CheckAgainst(tools()); err != nil {
		t.Error(err)
	}
}

func TestAChangeOfAPlaceThatNoToolHasIsRefused(t *testing.T) {
	for change, says := range map[string]string{
		`{"path":"/more/other","remove":true}`:     "",
		`{"path":"/*/other","remove":true}`:        "",
		`{"path":"/card","mask":"last4"}`:          "",
		`{"path":"/lines/*/card","mask":"last4"}`:  "",
		`{"path":"/lines/0/card","mask":"last4"}`:  "",
		`{"path":"/free/whatever","remove":true}`:  "",
		`{"path":"/to/name","set":"x"}`:            "",
		`{"path":"/amount","clamp":{"max":5}}`:     "",
		`{"path":"/card/*","mask":"last4"}`:        "of the type string on the way to *",
		`{"path":"/card/numbr","mask":"last4"}`:    "of the type string on the way to numbr",
		`{"path":"/to/nam","set":"x"}`:             `the argument "nam" is not known; the nearest is "name"`,
		`{"path":"/lines/card","mask":"last4"}`:    "name an element, or * for all of them",
		`{"path":"/lines/*/crad","mask":"last4"}`:  "",
		`{"path":"/card","clamp":{"max":5}}`:       "of the type string there",
		`{"path":"/amount","mask":"last4"}`:        "of the type number there",
		`{"path":"/lines/*","clamp":{"max":5}}`:    "of the type object there",
		`{"path":"/to/name/first","remove":true}`:  "on the way to first",
		`{"path":"/nothing","remove":true}`:        `the argument "nothing" is not known`,
		`{"path":"/lines/-/card","set":"4111"}`:    "",
		`{"path":"/lines/*/card/x","remove":true}`: "on the way to x",
	} {
		rest := `"rules":[{"name":"r","when":"true","effect":"modify","modify":[` + change + `]}]`
		err := compile(t, "p", typedSpec(`"pay"`, rest)).CheckAgainst(tools())
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(fault.From(err).Sentence, says)) {
			t.Errorf("%s: %v", change, err)
		}
	}
}

func TestWhatCannotBeKnownIsNotRefused(t *testing.T) {
	for _, c := range []struct{ match, rest string }{
		{`"close_ticket"`, onRule(`has(args.id) && args.force == true && args.limit > 1`)}, {`"any"`, onRule(`args.other == 1`)}, {`"combined"`, onRule(`args.other == 1`)},
		{`"bare"`, onRule(`args.other == 1`)}, {`"*"`, onRule(`args.other == 1`)}, {``, onRule(`args.other == 1`)}, {`"close_ticket","unknown"`, onRule(`args.other == 1`)},
		{`"resources/read"`, onRule(`args.uri == ""`)}, {`"close_ticket"`, onRule(`args.exists(args, args == "x")`)}, {`"close_ticket"`, onRule(`args.id.deep.other == 1`)},
		{`"close_ticket"`, onRule(`principal.attributes.other == "x"`)},
	} {
		if err := compile(t, "p", typedSpec(c.match, c.rest)).CheckAgainst(tools()); err != nil {
			t.Errorf("%s %s: %v", c.match, c.rest, err)
		}
	}
	if err := compile(t, "p", typedSpec(`"close_ticket"`, onRule(`args.idd == 1`))).CheckAgainst(nil); err != nil {
		t.Error(err)
	}
}
