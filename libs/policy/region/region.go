// Package region knows countries and the regions that rules about residency name.
package region

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

// Unknown is the code that ISO 3166 leaves to its users; it stands for no country and is in no region.
const Unknown = "ZZ"

const (
	euCountries = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
	// The countries outside the EU, EEA and UK that the European Commission found adequate under Article 45 GDPR, wholly and without a
	// condition on the recipient.
	adequateCountries = "AD AR CH FO GB GG IL IM JE JP KR NZ UY"
)

// Names are the regions that In knows.
func Names() []string { return []string{"EU", "EEA", "EFTA", "GDPR-ADEQUATE"} }

func members(name string) []string {
	eu := strings.Fields(euCountries)
	eea := append(slices.Clone(eu), "IS", "LI", "NO")
	switch name {
	case "EU":
		return eu
	case "EEA":
		return eea
	case "EFTA":
		return []string{"CH", "IS", "LI", "NO"}
	case "GDPR-ADEQUATE":
		return append(eea, strings.Fields(adequateCountries)...)
	}
	return nil
}

// Country checks a code of ISO 3166-1 with two capitals.
func Country(code string) error {
	if code == Unknown {
		return nil
	}
	r, err := language.ParseRegion(code)
	if err != nil || len(code) != 2 || r.String() != code || !r.IsCountry() {
		return fmt.Errorf("%.20q is not a country's code of ISO 3166 in capitals, as DE", code)
	}
	return nil
}

// In says whether a country is in a region, or is the country that the region names.
func In(country, region string) (bool, error) {
	if err := Country(country); err != nil {
		return false, err
	}
	if err := Known(region); err != nil {
		return false, err
	}
	if len(region) == 2 && region != "EU" {
		return country == region && country != Unknown, nil
	}
	return slices.Contains(members(region), country), nil
}

// Known checks the name of a region: one of Names or a country's code.
func Known(name string) error {
	if slices.Contains(Names(), name) {
		return nil
	}
	if Country(name) == nil && name != Unknown {
		return nil
	}
	return fmt.Errorf("%.20q is neither a region (%s) nor a country's code", name, strings.Join(Names(), ", "))
}
