package keep_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	resourcev1 "headgate.dev/proto/gen/headgate/resource/v1"
	"headgate.dev/services/edge/internal/guard"
	"headgate.dev/services/edge/internal/inspect"
	"headgate.dev/services/edge/internal/keep"
)

// result is the redacted copy of a result.
func (d *desk) result(wish *resourcev1.Recording, document string) (text, note string) {
	d.t.Helper()
	made, err := d.copy(wish, "{}")
	if err != nil {
		d.t.Fatal(err)
	}
	var into eventsv1.Payload
	if note, err = made.Result(&into, []byte(document)); err != nil {
		d.t.Fatal(err)
	}
	return into.GetDocument(), note
}

// said is a result that is one text.
func said(t *testing.T, text string) string {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return `{"content":[{"type":"text","text":` + string(quoted) + `}]}`
}

func TestSecretsWithTheirNamesAreTakenOutOfTexts(t *testing.T) {
	d := newDesk(t, nil)
	for in, want := range map[string]string{
		`MARK {"password": "PW1", "api_key": "PW2", "n": 1} end`:  `MARK {"password":"[redacted:secret]","api_key":"[redacted:secret]","n":1} end`,
		`MARK {"password": "PW1", "api_key": "PW2", n: 1} end`:    `MARK {"password": "[redacted:secret]", "api_key": "[redacted:secret]", n: 1} end`,
		"user = bob\npassword = PW1\nport = 5":                    "user = bob\npassword = [redacted:secret]\nport = 5",
		"DB_PASSWORD=PW1 PW2\r\nDB_HOST=db":                       "DB_PASSWORD=[redacted:secret]\nDB_HOST=db",
		"api_key: PW1\nhost: db":                                  "api_key: [redacted:secret]\nhost: db",
		"export GITHUB_TOKEN='PW1'; run":                          "export GITHUB_TOKEN='[redacted:secret]'; run",
		"X-Api-Key:PW1":                                           "X-Api-Key:[redacted:secret]",
		"Authorization: Basic PW1\nHost: db":                      "Authorization: [redacted:secret]\nHost: db",
		"Set-Cookie: a=PW1; b=PW2":                                "Set-Cookie: [redacted:secret]",
		"The API key: PW1":                                        "The API key: [redacted:secret]",
		"**Password**: `PW1` ok":                                  "**Password**: `[redacted:secret]` ok",
		`config["password"] = "PW1 \" PW2"`:                       `config["password"] = "[redacted:secret]"`,
		`x = {'password': 'it''s PW1', 'u': 1}`:                   `x = {'password': '[redacted:secret]', 'u': 1}`,
		`log: {\"password\": \"PW1 \\\"PW2\", \"user\": \"bob\"}`: `log: {\"password\": \"[redacted:secret]\", \"user\": \"bob\"}`,
		`password = "PW1"PW2`:                                     `password = [redacted:secret]`,
		"password: \"PW1\nPW2":                                    `password: "[redacted:secret]`,
		"secret: {a: PW1,\n b: PW2}, PW3\nc: 1":                   "secret: [redacted:secret]\nc: 1",
		"password => 'PW1', host => 'db'":                         "password => '[redacted:secret]', host => 'db'",
		"password：PW1":                                            "password：[redacted:secret]",
		"a:\n  password: |\n    PW1\n\n    PW2\n  b: 1":           "a:\n  password: [redacted:secret]\n  b: 1",
		"credentials:\n- PW1\n- PW2\nb: 1":                        "credentials:\n[redacted:secret]\nb: 1",
		"- password: PW1\n- user: bob":                            "- password: [redacted:secret]\n- user: bob",
		"Password:\n\nPW1\nThen":                                  "Password:\n\n[redacted:secret]\nThen",
		"https://x/?access_token=PW1&a=b\nok":                     "https://x/?access_token=[redacted:secret]\nok",
		`{"password": "PW1"} {"token": 12345678}`:                 `{"password":"[redacted:secret]"} {"token":"[redacted:secret]"}`,
		`MARK {"note": "token=PW1"} {"n": 1.50}`:                  `MARK {"note":"token=[redacted:secret]"} {"n":1.50}`,
		`password: {"a": "PW1"}`:                                  `password: [redacted:secret]`,
		`token: ""password": "PW1"`:                               `token: [redacted:secret]`,
		"password =":                                              "password =",
		"a secret garden, max_tokens = 5, b: c":                   "a secret garden, max_tokens = 5, b: c",
		"the text {of} = nothing: {} {\"a\":[1]}!":                "the text {of} = nothing: {} {\"a\":[1]}!",
	} {
		text, _ := d.result(&resourcev1.Recording{Results: "redacted"}, said(t, in))
		if text != jsonText(t, said(t, want)) {
			t.Errorf("%q is kept as %s", in, text)
		}
	}
}

// jsonText is a document as the copy writes it.
func jsonText(t *testing.T, document string) string {
	t.Helper()
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(document)
}

// What a pointer names is taken out of the structured form, and of JSON in texts, wherever it stands there.
func TestPointersReachTheStructuredFormAndJSONInTexts(t *testing.T) {
	d := newDesk(t, nil)
	for name, c := range map[string]struct{ pointer, in, want string }{
		"structured": {"/ssn", `{"structuredContent":{"ssn":"078-05-1120","n":1},"content":[{"type":"text","text":"it is 078-05-1120"}]}`,
			`{"structuredContent":{"ssn":"[redacted:policy]","n":1},"content":[{"type":"text","text":"it is [redacted:policy]"}]}`},
		"a text":           {"/ssn", said(t, `{"ssn":5}`), said(t, `{"ssn":"[redacted:policy]"}`)},
		"within a text":    {"/ssn", said(t, `MARK {"ssn":5} and {"a":{"ssn":6}}`), said(t, `MARK {"ssn":"[redacted:policy]"} and {"a":{"ssn":6}}`)},
		"by its full way":  {"/structuredContent/ssn", said(t, `MARK {"ssn":5}`), said(t, `MARK {"ssn":"[redacted:policy]"}`)},
		"each element":     {"/people/*/ssn", said(t, `MARK {"people":[{"ssn":5},{"ssn":6}]}`), said(t, `MARK {"people":[{"ssn":"[redacted:policy]"},{"ssn":"[redacted:policy]"}]}`)},
		"a text in a text": {"/ssn", said(t, `MARK {"t":"{\"ssn\":5}"}`), said(t, `MARK {"t":"{\"ssn\":\"[redacted:policy]\"}"}`)},
	} {
		text, note := d.result(&resourcev1.Recording{Results: "redacted", Redact: []string{c.pointer, "/none"}}, c.in)
		if text != c.want || note != "the copy of its result leaves out: "+c.pointer {
			t.Errorf("%s: kept %s (%s)", name, text, note)
		}
	}
	into, note := d.put(&resourcev1.Recording{Arguments: "redacted", Redact: []string{"/ssn"}}, `{"body":"send {\"ssn\":5}"}`)
	if into.GetDocument() != `{"body":"send {\"ssn\":\"[redacted:policy]\"}"}` || note != "the copy of its arguments leaves out: /ssn" {
		t.Errorf("of arguments is kept %s (%s)", into.GetDocument(), note)
	}
}

// A text that is made to be slow is not: all of these are as long as a copy may be.
func TestHostileTextsAreRedactedInTime(t *testing.T) {
	d := newDesk(t, nil)
	wish := &resourcev1.Recording{Results: "redacted", Redact: []string{"/a", "/b/c", "/d/*/e"}}
	const length = keep.MaxCopy - 100
	for _, piece := range []string{
		"{", "[", "{}", `{"a":`, `{"a":1}`, `{"a":1`, "password:", "password: \"", "password='';", "password=\n", "\n\n\n password:", "a:", "=", " \t-", "password:{", "\\", "'",
		"token:\n ", "- secret:\n\n", "：", `{"b":{}} `,
	} {
		for _, head := range []string{"", strings.Repeat(" ", 40_000), "password: \"", "{\"x\": \""} {
			text := head + strings.Repeat(piece, (length-len(head))/len(piece)/2)
			begun := time.Now()
			_, _ = d.result(wish, said(t, text[:min(len(text), length/2)]))
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("%.20q behind %.20q takes %s", piece, head, took)
			}
		}
	}
}

// What a pointer names does not stay where it cannot be carried out: two names that become one, or too much before it that is only like JSON.
func TestAPointerThatCannotBeCarriedOutKeepsNothing(t *testing.T) {
	d := newDesk(t, nil)
	wish := &resourcev1.Recording{Results: "redacted", Redact: []string{"/ssn"}}
	for _, text := range []string{
		`MARK {"ssn":"078051120","078051120":1,"[redacted:policy]":2}`,
		strings.Repeat("{", 3000) + strings.Repeat("x ", 4500) + `{"ssn":"078051120"}`,
		strings.Repeat("{{a}} ", 3000) + `{"ssn":"078051120"}`,
	} {
		kept, _ := d.result(wish, said(t, text))
		if strings.Contains(kept, "078051120") {
			t.Errorf("%.40q is kept as %.200s", text, kept)
		}
	}
}

// FuzzNamedSecretsAreTakenOut holds that no text around a secret with its name on a line keeps it in the copy.
func FuzzNamedSecretsAreTakenOut(f *testing.F) {
	for _, before := range []string{"", "{", `{"a":"`, `token: "`, `token: \"x\`, "x: {\n", "secret: '''", "=", "`", `{"a":1}`, `{"password":"x"`} {
		f.Add(before, "}")
		f.Add(before, "\"")
	}
	keeper := keep.New(nil, tenants{}, inspect.Inspector{}, time.Now)
	f.Cleanup(keeper.Close)
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, line := range []string{"password = PWMARK", `"api_key": "PWMARK",`, "DB_PASSWORD='PWMARK'", `\"secret\": \"PWMARK\"`} {
			document, err := json.Marshal(map[string]string{"text": before + "\n" + line + "\n" + after})
			if err != nil || len(document) > keep.MaxCopy/2 || strings.Contains(before+after, "PWMARK") {
				return
			}
			made, err := keeper.Copy(t.Context(), &guard.Caller{Tenant: "acme"}, &guard.Tool{Recording: &resourcev1.Recording{Arguments: "redacted", Redact: []string{"/a"}}}, "c1", nil)
			if err != nil {
				t.Fatal(err)
			}
			var into eventsv1.Payload
			if _, err := made.Arguments(&into, document, nil); err == nil && strings.Contains(into.GetDocument(), "PWMARK") {
				t.Errorf("%q between %q and %q is kept as %s", line, before, after, into.GetDocument())
			}
		}
	})
}
