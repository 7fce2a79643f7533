package policy_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/policy"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
)

const bankHolidays = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:Christmas\nDTSTART;VALUE=DATE:20201225\nRRULE:FREQ=YEARLY\nEND:VEVENT\nEND:VCALENDAR\n"

// withCalendar is oneSpec with a calendar named bank.
func withCalendar(t testing.TB, when string) string {
	t.Helper()
	text, err := json.Marshal(bankHolidays)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(oneSpec(t, when), `"default"`, `"calendars":{"bank":`+string(text)+`},"default"`, 1)
}

func TestFunctionsOfRules(t *testing.T) {
	req := ana(`{"url":"https://files.acme.co.uk:8443/a/b","host":"API.Acme.Example.","ip":"10.1.2.3","file":"/srv/reports/../reports/q1.CSV","amount":1250.5,"currency":"EUR",
		"whole":1250,"text":"12.10","country":"FR","note":"card 4111 1111 1111 1111","deep":{"to":["ana@acme.example"]},"split":["41111111","11111111"]}`)
	req.At = time.Date(2026, 3, 30, 6, 0, 0, 0, time.UTC) // Monday, 08:00 in Berlin, the day after the clocks changed
	req.Principal.Clearances = []string{"health"}
	req.Server.Labels, req.Tool.Labels = []string{"data:health", "egress"}, []string{"data:cards"}
	for _, when := range []string{
		`sql("PRAGMA table_info(t)", "sqlite").readOnly && !sql("PRAGMA table_info(t)").readOnly && !sql("PRAGMA table_info(t)", "generic").readOnly`,
		`sql("SELECT a::text FROM t", "postgresql").readOnly && sql("SELECT a::text FROM t").readOnly && !sql("SELECT a::text FROM t", "sqlite").readOnly`,
		`sql("SELECT a FROM t WHERE a = 1", "generic").readOnly && sql("SELECT a FROM t WHERE a = 1", "generic").tables == ["t"]`,
		`url(args.url).host == "files.acme.co.uk" && url(args.url).domain == "acme.co.uk" && url(args.url).port == 8443 && url(args.url).scheme == "https"`,
		`url(args.url).under("acme.co.uk") && !url(args.url).under("b.co.uk") && url(args.url).path == "/a/b" && url(args.url).ipClass == "name"`,
		`host(args.host).name == "api.acme.example" && host(args.host).suffix == "example" && host(args.host).under("acme.example")`,
		`url("https://a.example/public/../admin").host == "a.example"`,
		`url("https://a.bücher.example/").under("bücher.example") && host("a.bücher.example").under("Bücher.Example.")`,
		`ipClass(args.ip) == "private" && ipClass("8.8.8.8") == "public"`,
		`inNetwork(request.ip, "203.0.113.0/24") && inNetwork(args.ip, ["192.168.0.0/16", "10.0.0.0/8"]) && !inNetwork(args.ip, ["192.168.0.0/16"])`,
		`path(args.file).under("/srv/reports") && path(args.file).extension == ".csv" && !path(args.file).plain && path(args.file).name == "q1.CSV"`,
		`money(args.amount, args.currency).above("1250.49 EUR") && !money(args.amount, args.currency).above("1250.50 EUR")`,
		`money(args.whole, "EUR").below("1250.01 EUR") && money(args.text, "EUR").minor == 1210 && money("1 EUR") == money(1.0, "EUR")`,
		`money(args.amount, "EUR").above(money("1 EUR")) && money("5 JPY").currency == "JPY"`,
		`inRegion(args.country, "EU") && inRegion(args.country, "FR") && !inRegion("US", "GDPR-ADEQUATE")`,
		`"card" in classes(args.note) && "email" in classes(args.deep) && !("card" in classes(args.deep)) && classes(args).size() == 2`,
		`!("card" in classes(args.split))`,
		`openAt(request.time, "Mo-Fr 08:00-18:00", "Europe/Berlin") && !openAt(request.time - duration("1s"), "Mo-Fr 08:00-18:00", "Europe/Berlin")`,
		`openAt(request.time, "Mo-Fr 08:00-18:00", "Europe/Berlin", "bank")`,
		`!openAt(timestamp("2026-12-25T10:00:00Z"), "Mo-Fr 08:00-18:00", "Europe/Berlin", "bank")`,
		`holiday(timestamp("2026-12-24T23:00:00Z"), "Europe/Berlin", "bank") && !holiday(request.time, "Europe/Berlin", "bank")`,
		`localDate(request.time, "America/New_York") == "2026-03-30" && localDate(timestamp("2026-01-01T00:00:00Z"), "America/New_York") == "2025-12-31"`,
		`principal.clearances == ["health"] && server.classes == ["health"] && tool.classes == ["health", "cards"]`,
		`!tool.classes.all(c, c in principal.clearances)`,
	} {
		d := bundle(t, "p", withCalendar(t, when)).Evaluate(req)
		if d.Effect != policy.Block || d.Reason != faultv1.Reason_REASON_RULE {
			t.Errorf("%s: %s: %s", when, d.Effect, d.Sentence)
		}
	}
}

// What a function cannot judge is an error of its rule, and blocks.
func TestT26WhatAFunctionCannotReadBlocks(t *testing.T) {
	for when, says := range map[string]string{
		`url(args.path).host == "x"`:                                       "the URL is not absolute",
		`url("https://a.example/public/%2e%2e/admin").path == "/"`:         "has . or .. in it",
		`!url("https://a.example/public/..;/admin").path.matches("^/p")`:   "parameters behind a semicolon",
		`url(args.n).host == "x"`:                                          "no such overload",
		`host(args.bad).name == "x"`:                                       "is not a host name",
		`ipClass(args.path) == "public"`:                                   "is not an IP address",
		`inNetwork(args.path, "10.0.0.0/8")`:                               "is not an IP address",
		`inNetwork(request.ip, args.path)`:                                 "is not a network",
		`inNetwork(request.ip, [args.path, "203.0.113.0/24"])`:             "is not a network",
		`url("https://a.example/").under(args.path)`:                       "without a path",
		`host("a.example").under(args.tld)`:                                "anybody can have a name",
		`path(args.up).under("/srv")`:                                      "leaves the directory",
		`path(args.rel).under("/srv")`:                                     "absolute",
		`money(args.n, "USD").above("1 EUR")`:                              "USD cannot be compared with one in EUR",
		`money(args.n, args.path).above("1 EUR")`:                          "is not a code of ISO 4217",
		`money(args.flag, "EUR").above("1 EUR")`:                           "no such overload",
		`inRegion(args.path, "EU")`:                                        "is not a country's code",
		`openAt(request.time, args.path, "Europe/Berlin")`:                 "the hours",
		`openAt(request.time, "Mo 08:00-09:00", args.path)`:                "the time zone",
		`openAt(request.time, "Mo 08:00-09:00", "Europe/Berlin", args.up)`: "the policy has no calendar",
		`sql("SELECT 1", args.path).readOnly`:                              `the dialect "/x" is not known`,
		`sql(args.path, args.n).readOnly`:                                  "no such overload",
		`holiday(request.time, "Europe/Berlin", args.path)`:                "the policy has no calendar",
		`"card" in classes(args.long)`:                                     "bytes of text",
		`"card" in classes(principal)`:                                     "has no text to look at",
	} {
		long := `"` + strings.Repeat("a", 70_000) + `"`
		d := bundle(t, "p", withCalendar(t, when)).Evaluate(ana(`{"path":"/x","tld":"com","n":1,"bad":"a b","up":"../x","rel":"x","flag":true,"long":` + long + `}`))
		reason := faultv1.Reason_REASON_RULE_ERROR
		if says == "no such overload" {
			reason = faultv1.Reason_REASON_RULE_TYPE
		}
		if d.Effect != policy.Block || d.Reason != reason || !strings.Contains(d.Rules[0].Error, says) {
			t.Errorf("%s: %s %q", when, d.Effect, d.Rules[0].Error)
		}
	}
}

func TestConstantsOfRulesAreCheckedWhenCompiled(t *testing.T) {
	for _, c := range []struct{ when, column, says string }{
		{`openAt(request.time, "Mon-Fri 8-18", "Europe/Berlin")`, "22", "the days"},
		{`openAt(request.time, "Mo 08:00-09:00", "Europe/Berln")`, "40", "is not known"},
		{`openAt(request.time, "Mo 08:00-09:00", "UTC", "bnak")`, "47", `the nearest is "bank"`},
		{`openAt(args.t, 3, "UTC")`, "7", "openAt"},
		{`openAt(request.time)`, "7", "openAt"},
		{`holiday(request.time, "UTC", "banks")`, "30", `the nearest is "bank"`},
		{`localDate(request.time, "Mars") == ""`, "25", "is not known"},
		{`inNetwork(request.ip, "10.0.0.1/8")`, "23", "write 10.0.0.0/8"},
		{`inNetwork(request.ip, ["10.0.0.0/8", "x"])`, "38", "is not a network"},
		{`inRegion(args.c, "Europe")`, "18", "neither a region"},
		{`money(args.a, "EURO").above("1 EUR")`, "15", "ISO 4217"},
		{`money(args.a, "EUR").above("1000")`, "28", "12.50 EUR"},
		{`path(args.f).under("/srv/%2e")`, "20", "percent"},
		{`path(args.f).under("srv%2e")`, "20", "percent"},
		{`url(args.u).under("evil.example:443")`, "19", "without the port"},
		{`host(args.u).under("*.evil.example")`, "20", "without the star"},
		{`url(args.u).under("com")`, "19", "anybody can have a name"},
		{`host(args.u).under("")`, "20", "is not a host name"},
		{`url(args.u).under("/srv")`, "19", "without a path"},
		{`"cards" in classes(args.t)`, "1", `the nearest is "card"`},
		{`sql(args.q, "sqlit").readOnly`, "13", `the nearest is "sqlite"`},
		{`sql(args.q, "sqlite", 1).readOnly`, "4", "sql"},
		{`ipClass(request.ip) == "privat"`, "24", `the nearest is "private"`},
		{`url(args.u).hosts == ""`, "12", `the nearest is "host"`},
		{`principal.clearance == []`, "10", `the nearest is "clearances"`},
	} {
		_, err := policy.Compile(parse(t, "p", withCalendar(t, c.when)))
		f := fault.From(err)
		if f == nil || f.Reason != faultv1.Reason_REASON_INVALID || f.About["line"] != "1" || f.About["column"] != c.column || !strings.Contains(f.Sentence, c.says) {
			t.Errorf("%s: %v", c.when, f)
		}
		if f != nil && (strings.Contains(f.Sentence, "memo") || strings.Contains(f.Sentence, "@")) {
			t.Errorf("%s: %s", c.when, f.Sentence)
		}
	}
	bad := strings.Replace(oneSpec(t, "true"), `"default"`, `"calendars":{"bank":"no"},"default"`, 1)
	if _, err := policy.Compile(parse(t, "p", bad)); err == nil || !strings.Contains(err.Error(), "Policy p: calendar bank: line 1 of the calendar") {
		t.Error(err)
	}
}
