// Package vault keeps the secrets of connections in the database, sealed, and knows which connection serves which server.
package vault

import (
	"context"
	"database/sql"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"headgate.dev/libs/clock"
	"headgate.dev/libs/fault"
	"headgate.dev/libs/secret"
	"headgate.dev/libs/sqlstore"
	"headgate.dev/services/credentials/internal/seal"
)

//go:embed migrations/*.sql
var files embed.FS

// Migrations is the schema, numbered from 100.
func Migrations() fs.FS {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}

// What a managed connection's secret is bound to besides its tenant, record and version.
const (
	managed      = "managed"
	organisation = "organisation"
)

// Reader is what reading needs: a database or a transaction of it.
type Reader interface {
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) *sql.Row
}

// Vault seals and opens. Safe for concurrent use.
type Vault struct {
	key *seal.Key
	now clock.Now

	mu   sync.RWMutex
	data map[string]*seal.DataKey // by tenant and wrapped form, so that a row that changed is never taken for another
}

// Open opens the vault in a database that has the Migrations. A missing key file is made, but only for a vault that holds nothing yet: a new key
// would open nothing of what is there. A key file that does not fit the database is refused.
func Open(ctx context.Context, db *sqlstore.DB, keyFile string, now clock.Now) (*Vault, error) {
	tenant, wrapped, sealed, err := anyDataKey(ctx, db)
	if err != nil {
		return nil, err
	}
	key, err := seal.LoadKey(keyFile)
	switch {
	case errors.Is(err, os.ErrNotExist) && sealed:
		return nil, fault.Invalid("keyFile: %s is not there, but the database holds secrets that only this key opens. Put the key file back.", keyFile)
	case errors.Is(err, os.ErrNotExist):
		key, err = seal.CreateKey(keyFile)
	}
	if err != nil {
		return nil, fault.Invalid("keyFile: %v", err).Because(err)
	}
	v := &Vault{key: key, now: now, data: map[string]*seal.DataKey{}}
	if sealed {
		if _, err := v.unwrap(tenant, wrapped); err != nil {
			return nil, fault.Invalid("keyFile: %s does not open the secrets of this database: it is the key of another. Put the right one back.", keyFile).Because(err)
		}
	}
	return v, nil
}

func anyDataKey(ctx context.Context, from Reader) (tenant, wrapped string, found bool, err error) {
	row := from.QueryRow(ctx, "SELECT tenant, wrapped FROM data_keys ORDER BY tenant LIMIT 1")
	switch err := row.Scan(&tenant, &wrapped); {
	case errors.Is(err, sql.ErrNoRows):
		return "", "", false, nil
	case err != nil:
		return "", "", false, fmt.Errorf("reading the data keys: %w", err)
	}
	return tenant, wrapped, true, nil
}

// Put seals a connection's secret in place of the one before. The ciphertext opens only as this version of this connection of this tenant.
func (v *Vault) Put(ctx context.Context, tx *sqlstore.Tx, tenant, connection string, value secret.String) error {
	key, err := v.dataKey(ctx, tx, tenant)
	if err != nil {
		return err
	}
	_, version, _, err := read(ctx, tx, tenant, connection)
	if err != nil {
		return err
	}
	version++
	sealed, err := key.Seal(binding(tenant, connection, version), []byte(value.Reveal()))
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `INSERT INTO sealed_secrets (tenant, record, version, sealed, sealed_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (tenant, record) DO UPDATE SET version = excluded.version, sealed = excluded.sealed, sealed_at = excluded.sealed_at`,
		tenant, record(connection), version, base64.StdEncoding.EncodeToString(sealed), sqlstore.Time(v.now()))
	if err != nil {
		return fmt.Errorf("writing the sealed secret of %s: %w", connection, err)
	}
	return nil
}

// Get opens a connection's secret; false when it has none. What was changed or moved in the database is an error.
func (v *Vault) Get(ctx context.Context, from Reader, tenant, connection string) (secret.String, bool, error) {
	sealed, version, found, err := read(ctx, from, tenant, connection)
	if err != nil || !found {
		return secret.String{}, false, err
	}
	wrapped, found, err := wrappedKey(ctx, from, tenant)
	if err != nil {
		return secret.String{}, false, err
	}
	if !found {
		return secret.String{}, false, fmt.Errorf("tenant %s has a sealed secret but no data key", tenant)
	}
	key, err := v.unwrap(tenant, wrapped)
	if err != nil {
		return secret.String{}, false, err
	}
	plain, err := key.Open(binding(tenant, connection, version), sealed)
	if err != nil {
		return secret.String{}, false, err
	}
	return secret.New(string(plain)), true, nil
}

// Has reports whether a connection has a secret, without opening it.
func (v *Vault) Has(ctx context.Context, from Reader, tenant, connection string) (bool, error) {
	_, _, found, err := read(ctx, from, tenant, connection)
	return found, err
}

// Delete destroys a connection's secret. None is no error.
func (v *Vault) Delete(ctx context.Context, tx *sqlstore.Tx, tenant, connection string) error {
	if _, err := tx.Exec(ctx, "DELETE FROM sealed_secrets WHERE tenant = ? AND record = ?", tenant, record(connection)); err != nil {
		return fmt.Errorf("deleting the sealed secret of %s: %w", connection, err)
	}
	return nil
}

func binding(tenant, connection string, version int64) seal.Binding {
	return seal.Binding{Tenant: tenant, Provider: managed, Subject: organisation, Record: record(connection), Version: version}
}

func record(connection string) string { return "connection/" + connection }

func read(ctx context.Context, from Reader, tenant, connection string) (sealed []byte, version int64, found bool, err error) {
	var text string
	row := from.QueryRow(ctx, "SELECT sealed, version FROM sealed_secrets WHERE tenant = ? AND record = ?", tenant, record(connection))
	switch err := row.Scan(&text, &version); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, 0, false, nil
	case err != nil:
		return nil, 0, false, fmt.Errorf("reading the sealed secret of %s: %w", connection, err)
	}
	sealed, err = base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, 0, false, fmt.Errorf("the sealed secret of %s is not base64: %w", connection, err)
	}
	return sealed, version, true, nil
}

func wrappedKey(ctx context.Context, from Reader, tenant string) (wrapped string, found bool, err error) {
	row := from.QueryRow(ctx, "SELECT wrapped FROM data_keys WHERE tenant = ?", tenant)
	switch err := row.Scan(&wrapped); {
	case errors.Is(err, sql.ErrNoRows):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("reading the data key of tenant %s: %w", tenant, err)
	}
	return wrapped, true, nil
}

// dataKey is the tenant's data key, made now if it has none.
func (v *Vault) dataKey(ctx context.Context, tx *sqlstore.Tx, tenant string) (*seal.DataKey, error) {
	wrapped, found, err := wrappedKey(ctx, tx, tenant)
	if err != nil {
		return nil, err
	}
	if found {
		return v.unwrap(tenant, wrapped)
	}
	made, err := v.key.NewDataKey(tenant)
	if err != nil {
		return nil, err
	}
	wrapped = base64.StdEncoding.EncodeToString(made)
	if _, err := tx.Exec(ctx, "INSERT INTO data_keys (tenant, wrapped, created_at) VALUES (?, ?, ?)", tenant, wrapped, sqlstore.Time(v.now())); err != nil {
		return nil, fmt.Errorf("writing the data key of tenant %s: %w", tenant, err)
	}
	return v.unwrap(tenant, wrapped)
}

func (v *Vault) unwrap(tenant, wrapped string) (*seal.DataKey, error) {
	name := tenant + "|" + wrapped
	v.mu.RLock()
	known := v.data[name]
	v.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	raw, err := base64.StdEncoding.DecodeString(wrapped)
	if err != nil {
		return nil, fmt.Errorf("the data key of tenant %s is not base64: %w", tenant, err)
	}
	key, err := v.key.Unwrap(tenant, raw)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.data[name] = key
	return key, nil
}
