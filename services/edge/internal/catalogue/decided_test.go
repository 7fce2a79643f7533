package catalogue

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"headgate.dev/libs/journal"
	"headgate.dev/libs/mcp"
	"headgate.dev/libs/policy"
	eventsv1 "headgate.dev/proto/gen/headgate/events/v1"
	"headgate.dev/services/edge/internal/guard"
)

// shownTo is a guard around the catalogue's own reader of arguments. Its other stages let everything through and remember what they were shown.
type shownTo struct {
	guard    *guard.Guard
	question *guard.Question
	exchange *guard.Exchange
}

type (
	door     struct{ guard.Admitter }
	fresh    struct{}
	shelf    struct{ guard.Catalogue }
	judge    struct{ of *shownTo }
	purse    struct{ guard.Lender }
	recorder struct{}
	wire     struct {
		guard.Upstream
		of *shownTo
	}
	glass struct{ guard.Inspector }
	ring  struct{ guard.Keys }
)

func (door) Admit(*guard.Inbound) (*guard.Caller, error) {
	return &guard.Caller{Tenant: "acme", Person: "ana"}, nil
}
func (door) Still(*guard.Inbound, *guard.Caller) error { return nil }
func (door) Current(_ *guard.Inbound, c *guard.Caller) (*guard.Caller, error) {
	return c, nil
}
func (fresh) Fresh() error { return nil }

func (shelf) Resolve(_ context.Context, _ *guard.Caller, _, visible string) (*guard.Tool, error) {
	reader := compile(visible, json.RawMessage(`{"type":"object","additionalProperties":true}`), nil)
	return &guard.Tool{Server: &guard.Server{Tenant: "acme", Name: "s", Timeout: time.Second}, Name: visible, Arguments: reader}, nil
}
func (shelf) Stopped(*guard.Caller) error                             { return nil }
func (shelf) Still(context.Context, *guard.Caller, *guard.Tool) error { return nil }
func (shelf) Halted(*guard.Caller, *guard.Tool) error                 { return nil }

func (j judge) Decide(_ context.Context, q guard.Question) (policy.Decision, error) {
	j.of.question = &q
	return policy.Decision{Effect: "allow"}, nil
}
func (judge) Version() int64 { return 1 }

func (purse) Lease(context.Context, guard.LeaseRequest) (*guard.Lease, error) {
	return &guard.Lease{}, nil
}
func (recorder) Append(*eventsv1.Event, journal.Mode) error { return nil }

func (w wire) Forward(_ context.Context, ex guard.Exchange) (guard.Reply, error) {
	w.of.exchange = &ex
	return guard.Reply{Result: json.RawMessage(`{"content":[]}`)}, nil
}
func (wire) About(context.Context, *guard.Server, *guard.Lease) (guard.About, error) {
	return guard.About{Legacy: true}, nil
}
func (glass) Inspect(document []byte, _ *guard.Lease) ([]byte, guard.Inspection, error) {
	return document, guard.Inspection{}, nil
}
func (glass) Text(sentence string, _ *guard.Lease) string { return sentence }
func (ring) Sum(string, []byte) string                    { return "sum" }

func watch() *shownTo {
	w := &shownTo{}
	w.guard = guard.New(guard.Stages{
		Admitter: door{}, Replicas: fresh{}, Catalogue: shelf{}, Decider: judge{w}, Lender: purse{}, Journal: recorder{}, Upstream: wire{of: w}, Inspector: glass{},
		Keys: ring{}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	return w
}

// FuzzWhatRulesReadIsWhatIsSent holds the reader of arguments to this: what rules are shown, decoded, is what another reader finds in the bytes that the
// server gets. No member is there more or less, texts are the same character by character, and numbers the same to the last digit that a rule can see.
func FuzzWhatRulesReadIsWhatIsSent(f *testing.F) {
	for _, arguments := range []string{
		`{}`, `{"n":1}`, `{ "a\u0062" : [1e9, -0, 0.10] , "a":null}`, `{"n":9007199254740993,"m":18446744073709551615,"k":12345678901234567890123}`,
		`{"t":"\ud83d\ude00\u200b\u0000","\u0074x":{"\"":[[],{},true,false]}}`, `{"n":1.0,"m":1e2,"k":123456789012345.5,"l":-9223372036854775808}`, `{"n":9007199254740993e0,"m":9007199254740993.0,"k":0.9999999999999999999,"l":1e-400}`, "{\"a\":\n{\r\"b\"\t:\"\\/\" }}",
	} {
		f.Add([]byte(arguments))
	}
	f.Fuzz(func(t *testing.T, arguments []byte) {
		body := append(append([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"act","arguments":`), arguments...), "}}"...)
		w := watch()
		w.guard.Call(t.Context(), &guard.Inbound{Verb: http.MethodPost, Endpoint: "/mcp/s", Server: "s", Body: body, Accept: "application/json", Headers: guard.Headers{}})
		if w.exchange == nil {
			return
		}
		if !bytes.Equal(w.exchange.Arguments, mcp.Get(w.exchange.Params, "arguments")) {
			t.Fatalf("sent %q in %q", w.exchange.Arguments, w.exchange.Params)
		}
		shown, sent := any(w.question.Decoded), w.exchange.Arguments
		if w.question.Decoded == nil { // numbers that the schema's check has to see in another way: rules decode for themselves
			var err error
			if shown, err = policy.Decode(w.question.Arguments); err != nil {
				return // a rule that reads them blocks
			}
		}
		in := json.NewDecoder(bytes.NewReader(sent))
		in.UseNumber()
		var other any
		if err := in.Decode(&other); err != nil {
			t.Fatalf("%q was sent, and another reader says %v", sent, err)
		}
		if difference := differs("", shown, other); difference != "" {
			t.Fatalf("%q was sent, and rules read %#v: %s", sent, shown, difference)
		}
	})
}

// differs says where two readings are not the same; empty where they are. Numbers of the other reader are its digits.
func differs(where string, shown, other any) string {
	switch other := other.(type) {
	case map[string]any:
		object, ok := shown.(map[string]any)
		if !ok || len(object) != len(other) {
			return fmt.Sprintf("%s: %v, not %v", where, shown, other)
		}
		for name, value := range other {
			one, there := object[name]
			if !there {
				return fmt.Sprintf("%s has no %q", where, name)
			}
			if difference := differs(where+"/"+name, one, value); difference != "" {
				return difference
			}
		}
		return ""
	case []any:
		array, ok := shown.([]any)
		if !ok || len(array) != len(other) {
			return fmt.Sprintf("%s: %v, not %v", where, shown, other)
		}
		for i := range other {
			if difference := differs(fmt.Sprintf("%s/%d", where, i), array[i], other[i]); difference != "" {
				return difference
			}
		}
		return ""
	case json.Number:
		if !sameNumber(shown, other.String()) {
			return fmt.Sprintf("%s: %v (%T), not %s", where, shown, shown, other)
		}
		return ""
	}
	if shown != other {
		return fmt.Sprintf("%s: %q, not %q", where, shown, other)
	}
	return ""
}

// sameNumber holds an integer of 64 bits to each of the digits, and anything else to being the nearest double.
func sameNumber(shown any, digits string) bool {
	_, exponent, _ := strings.Cut(strings.ToLower(digits), "e")
	if f, ok := shown.(float64); ok && len(strings.TrimLeft(exponent, "+-0")) > 4 {
		return f == 0 // beyond what a double has; too large ones are refused before
	}
	exact, ok := new(big.Rat).SetString(digits)
	if !ok {
		return false
	}
	if exact.IsInt() && (exact.Num().IsInt64() || exact.Num().IsUint64()) { // whatever the notation, each digit counts
		switch n := shown.(type) {
		case int64:
			return exact.Num().Cmp(big.NewInt(n)) == 0
		case uint64:
			return exact.Num().Cmp(new(big.Int).SetUint64(n)) == 0
		}
		return false
	}
	nearest, _ := exact.Float64()
	switch n := shown.(type) {
	case int64:
		return nearest == float64(n) // a fraction next to an integer
	case float64:
		return nearest == n
	}
	return false
}
