package demo

import (
	"fmt"
	"strings"
)

type contact struct{ name, email, phone, country string }

// person makes up the n-th person, the same each time.
func person(n int) contact {
	first := [...]string{"Ada", "Boris", "Chen", "Dalia", "Emeka", "Farah", "Goran", "Hana",
		"Ines", "Jonas", "Keiko", "Luis", "Mina", "Noor", "Olaf", "Priya", "Quinn"}
	last := [...]string{"Abara", "Brandt", "Castro", "Dubois", "Eriksen", "Fischer", "Gupta", "Haddad", "Ito", "Jansen", "Kovac", "Lindqvist", "Moreau"}
	countries := [...]string{"DE", "FR", "JP", "BR", "NG", "IN", "SE", "US"}
	f, l := first[n%len(first)], last[n%len(last)]
	return contact{
		name:    f + " " + l,
		email:   fmt.Sprintf("%s.%s%d@customers.example", strings.ToLower(f), strings.ToLower(l), n),
		phone:   fmt.Sprintf("+1 555 %03d %04d", n%1000, n*37%10000),
		country: countries[n%len(countries)],
	}
}
