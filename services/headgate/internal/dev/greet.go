package dev

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mostTokens is how many tokens are printed: more than that is a directory, not a demo.
const mostTokens = 20

// greet prints where everything is and what to try.
func greet(o Options, r Ready) error {
	var text strings.Builder
	fmt.Fprintf(&text, "Headgate is ready. It keeps its data in %s and hands out tokens without a sign-in: it is for this machine only.\n\n", where(o))
	fmt.Fprintf(&text, "  MCP endpoints  %s and %s/{server}\n  API            %s\n  metrics        %s\n\n", r.MCP, r.MCP, r.API, r.Metrics)
	fmt.Fprintf(&text, "As the administrator:\n  export HEADGATE_API=%s HEADGATE_TOKEN=%s\n\n", r.API, r.Tokens["admin"])
	if o.NoDemo {
		text.WriteString("headgate token NAME makes a token for a person; --ready-file writes one for each.\n\n")
	} else {
		// Who runs the demo tries things out: the tokens are there to paste. Without it nothing is printed that acts as a person.
		text.WriteString(tokens(r) + examples(r))
	}
	_, err := fmt.Fprint(o.Out, text.String())
	return err
}

func where(o Options) string {
	if o.Ephemeral {
		return "a folder that is removed at the end"
	}
	return o.Data
}

// tokens gives each person's token a name in the shell.
func tokens(r Ready) string {
	var lines []string
	for _, full := range slices.Sorted(maps.Keys(r.Tokens)) {
		tenant, person, ok := strings.Cut(full, "/")
		if !ok || tenant == "system" {
			continue
		}
		name := person
		if r.Tokens[person] != r.Tokens[full] { // two tenants have a person of this name
			name = tenant + "_" + person
		}
		lines = append(lines, fmt.Sprintf("  export %s=%s\n", variable(name), r.Tokens[full]))
	}
	switch {
	case len(lines) == 0:
		return ""
	case len(lines) > mostTokens:
		return fmt.Sprintf("headgate token NAME makes a token for each of the %d people; --ready-file writes them.\n\n", len(lines))
	}
	return "A token for each person:\n" + strings.Join(lines, "") + "\n"
}

// variable makes a shell variable's name of a person's.
func variable(name string) string {
	if name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
}

// examples are calls to paste after the tokens: an allow, a block, an approval that is asked for, a change and a redaction.
func examples(r Ready) string {
	var text strings.Builder
	fmt.Fprintf(&text, "sam and sue are in support, ana is an analyst, carl a contractor, jun and sen are engineers, adam is an administrator, olga is the security officer.\n"+
		"To connect a client as sam:\n  claude mcp add --transport http headgate %s --header \"Authorization: Bearer $SAM\"\n\n", r.MCP)
	for _, example := range []struct{ what, token, server, tool, args string }{
		{"sam reads a ticket (allowed)", "SAM", "tickets", "get_ticket", `{"id":"T-1"}`},
		{"ana runs a write (blocked by a rule)", "ANA", "sql", "query", `{"query":"DELETE FROM customers"}`},
		{"sam closes a high-priority ticket (needs a supervisor's approval)", "SAM", "tickets", "close_ticket", `{"id":"T-2"}`},
		{"sam lists all customers (allowed, with a smaller limit)", "SAM", "crm", "list_customers", `{"limit":5000,"country":"JP"}`},
		{"olga asks a server that sends its credential back (allowed, the credential cut out)", "OLGA", "hostile", "get_weather", `{"city":"Oslo"}`},
	} {
		fmt.Fprintf(&text, "%s:\n  curl -s %s/%s -H \"Authorization: Bearer $%s\" -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\\n"+
			"    -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"%s\",\"arguments\":%s}}'\n\n",
			example.what, r.MCP, example.server, example.token, example.tool, example.args)
	}
	return text.String()
}
