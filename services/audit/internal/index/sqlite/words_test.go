package sqlite

import (
	"fmt"
	"strings"
	"testing"
)

func TestAddressesOfAText(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.7.77":                            "ip0a01074d",
		"from 10.1.7.77, to http://10.0.0.1/x": "ip0a01074d ip0a000001",
		"10.1.7.77:443 (10.1.7.77).":           "ip0a01074d ip0a01074d",
		"::ffff:10.1.7.77":                     "ip0a01074d",
		"it was 10.1.7.77.":                    "ip0a01074d",
		"10.1.7.77. Then":                      "ip0a01074d",
		"v10.1.7.77":                           "",
		"é10.1.7.77":                           "ip0a01074d",
		"ip-10-1-7-77.eu.internal":             "ip0a01074d",
		"1.3.6.1.4.1.311":                      "ip01030601 ip03060104 ip06010401",
		"10.1.7.77.443":                        "ip0a01074d",
		"access.10.1.7.77.2024.log":            "ip0a01074d",
		"[10,1,7,77]":                          "",
		"10. 1. 7. 77":                         "",
		"10..1.7.77":                           "",
		"10.1.7.77 10.1.7.78":                  "ip0a01074d ip0a01074e",
		"10.1.7.77th":                          "",
		"10.1.7":                               "",
		"10.1.7.77.8":                          "ip0a01074d ip01074d08",
		"10.1.7.777":                           "",
		"010.1.7.77":                           "",
		"1 2 3 4":                              "",
		".10.1.7.77":                           "ip0a01074d",
		"\xff10.1.7.77\xff":                    "ip0a01074d",
		"":                                     "",
	} {
		var got []string
		for _, a := range addresses(text) {
			got = append(got, addressWord(a))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, not %s", text, got, want)
		}
	}
}

func TestAWordWithAnAddressIsAskedForByItsOwnWord(t *testing.T) {
	for text, want := range map[string]string{
		"10.1.7.77":            `"ip0a01074d"`,
		"10.1.7.77:443":        `"10.1.7.77:443"`,
		"tickets 10.1.7.77":    `"tickets" AND "ip0a01074d"`,
		"10.1.7.777":           `"10.1.7.777"`,
		"10.0.0.1-10.0.0.2":    `"10.0.0.1-10.0.0.2"`,
		`"10.1.7.77" OR words`: `"""10.1.7.77""" AND "OR" AND "words"`,
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
		for _, found := range addresses(before + " " + address + " " + after) {
			if found.String() == address {
				return
			}
		}
		t.Errorf("%s is not found between %q and %q", address, before, after)
	})
}
