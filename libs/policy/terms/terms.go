// Package terms reads what a grant asks of each call: the networks that it comes from and the largest amount that it names.
package terms

import (
	"fmt"
	"net/netip"
	"strings"

	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/policy/money"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// Terms are conditions that were read. They never change.
type Terms struct {
	// Networks are where calls may come from; none means anywhere.
	Networks []netip.Prefix
	// Limit is nil for calls of any amount.
	Limit *Limit
}

// Limit bounds the amount of a call.
type Limit struct {
	// Argument and Currency are JSON pointers into the arguments. Currency is empty where the tool knows one currency or the amount carries its own.
	Argument, Currency string
	Max                money.Amount
}

// Of is the condition of a grant of calls; nil when it has none. What a newer version put into the grant could be one: that no call meets.
func Of(g *identityv1.Grant) *authzv1.CallCondition {
	amount := g.GetAmount()
	switch {
	case g.GetCan() != "call":
		return nil
	case unknown(g) || unknown(amount):
		return &authzv1.CallCondition{}
	case len(g.GetNetworks()) == 0 && amount == nil:
		return nil
	}
	return &authzv1.CallCondition{
		Networks: g.GetNetworks(), Argument: amount.GetArgument(), Max: amount.GetMax(), Currency: amount.GetCurrency(),
		CurrencyArgument: amount.GetCurrencyArgument(),
	}
}

func unknown(m proto.Message) bool { return len(m.ProtoReflect().GetUnknown()) > 0 }

// Read reads a condition. One that asks nothing, or something more, is an error as well: whoever wrote it asked what is not known here.
func Read(c *authzv1.CallCondition) (Terms, error) {
	var t Terms
	if unknown(c) {
		return t, fmt.Errorf("the condition asks what this version does not know")
	}
	for _, text := range c.GetNetworks() {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return Terms{}, fmt.Errorf("%.60q is not a network, as 10.0.0.0/8", text)
		}
		t.Networks = append(t.Networks, network.Masked())
	}
	if c.GetArgument()+c.GetMax()+c.GetCurrency()+c.GetCurrencyArgument() != "" {
		if c.GetArgument() == "" {
			return Terms{}, fmt.Errorf("the condition does not say which argument is the amount")
		}
		limit, err := money.New(c.GetMax(), c.GetCurrency())
		if err != nil {
			return Terms{}, err
		}
		t.Limit = &Limit{Argument: c.GetArgument(), Currency: c.GetCurrencyArgument(), Max: limit}
	}
	if len(t.Networks) == 0 && t.Limit == nil {
		return Terms{}, fmt.Errorf("the condition has neither networks nor an amount")
	}
	return t, nil
}

// Key is the same for the same condition alone; empty for none.
func Key(c *authzv1.CallCondition) string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%q", append([]string{c.GetArgument(), c.GetMax(), c.GetCurrency(), c.GetCurrencyArgument(), string(c.ProtoReflect().GetUnknown())}, c.GetNetworks()...))
}

// Words says a condition in a sentence's words, as "from 10.0.0.0/8 and with /amount at most 1000.00 EUR"; empty for none.
func Words(c *authzv1.CallCondition) string {
	var words []string
	if len(c.GetNetworks()) > 0 {
		words = append(words, "from "+strings.Join(c.GetNetworks(), " or "))
	}
	if c.GetArgument() != "" {
		limit := "with " + c.GetArgument() + " at most " + c.GetMax() + " " + c.GetCurrency()
		if c.GetCurrencyArgument() != "" {
			limit += " in the currency of " + c.GetCurrencyArgument()
		}
		words = append(words, limit)
	}
	if c != nil && (len(words) == 0 || unknown(c)) {
		words = append(words, "under a condition that this version does not know")
	}
	return strings.Join(words, " and ")
}

// Behind is Words with a blank before them, to stand behind what a grant gives; empty for none.
func Behind(c *authzv1.CallCondition) string {
	if c == nil {
		return ""
	}
	return " " + Words(c)
}

// Admit reports whether an address is in one of the networks. Without networks every address is; one that is not known is in none.
func (t Terms) Admit(address string) bool {
	if len(t.Networks) == 0 {
		return true
	}
	at, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	at = at.Unmap().WithZone("")
	for _, network := range t.Networks {
		if network.Contains(at) {
			return true
		}
	}
	return false
}
