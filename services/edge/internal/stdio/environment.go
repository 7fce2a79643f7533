package stdio

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"headgate.dev/libs/secret/forms"
)

// passed are the variables of the edge's that every process gets.
func passed() []string { return []string{"PATH", "HOME", "LANG"} }

// Lookup finds a variable of the edge's own.
type Lookup func(name string) (value string, found bool)

// environment is all that a process gets: what is not named here, it does not have.
func environment(c Command, lookup Lookup) []string {
	all := map[string]string{}
	for _, name := range slices.Concat(passed(), c.Inherit) {
		if value, found := lookup(name); found {
			all[name] = value
		}
	}
	maps.Copy(all, c.Env)
	out := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, name+"="+all[name])
	}
	return out
}

// shortestSecret is the length from which the value of a variable counts as a secret: shorter ones are numbers, words and switches.
const shortestSecret = 8

// Inherited are the values of the variables that a command inherits, which count as credentials: whoever runs the edge put them into its environment.
func Inherited(names []string, lookup Lookup) []string {
	var values []string
	for _, name := range names {
		if value, found := lookup(name); found && len(value) >= shortestSecret {
			values = append(values, parts(value)...)
		}
	}
	return values
}

// parts are a value and each of its lines, because what a program prints of a key in several lines is one line of it at a time.
func parts(value string) []string {
	out := []string{value}
	for line := range strings.Lines(value) {
		if line = strings.TrimSpace(line); line != value && len(line) >= shortestSecret {
			out = append(out, line)
		}
	}
	return out
}

// given are the values of a command's arguments: what stands behind an option, as an argument of its own or behind an equals sign, behind the name of a
// scheme as Bearer, and the password of an address.
func given(command []string) []string {
	var out []string
	for i, argument := range command {
		if i == 0 {
			continue // the program
		}
		var values []string
		if strings.HasPrefix(command[i-1], "-") && !strings.HasPrefix(argument, "-") {
			values = append(values, argument)
		}
		if _, value, named := strings.Cut(argument, "="); named {
			values = append(values, value)
		}
		for _, scheme := range []string{"Bearer ", "Basic ", "Token "} {
			if _, value, has := strings.Cut(argument, scheme); has {
				values = append(values, value)
			}
		}
		if word, known := password(argument); known {
			out = append(out, word) // also a short one
		}
		for _, value := range values {
			if len(value) >= shortestSecret {
				out = append(out, parts(value)...)
			}
		}
	}
	return out
}

// password is that of an address, as postgres://user:password@host/name, also behind an equals sign.
func password(argument string) (string, bool) {
	at, err := url.Parse(argument)
	if _, value, named := strings.Cut(argument, "="); named && (err != nil || at.User == nil) {
		at, err = url.Parse(value)
	}
	if err != nil || at.User == nil {
		return "", false
	}
	word, has := at.User.Password()
	return word, has && word != ""
}

// redactor takes the values of variables out of what a process prints.
func redactor(c Command, lookup Lookup) func(string) string {
	values := append(Inherited(c.Inherit, lookup), given(c.Command)...)
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if len(c.Env[name]) >= shortestSecret {
			values = append(values, parts(c.Env[name])...)
		}
	}
	spelled := forms.Of(values)
	return func(text string) string {
		clean, _ := spelled.RedactText(text)
		return clean
	}
}
