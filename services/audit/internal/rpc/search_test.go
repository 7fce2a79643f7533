package rpc

import (
	"testing"

	"headgate.dev/libs/fault"
	"headgate.dev/libs/ledger"
	"headgate.dev/libs/rpc"
	auditv1 "headgate.dev/proto/gen/headgate/audit/v1"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	identityv1 "headgate.dev/proto/gen/headgate/identity/v1"
	optionsv1 "headgate.dev/proto/gen/headgate/options/v1"
	"headgate.dev/services/audit/internal/index"
)

func TestOnlyReadersOfTheRecordSearchForOthers(t *testing.T) {
	person := func(name string, rights ...optionsv1.Role) rpc.Caller {
		return rpc.Caller{Person: &identityv1.Caller{Tenant: "acme", Name: name, Rights: append(rights, optionsv1.Role_ROLE_MEMBER)}}
	}
	for name, c := range map[string]struct {
		caller    rpc.Caller
		requested string
		want      string
		reason    faultv1.Reason
	}{
		"member":                      {person("ana"), "", "ana", 0},
		"member, themselves":          {person("ana"), "ana", "ana", 0},
		"member, another":             {person("ana"), "bob", "", faultv1.Reason_REASON_ROLE_REQUIRED},
		"member without a name":       {person(""), "", "", faultv1.Reason_REASON_UNAUTHENTICATED},
		"application":                 {person("app", optionsv1.Role_ROLE_APP), "bob", "", faultv1.Reason_REASON_ROLE_REQUIRED},
		"auditor":                     {person("vera", optionsv1.Role_ROLE_AUDITOR), "", "", 0},
		"auditor, another":            {person("vera", optionsv1.Role_ROLE_AUDITOR), "bob", "bob", 0},
		"security":                    {person("sec", optionsv1.Role_ROLE_SECURITY), "bob", "bob", 0},
		"administrator":               {person("adm", optionsv1.Role_ROLE_ADMIN), "bob", "bob", 0},
		"administrator of everything": {person("root", optionsv1.Role_ROLE_PLATFORM), "bob", "bob", 0},
	} {
		got, err := narrow(c.caller, ledger.Filter{Person: c.requested})
		if got.Person != c.want || got.Own != (c.want != "" && !reads(c.caller)) || (err != nil) != (c.reason != 0) || err != nil && !fault.Is(err, c.reason) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestAnAgentReadsWhatItDidItself(t *testing.T) {
	agent := rpc.Caller{Person: &identityv1.Caller{Tenant: "acme", Name: "ana", Agent: "triage", Rights: []optionsv1.Role{optionsv1.Role_ROLE_MEMBER}}}
	if got, err := narrow(agent, ledger.Filter{Tool: "get"}); err != nil || got != (ledger.Filter{Person: "ana", Agent: "triage", Own: true, Tool: "get"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := narrow(agent, ledger.Filter{Agent: "other"}); !fault.Is(err, faultv1.Reason_REASON_ROLE_REQUIRED) {
		t.Errorf("another agent's: %v", err)
	}
}

// Whatever is sent as a page token, only one that this search made is taken.
func FuzzPageToken(f *testing.F) {
	t1 := tokens{search: fingerprint(index.Query{Filter: ledger.Filter{Tenant: "acme"}}, &auditv1.SearchRequest{})}
	t2 := tokens{search: fingerprint(index.Query{Filter: ledger.Filter{Tenant: "globex"}}, &auditv1.SearchRequest{})}
	f.Add("")
	f.Add(t1.make("12.3"))
	f.Add(t2.make("12.3"))
	f.Fuzz(func(t *testing.T, token string) {
		next, err := t1.open(token)
		if err != nil && !fault.Is(err, faultv1.Reason_REASON_INVALID) {
			t.Fatal(err)
		}
		if err == nil && token != "" {
			if again, err := t1.open(t1.make(next)); next != "" && (err != nil || again != next) {
				t.Fatalf("%q became %q, %v", next, again, err)
			}
			if _, err := t2.open(token); err == nil {
				t.Fatal("a token is good for two searches")
			}
		}
	})
}
