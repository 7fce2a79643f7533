package money_test

import (
	"strings"
	"testing"

	"headgate.dev/libs/policy/money"
)

func TestAmountsAreExact(t *testing.T) {
	for text, want := range map[string]money.Amount{
		"12.50 EUR": {1250, "EUR"}, "EUR 12.5": {1250, "EUR"}, "0.10 USD": {10, "USD"}, "1000 JPY": {1000, "JPY"}, "1.234 KWD": {1234, "KWD"}, "-3 CHF": {-300, "CHF"},
		"12.500 EUR": {1250, "EUR"}, "0 EUR": {0, "EUR"}, "00012 EUR": {1200, "EUR"},
	} {
		if got, err := money.Parse(text); err != nil || got != want {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	if a, err := money.OfFloat(0.7999999999999999, "EUR"); err == nil {
		t.Errorf("0.7999999999999999 is %v", a)
	}
	if a, err := money.OfFloat(1e15, "EUR"); err != nil || a.Minor != 1e17 {
		t.Errorf("%v %v", a, err)
	}
}

// The digits are those of the standard, which some banks do not print.
func TestTheSmallestUnitIsThatOfTheStandard(t *testing.T) {
	for text, minor := range map[string]int64{
		"12.5 RSD": 1250, "5.55 PKR": 555, "5.55 IDR": 555, "5.55 COP": 555, "5.55 LBP": 555, "1 ALL": 100, "1.234 IQD": 1234, "1 HUF": 100, "1.5 SLE": 150, "1.5 ZWG": 150, "1.5 XCG": 150,
		"1.5 MRU": 150, "1.5 VED": 150, "1.2345 UYW": 12345, "1 ISK": 1, "1 VND": 1, "7 CLP": 7,
	} {
		if got, err := money.Parse(text); err != nil || got.Minor != minor {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
	for _, text := range []string{"1 DEM", "1 HRK", "1 ZWL", "1 XAU", "1 XXX", "1 XTS", "1 SLL", "0.5 ISK", "1 \u202aEUR", "1 AED AFN"} {
		if got, err := money.Parse(text); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestWhatIsNoAmountIsRefused(t *testing.T) {
	for _, text := range []string{
		"", "12.50", "EUR", "12,50 EUR", "1,000.00 EUR", "12.505 EUR", "1.5 JPY", "12.50 eur", "12.50 EURO", "12.50 QQQ", "1e3 EUR", "+1 EUR", "--1 EUR", "1. EUR", ".5 EUR",
		"NaN EUR", "Infinity EUR", "12.50  EUR", "9999999999999999999 EUR", "١٢ EUR", "12 XXX1", "12 EUR EUR",
	} {
		if a, err := money.Parse(text); err == nil {
			t.Errorf("%q is %v", text, a)
		}
	}
	for _, f := range []float64{1e300, -1e300} {
		if a, err := money.OfFloat(f, "EUR"); err == nil {
			t.Errorf("%v is %v", f, a)
		}
	}
}

func TestCurrenciesAreNotCompared(t *testing.T) {
	small, large, other := money.Amount{Minor: 1, Currency: "EUR"}, money.Amount{Minor: 2, Currency: "EUR"}, money.Amount{Minor: 2, Currency: "USD"}
	if n, err := small.Compare(large); err != nil || n != -1 {
		t.Error(n, err)
	}
	if _, err := small.Compare(other); err == nil || !strings.Contains(err.Error(), "EUR cannot be compared with one in USD") {
		t.Error(err)
	}
}
