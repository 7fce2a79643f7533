package probe_test

import (
	"log/slog"
	"testing"

	"headgate.dev/libs/egress"
	"headgate.dev/libs/egress/egresstest"
	"headgate.dev/services/trust/internal/probe"
)

func one() raw {
	return raw{"server/discover": discovered, "tools/list": `{"tools":[` + tool("a") + `]}`}
}

// looking looks at servers as they are declared.
func looking(t *testing.T, certificates egress.Certificates) egresstest.Reacher {
	as, err := certificates.Open(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, d egresstest.Declared) string {
		got, err := probe.Server(t.Context(), probe.Target{
			Tenant: "acme", URL: d.URL, CA: d.CA, Pins: d.Pins, ClientCertificate: d.ClientCertificate, Identities: as,
		}, probe.DefaultLimits())
		if err != nil {
			return err.Error()
		}
		if len(got.Tools) != 1 {
			t.Errorf("saw %v", got.Tools)
		}
		return ""
	}
}

func TestT23AServerIsLookedAtOnlyWhenItsCertificateIsAsDeclared(t *testing.T) {
	egresstest.Certificates(t, one(), looking)
}

func TestALookShowsTheDeclaredClientCertificate(t *testing.T) {
	egresstest.ClientCertificates(t, one(), looking)
}

func TestT13NoLookGoesWhereThePlatformsOwnSecretsAre(t *testing.T) {
	egresstest.Addresses(t, one(), looking)
}
