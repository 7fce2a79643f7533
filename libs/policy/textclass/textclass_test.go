package textclass_test

import (
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/policy/textclass"
)

func TestWhatIsFound(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"nothing here, order 4111111111111112, T-42": "",
		"pay with 4111 1111 1111 1111 please":        "card",
		"4111-1111-1111-1111":                        "card",
		"5555555555554444,":                          "card",
		"378282246310005":                            "card",
		"0000000000000000":                           "",
		"write to ana.b+c@acme.example.":             "email",
		"<mailto:ana@acme.example>":                  "email",
		"ana@localhost and a@@b.example and @x.y":    "",
		"git@github.com:a/b.git":                     "",
		"DE89 3704 0044 0532 0130 00":                "iban",
		"gb82west12345698765432":                     "iban",
		"DE89370400440532013001":                     "",
		"AHV 756.9217.0769.85":                       "national-id national-id-ch",
		"756.9217.0769.84":                           "",
		"Steuer-ID 86 095 742 719":                   "national-id national-id-de",
		"86095742718":                                "",
		"DNI 12345678Z":                              "national-id national-id-es",
		"NIE X1234567L":                              "national-id national-id-es",
		"12345678A":                                  "",
		"2 55 08 14 168 025 38":                      "national-id national-id-fr",
		"AB 12 34 56 C":                              "national-id national-id-gb",
		"GB 12 34 56 C":                              "",
		"RSSMRA85T10A562S":                           "national-id national-id-it",
		"RSSMRA85T10A562T":                           "",
		"PESEL 44051401359":                          "national-id national-id-pl",
		"44051401358":                                "",
		"SSN: 078051120":                             "national-id national-id-us",
		"social security number 078051120":           "national-id national-id-us",
		"{\"patientSsn\":\"078051120\"}":             "national-id national-id-us",
		"SSN 000123456":                              "",
		"NHS number 9434765919":                      "national-id national-id-gb",
		"943 476 5919":                               "national-id national-id-gb",
		"943 476 5918":                               "",
		"9434765919":                                 "",
		"\uff14\uff11\uff11\uff11 1111 1111 1111":    "card",
		"\uff33\uff33\uff2e \uff10\uff17\uff18-\uff10\uff15-\uff11\uff11\uff12\uff10": "national-id national-id-us",
		"SSN 078-05-1120": "national-id national-id-us",
		"078051120 and 000-12-3456 and 900-12-3456":     "",
		"ana@acme.example 4111111111111111 078 05 1120": "card email national-id national-id-us",
	} {
		if got := strings.Join(textclass.Find(text), " "); got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
	for _, name := range textclass.Find("ana@acme.example 078-05-1120") {
		if !slices.Contains(textclass.Names(), name) {
			t.Errorf("%s is not among the names", name)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("RSSMRA85T10A562S 2 55 08 14 168 025 38 X1234567L 756.9217.0769.85 DE89 3704 0044 0532 0130 00 ana@acme.example")
	f.Fuzz(func(t *testing.T, text string) {
		for _, name := range textclass.Find(text) {
			if !slices.Contains(textclass.Names(), name) {
				t.Errorf("%s is not among the names", name)
			}
		}
	})
}

func BenchmarkFind(b *testing.B) {
	text := strings.Repeat("The customer's printer, order 4711-42, is out of toner again. ", 1000)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		textclass.Find(text)
	}
}
