package dev

import (
	"fmt"
	"strings"
)

// greet prints where everything is and what to try.
func greet(o Options, r Ready) error {
	var text strings.Builder
	fmt.Fprintf(&text, "Headgate is ready. It keeps its data in %s and hands out tokens without a sign-in: it is for this machine only.\n\n", where(o))
	fmt.Fprintf(&text, "  MCP endpoints  %s and %s/{server}\n  API            %s\n  metrics        %s\n\n", r.MCP, r.MCP, r.API, r.Metrics)
	fmt.Fprintf(&text, "As the administrator:\n  export HEADGATE_API=%s HEADGATE_TOKEN=%s\n\n", r.API, r.Tokens["admin"])
	if !o.NoDemo {
		text.WriteString(examples(r))
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

// examples are calls to paste: an allow, a block, an approval that is asked for, and a change.
func examples(r Ready) string {
	var text strings.Builder
	fmt.Fprintf(&text, "A token for each person: sam and sue (support), ana (analyst), carl (contractor), jun and sen (engineers), adam (admin), olga (security).\n"+
		"To connect a client as sam:\n  claude mcp add --transport http headgate %s --header \"Authorization: Bearer $(headgate token sam --tenant acme)\"\n\n", r.MCP)
	for _, example := range []struct{ what, person, server, tool, args string }{
		{"sam reads a ticket (allowed)", "sam", "tickets", "get_ticket", `{"id":"T-1"}`},
		{"ana runs a write (blocked by a rule)", "ana", "sql", "query", `{"query":"DELETE FROM customers"}`},
		{"sam closes a high-priority ticket (needs a supervisor's approval)", "sam", "tickets", "close_ticket", `{"id":"T-2"}`},
	} {
		fmt.Fprintf(&text, "%s:\n  curl -s %s/%s -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \\\n"+
			"    -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"%s\",\"arguments\":%s}}'\n\n",
			example.what, r.MCP, example.server, r.Tokens["acme/"+example.person], example.tool, example.args)
	}
	return text.String()
}
