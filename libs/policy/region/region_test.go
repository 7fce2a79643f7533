package region_test

import (
	"testing"

	"headgate.dev/libs/policy/region"
)

func TestRegions(t *testing.T) {
	for _, c := range []struct {
		country, in string
		want        bool
	}{
		{"DE", "EU", true}, {"GR", "EU", true}, {"GB", "EU", false}, {"NO", "EU", false}, {"NO", "EEA", true}, {"CH", "EEA", false}, {"CH", "EFTA", true},
		{"CH", "GDPR-ADEQUATE", true}, {"FR", "GDPR-ADEQUATE", true}, {"US", "GDPR-ADEQUATE", false}, {"US", "US", true}, {"US", "CA", false}, {"ZZ", "EU", false},
	} {
		if got, err := region.In(c.country, c.in); err != nil || got != c.want {
			t.Errorf("%s in %s: %v %v", c.country, c.in, got, err)
		}
	}
	for _, c := range [][2]string{{"de", "EU"}, {"DEU", "EU"}, {"", "EU"}, {"QX", "EU"}, {"EU", "EU"}, {"DE", "eu"}, {"DE", "ZZ"}, {"DE", ""}, {"276", "EU"}, {"001", "EU"}} {
		if got, err := region.In(c[0], c[1]); err == nil {
			t.Errorf("%s in %s: %v", c[0], c[1], got)
		}
	}
}
