package terms_test

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"headgate.dev/libs/policy/terms"
	authzv1 "headgate.dev/proto/gen/headgate/authz/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
)

// newer is a message as a newer version sends it: with one field more.
func newer[M proto.Message](t *testing.T, m M) M {
	t.Helper()
	wire, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	wire = protowire.AppendString(protowire.AppendTag(wire, 90, protowire.BytesType), "on working days")
	read := m.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(wire, read); err != nil {
		t.Fatal(err)
	}
	return read.(M)
}

func TestWhatANewerVersionAsksIsMetByNoCall(t *testing.T) {
	office := func() *authzv1.CallCondition { return &authzv1.CallCondition{Networks: []string{"10.0.0.0/8"}} }
	call := func() *identityv1.Grant { return &identityv1.Grant{Server: "pay", Tools: []string{"*"}, Can: "call"} }
	within := call()
	within.Amount = newer(t, &identityv1.AmountLimit{Argument: "/a", Max: "1", Currency: "EUR"})
	from := call()
	from.Networks = []string{"10.0.0.0/8"}
	for name, c := range map[string]*authzv1.CallCondition{
		"a condition":             newer(t, office()),
		"a grant":                 terms.Of(newer(t, call())),
		"a grant with a network":  terms.Of(newer(t, from)),
		"an amount":               terms.Of(within),
		"nothing at all":          {},
		"an amount of no place":   {Networks: []string{"10.0.0.0/8"}, Max: "1", Currency: "EUR"},
		"an amount of no largest": {Argument: "/a", Currency: "EUR"},
	} {
		if c == nil {
			t.Errorf("%s: has no condition", name)
		} else if read, err := terms.Read(c); err == nil || terms.Words(c) == "" {
			t.Errorf("%s: read as %v, in words %q", name, read, terms.Words(c))
		}
	}
	if terms.Of(call()) != nil || terms.Of(&identityv1.Grant{Can: "see"}) != nil || terms.Words(nil) != "" {
		t.Error("a grant without a condition has one")
	}
	if terms.Key(office()) == terms.Key(newer(t, office())) {
		t.Error("a condition and one that asks more have the same key")
	}
}
