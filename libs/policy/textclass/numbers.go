package textclass

import (
	"slices"
	"strings"
)

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// luhn is the check of ISO/IEC 7812-1.
func luhn(s string) bool {
	sum := 0
	for i := range len(s) {
		d := int(s[len(s)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// card holds for digits that begin and are as long as the cards of a network, and whose check digit holds.
func card(s string) bool {
	if len(s) < 13 || len(s) > 19 || !allDigits(s) {
		return false
	}
	networks := []struct {
		from, to string // of the first digits
		lengths  []int
	}{
		{"4", "4", []int{13, 16, 19}}, {"51", "55", []int{16}}, {"2221", "2720", []int{16}}, {"34", "34", []int{15}}, {"37", "37", []int{15}},
		{"300", "305", []int{14, 16}}, {"36", "36", []int{14}}, {"38", "39", []int{14, 16}}, {"3528", "3589", []int{16}}, {"50", "50", []int{16, 19}},
		{"56", "69", []int{13, 14, 15, 16, 17, 18, 19}},
	}
	for _, n := range networks {
		first := s[:len(n.from)]
		if first >= n.from && first <= n.to && slices.Contains(n.lengths, len(s)) {
			return luhn(s)
		}
	}
	return false
}

// iban is the check of ISO 13616: two letters, two digits, up to 30 more, rest 1 modulo 97.
func iban(s string) bool {
	if len(s) < 15 || len(s) > 34 || !letter(s[0]) || !letter(s[1]) || !allDigits(s[2:4]) {
		return false
	}
	if want, ok := ibanLength(s[:2]); !ok || want != len(s) {
		return false
	}
	return mod97(s[4:]+s[:4]) == 1
}

// ibanLength is the length of a country's IBANs (registry of ISO 13616).
func ibanLength(country string) (int, bool) {
	const lengths = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22GE22GI23GL18GR27GT28HR21HU28IE22IL23" +
		"IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MR27MT31MU30NL18NO15PK24PL28PS29PT25QA29RO24RS22SA24SC31SE24SI19SK24SM27ST25SV28" +
		"TL23TN24TR26UA29VA22VG24XK20"
	for i := 0; i+4 <= len(lengths); i += 4 {
		if lengths[i:i+2] == country {
			return int(lengths[i+2]-'0')*10 + int(lengths[i+3]-'0'), true
		}
	}
	return 0, false
}

func letter(c byte) bool { return c >= 'A' && c <= 'Z' }

// mod97 reads letters as 10 to 35.
func mod97(s string) int {
	rest := 0
	for i := range len(s) {
		switch c := s[i]; {
		case letter(c):
			rest = (rest*100 + int(c-'A') + 10) % 97
		default:
			rest = (rest*10 + int(c-'0')) % 97
		}
	}
	return rest
}

// kind is a country's number of a person.
type kind struct {
	country string
	holds   func(string) bool
}

// kinds are the national numbers with a check that is strong enough to tell them from other numbers, and that of the UK, whose form is.
func kinds() []kind {
	return []kind{
		{"ch", swiss}, {"de", german}, {"es", spanish}, {"fr", french}, {"gb", british}, {"it", italian}, {"pl", polish},
	}
}

// weighed is the sum of digits by their weights.
func weighed(s string, weights ...int) int {
	sum := 0
	for i, w := range weights {
		sum += int(s[i]-'0') * w
	}
	return sum
}

// swiss is an AHV number: 756, then as EAN-13.
func swiss(s string) bool {
	return len(s) == 13 && allDigits(s) && strings.HasPrefix(s, "756") && weighed(s, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1)%10 == 0
}

// german is a tax number (Steuer-ID): no zero first, one digit two or three times among the first ten, check of ISO 7064.
func german(s string) bool {
	if len(s) != 11 || !allDigits(s) || s[0] == '0' {
		return false
	}
	var counts [10]int
	product := 10
	for i := range 10 {
		counts[s[i]-'0']++
		sum := (int(s[i]-'0') + product) % 10
		if sum == 0 {
			sum = 10
		}
		product = sum * 2 % 11
	}
	repeated := 0
	for _, n := range counts {
		if n > 3 {
			return false
		}
		if n > 1 {
			repeated++
		}
	}
	return repeated == 1 && (11-product)%10 == int(s[10]-'0')
}

// spanish is a DNI or NIE with its letter.
func spanish(s string) bool {
	if len(s) != 9 || !letter(s[8]) {
		return false
	}
	number := s[:8]
	if at := strings.IndexByte("XYZ", s[0]); at >= 0 {
		number = string(rune('0'+at)) + s[1:8]
	}
	if !allDigits(number) {
		return false
	}
	rest := 0
	for i := range len(number) {
		rest = (rest*10 + int(number[i]-'0')) % 23
	}
	return "TRWAGMYFPDXBNJZSQVHLCKE"[rest] == s[8]
}

// french is an INSEE number: sex, year, month, place and a key of 97.
func french(s string) bool {
	if len(s) != 15 || s[0] != '1' && s[0] != '2' {
		return false
	}
	number := strings.NewReplacer("2A", "19", "2B", "18").Replace(s[5:7])
	number = s[:5] + number + s[7:13]
	if !allDigits(number) || !allDigits(s[13:]) {
		return false
	}
	rest := 0
	for i := range len(number) {
		rest = (rest*10 + int(number[i]-'0')) % 97
	}
	return 97-rest == int(s[13]-'0')*10+int(s[14]-'0')
}

// british is a National Insurance number.
func british(s string) bool {
	if len(s) != 9 || !letter(s[0]) || !letter(s[1]) || !allDigits(s[2:8]) || s[8] < 'A' || s[8] > 'D' {
		return false
	}
	switch s[:2] {
	case "BG", "GB", "KN", "NK", "NT", "TN", "ZZ":
		return false
	}
	return !strings.ContainsAny(s[:1], "DFIQUV") && !strings.ContainsAny(s[1:2], "DFIOQUV")
}

// health is an NHS number: ten digits, the last a check modulo 11.
func health(s string) bool {
	return len(s) == 10 && allDigits(s) && strings.Trim(s, s[:1]) != "" && weighed(s, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)%11 == 0
}

// polish is a PESEL with a month that there is.
func polish(s string) bool {
	if len(s) != 11 || !allDigits(s) || s == "00000000000" {
		return false
	}
	month, day := (int(s[2]-'0')%2)*10+int(s[3]-'0'), int(s[4]-'0')*10+int(s[5]-'0')
	return month >= 1 && month <= 12 && day >= 1 && day <= 31 && weighed(s, 1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)%10 == 0
}

// american is a social security number in its groups, but for those that are never given.
func american(area, group, serial string) bool {
	return len(area) == 3 && len(group) == 2 && len(serial) == 4 && allDigits(area+group+serial) &&
		area != "000" && area != "666" && area[0] != '9' && group != "00" && serial != "0000"
}

// italian is a codice fiscale with its letter.
func italian(s string) bool {
	if len(s) != 16 || !letter(s[15]) || !allDigits(s[6:8]) || !letter(s[8]) {
		return false
	}
	odd := [36]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for i := range 15 {
		c := s[i]
		if i < 6 && !letter(c) {
			return false
		}
		at := int(c) - '0'
		if letter(c) {
			at = int(c-'A') + 10
		}
		switch {
		case i%2 == 0:
			sum += odd[at]
		case letter(c):
			sum += int(c - 'A')
		default:
			sum += int(c - '0')
		}
	}
	return byte(sum%26)+'A' == s[15]
}
