package sqlite

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/record"
)

func TestAddressesOfAText(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.7.77":                            "·0a01074d",
		"from 10.1.7.77, to http://10.0.0.1/x": "·0a01074d ·0a000001",
		"10.1.7.77:443 (10.1.7.77).":           "·0a01074d ·0a01074d",
		"::ffff:10.1.7.77":                     "·0a01074d",
		"v10.1.7.77":                           "",
		"ip-10-1-7-77.eu.internal":             "·0a01074d",
		"1.3.6.1.4.1.311":                      "·01030601 ·03060104 ·06010401",
		"10.1.7.77.443":                        "·0a01074d",
		"access.10.1.7.77.2024.log":            "·0a01074d",
		"[10,1,7,77]":                          "·0a01074d",
		"10.1.7.77 10.1.7.78":                  "·0a01074d ·01074d0a ·074d0a01 ·4d0a0107 ·0a01074e",
		"10.1.7.77th":                          "",
		"10.1.7":                               "",
		"10.1.7.777":                           "",
		"010.1.7.77":                           "",
		"１０.１.７.７７":                            "",
		"":                                     "",
	} {
		if got := strings.Join(addresses(record.Words(text)), " "); got != want {
			t.Errorf("%q: %s, not %s", text, got, want)
		}
	}
}

func TestAWordWithAnAddressIsAskedForByItsOwnWord(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.7.77":            `"·0a01074d"`,
		"10-1-7-77":            `"·0a01074d"`,
		"10.1.7.77:443":        `"10 1 7 77 443"`,
		"tickets 10.1.7.77":    `"tickets" AND "·0a01074d"`,
		"10.1.7.777":           `"10 1 7 777"`,
		`"10.1.7.77" OR wörds`: `"·0a01074d" AND "or" AND "words"`,
	} {
		if got, err := match(text); err != nil || got != want {
			t.Errorf("%s: %s, not %s (%v)", text, got, want, err)
		}
	}
}

func FuzzAddressesAreFoundWhereverTheyStand(f *testing.F) {
	f.Add("from ", byte(10), byte(1), byte(7), byte(77), " to")
	f.Fuzz(func(t *testing.T, before string, a, b, c, d byte, after string) {
		address := fmt.Sprintf("%d.%d.%d.%d", a, b, c, d)
		if found := addresses(record.Words(before + " " + address + " " + after)); !slices.Contains(found, addressWord([4]byte{a, b, c, d})) {
			t.Errorf("%s is not found between %q and %q", address, before, after)
		}
	})
}
