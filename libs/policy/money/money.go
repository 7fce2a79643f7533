// Package money compares amounts that have a currency, exactly: cents are counted, nothing is rounded, and two currencies are never compared.
package money

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// maxDigits bounds the amounts that are read.
const maxDigits = 18

// Amount is a sum of money in the smallest unit of its currency.
type Amount struct {
	// Minor counts cents, or whatever the currency's smallest unit is.
	Minor int64
	// Currency is the code of ISO 4217, in capitals.
	Currency string
}

// New reads a decimal amount, as 12, 12.5 or -3.00, with a currency's code.
func New(decimal, code string) (Amount, error) {
	unit, digits, err := scale(code)
	if err != nil {
		return Amount{}, err
	}
	whole, fraction, _ := strings.Cut(strings.TrimPrefix(decimal, "-"), ".")
	if !isDigits(whole) || strings.Contains(decimal, ".") && !isDigits(fraction) {
		return Amount{}, fmt.Errorf("%.40q is not a decimal amount, as 12.50", decimal)
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > digits {
		return Amount{}, fmt.Errorf("%.40s %s has parts of the smallest unit of the currency", decimal, unit)
	}
	text := strings.TrimLeft(whole+fraction+strings.Repeat("0", digits-len(fraction)), "0")
	if len(text) > maxDigits {
		return Amount{}, fmt.Errorf("%.40s %s is too large an amount", decimal, unit)
	}
	minor, err := strconv.ParseInt("0"+text, 10, 64)
	if err != nil {
		return Amount{}, fmt.Errorf("%.40q is not a decimal amount, as 12.50", decimal)
	}
	if strings.HasPrefix(decimal, "-") {
		minor = -minor
	}
	return Amount{minor, unit}, nil
}

// Parse reads an amount with its currency, as "12.50 EUR" or "EUR 12.50".
func Parse(text string) (Amount, error) {
	first, second, ok := strings.Cut(text, " ")
	if !ok {
		return Amount{}, fmt.Errorf("%.40q is not an amount with a currency, as 12.50 EUR", text)
	}
	if len(first) == 3 && first[0] >= 'A' && first[0] <= 'Z' {
		first, second = second, first
	}
	return New(first, second)
}

// OfInt is a whole number of a currency's main unit.
func OfInt(n int64, code string) (Amount, error) { return New(strconv.FormatInt(n, 10), code) }

// OfFloat takes a number as JSON wrote it: 12.3 is twelve thirty, whatever its binary form is.
func OfFloat(f float64, code string) (Amount, error) {
	return New(strconv.FormatFloat(f, 'f', -1, 64), code)
}

// Compare is -1, 0 or 1; amounts of two currencies cannot be compared.
func (a Amount) Compare(b Amount) (int, error) {
	if a.Currency != b.Currency {
		return 0, fmt.Errorf("an amount in %s cannot be compared with one in %s; give a limit for each currency", a.Currency, b.Currency)
	}
	return cmp.Compare(a.Minor, b.Minor), nil
}

// scale is how many digits the smallest unit of a currency has.
func scale(code string) (string, int, error) {
	n, known := digits[code]
	if !known {
		return "", 0, fmt.Errorf("the currency %.20q is not a code of ISO 4217 in capitals, as EUR", code)
	}
	return code, n, nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
