package vault_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/sqlstore/sqltest"
	faultv1 "headgate.dev/proto/gen/headgate/fault/v1"
	"headgate.dev/services/credentials/internal/vault"
)

const value = "sk-live-7Zq0PLmN4vX9"

// each runs a rule of the vault on every database.
func each(t *testing.T, rule func(t *testing.T, db *sqlstore.DB, v *vault.Vault)) {
	t.Helper()
	sqltest.Each(t, vault.Migrations(), func(t *testing.T, db *sqlstore.DB) {
		v, err := vault.Open(t.Context(), db, filepath.Join(t.TempDir(), "kek.json"), clock.System)
		if err != nil {
			t.Fatal(err)
		}
		rule(t, db, v)
	})
}

func put(t *testing.T, db *sqlstore.DB, v *vault.Vault, tenant, connection, value string) {
	t.Helper()
	err := db.Tx(t.Context(), func(tx *sqlstore.Tx) error { return v.Put(t.Context(), tx, tenant, connection, secret.New(value)) })
	if err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, db *sqlstore.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
}

func TestTheVaultGivesBackWhatWasPutLast(t *testing.T) {
	each(t, func(t *testing.T, db *sqlstore.DB, v *vault.Vault) {
		if _, found, err := v.Get(t.Context(), db, "acme", "crm"); found || err != nil {
			t.Errorf("before the first: %v, %v", found, err)
		}
		for _, next := range []string{value, "another-one", value} {
			put(t, db, v, "acme", "crm", next)
			if got, found, err := v.Get(t.Context(), db, "acme", "crm"); got.Reveal() != next || !found || err != nil {
				t.Errorf("got back something else: %v, %v", found, err)
			}
		}
		if _, found, err := v.Get(t.Context(), db, "rival", "crm"); found || err != nil {
			t.Errorf("another tenant: %v, %v", found, err)
		}
		err := db.Tx(t.Context(), func(tx *sqlstore.Tx) error { return v.Delete(t.Context(), tx, "acme", "crm") })
		if err != nil {
			t.Fatal(err)
		}
		if found, err := v.Has(t.Context(), db, "acme", "crm"); found || err != nil {
			t.Errorf("after delete: %v, %v", found, err)
		}
	})
}

func TestWhatIsMovedInTheDatabaseDoesNotOpen(t *testing.T) {
	const acme = "(SELECT sealed FROM sealed_secrets WHERE tenant = 'acme' AND record = 'connection/crm')"
	moves := map[string]string{
		"a secret to another tenant":     "UPDATE sealed_secrets SET sealed = " + acme + " WHERE tenant = 'rival'",
		"a secret with its data key":     "UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE tenant = 'acme') WHERE tenant = 'rival'",
		"a secret to another connection": "UPDATE sealed_secrets SET sealed = " + acme,
		"the version":                    "UPDATE sealed_secrets SET version = version + 1",
		"the ciphertext":                 "UPDATE sealed_secrets SET sealed = 'QUFBQQ=='",
		"what is no base64":              "UPDATE sealed_secrets SET sealed = '%%%'",
		"the data keys":                  "DELETE FROM data_keys",
	}
	for name, move := range moves {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, db *sqlstore.DB, v *vault.Vault) {
				put(t, db, v, "acme", "crm", value)
				put(t, db, v, "acme", "erp", "erp-secret")
				put(t, db, v, "rival", "crm", "rival-secret")
				exec(t, db, move)
				opened := map[string]string{}
				for _, at := range [][2]string{{"acme", "crm"}, {"acme", "erp"}, {"rival", "crm"}} {
					got, _, err := v.Get(t.Context(), db, at[0], at[1])
					if err != nil {
						if strings.Contains(err.Error(), value) {
							t.Error("the error shows the secret")
						}
						continue
					}
					opened[at[0]+"/"+at[1]] = got.Reveal()
				}
				for at, got := range opened {
					if want := map[string]string{"acme/crm": value, "acme/erp": "erp-secret", "rival/crm": "rival-secret"}[at]; got != want {
						t.Errorf("%s opened as another's secret", at)
					}
				}
				if len(opened) == 3 {
					t.Error("everything still opens")
				}
			})
		})
	}
}

func TestWhatWasRolledBackIsNotThere(t *testing.T) {
	each(t, func(t *testing.T, db *sqlstore.DB, v *vault.Vault) {
		undo := errors.New("undo")
		err := db.Tx(t.Context(), func(tx *sqlstore.Tx) error {
			if err := v.Put(t.Context(), tx, "acme", "crm", secret.New(value)); err != nil {
				return err
			}
			return undo
		})
		if !errors.Is(err, undo) {
			t.Fatal(err)
		}
		put(t, db, v, "acme", "crm", "second") // the data key that was undone must not be used
		if got, _, err := v.Get(t.Context(), db, "acme", "crm"); got.Reveal() != "second" || err != nil {
			t.Error(err)
		}
	})
}

func TestAServerHasOneConnection(t *testing.T) {
	each(t, func(t *testing.T, db *sqlstore.DB, v *vault.Vault) {
		claim := func(claims ...vault.Claim) error {
			return db.Tx(t.Context(), func(tx *sqlstore.Tx) error { return v.Claim(t.Context(), tx, claims) })
		}
		a, b := vault.Claim{Tenant: "acme", Connection: "a", Server: "crm"}, vault.Claim{Tenant: "acme", Connection: "b", Server: "erp"}
		if err := claim(a, b); err != nil {
			t.Fatal(err)
		}
		if err := claim(vault.Claim{Tenant: "acme", Connection: "c", Server: "crm"}); !fault.Is(err, faultv1.Reason_REASON_CONFLICT) {
			t.Errorf("a second one: %v", err)
		}
		if err := claim(vault.Claim{Tenant: "rival", Connection: "a", Server: "crm"}); err != nil {
			t.Errorf("another tenant's server of the same name: %v", err)
		}
		a.Server, b.Server = b.Server, a.Server
		if err := claim(a, b); err != nil {
			t.Errorf("a trade: %v", err)
		}
		if err := claim(a); err != nil {
			t.Errorf("the same again: %v", err)
		}
		got, found, err := v.ConnectionOf(context.Background(), db, "acme", "crm")
		if got != "b" || !found || err != nil {
			t.Errorf("%s, %v, %v", got, found, err)
		}
	})
}
