package dataclass_test

import (
	"slices"
	"strings"
	"testing"

	"headgate.dev/libs/policy/dataclass"
)

func TestLabelsNameClassesAndPlaces(t *testing.T) {
	labels := []string{"egress", "data:health", "data:health", "data:pay@/structuredContent/card", "data:health@?/structuredContent/diagnosis", "data:pay@/structuredContent/a@b", "x@/y"}
	if got := dataclass.Of(labels); !slices.Equal(got, []string{"health"}) {
		t.Error(got)
	}
	for _, c := range []struct{ cleared, must, may string }{
		{"", "/structuredContent/card /structuredContent/a@b", "/structuredContent/diagnosis"},
		{"pay", "", "/structuredContent/diagnosis"},
		{"health", "/structuredContent/card /structuredContent/a@b", ""},
		{"health pay", "", ""},
	} {
		must, may := dataclass.Hidden(labels, strings.Fields(c.cleared))
		if strings.Join(must, " ") != c.must || strings.Join(may, " ") != c.may {
			t.Errorf("%s: %v %v", c.cleared, must, may)
		}
	}
}

func TestAPlaceThatIsNoneIsRefused(t *testing.T) {
	for label, fine := range map[string]bool{
		"data:health@/a": true, "data:health@?/a/b~1c": true, "data:health@/": true,
		"data:health@": false, "data:@/a": false, "data:health@a": false, "data:health@/a~2": false, "data:health@?": false,
	} {
		p, is := dataclass.PlaceOf(label)
		if !is || (p.Check() == nil) != fine {
			t.Errorf("%s: %v %v", label, is, p.Check())
		}
	}
}
