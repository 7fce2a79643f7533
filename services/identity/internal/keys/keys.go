// Package keys keeps the keys that sign tokens: one signs, those before it stay published until the last token that they signed has expired.
package keys

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"headgate.dev/libs/sqlstore"
	"headgate.dev/libs/token"
)

// Reader is what reading needs: a database or a transaction of it.
type Reader interface {
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Set is the keys of one moment.
type Set struct {
	// Signing is the private key that signs; its Key is nil when there is none yet.
	Signing jose.JSONWebKey
	// Public is what tokens may be signed with.
	Public jose.JSONWebKeySet
}

// JSON is the published form, a JSON Web Key Set.
func (s Set) JSON() (string, error) {
	text, err := json.Marshal(s.Public)
	if err != nil {
		return "", fmt.Errorf("writing the key set: %w", err)
	}
	return string(text), nil
}

// Load reads the keys as they are at now.
func (s *Seal) Load(ctx context.Context, from Reader, now time.Time) (set Set, err error) {
	rows, err := from.Query(ctx, "SELECT id, sealed, public, drop_at FROM signing_keys ORDER BY created_at DESC, id")
	if err != nil {
		return Set{}, fmt.Errorf("reading the signing keys: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var id, sealed, public, dropAt string
		if err := rows.Scan(&id, &sealed, &public, &dropAt); err != nil {
			return Set{}, fmt.Errorf("reading the signing keys: %w", err)
		}
		if dropAt != "" && dropAt <= sqlstore.Time(now) {
			continue
		}
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON([]byte(public)); err != nil {
			return Set{}, fmt.Errorf("reading signing key %s: %w", id, err)
		}
		set.Public.Keys = append(set.Public.Keys, key)
		if dropAt != "" {
			continue
		}
		plain, err := s.open(id, sealed)
		if err != nil {
			return Set{}, err
		}
		if err := set.Signing.UnmarshalJSON(plain); err != nil {
			return Set{}, fmt.Errorf("reading signing key %s: %w", id, err)
		}
	}
	if err := rows.Err(); err != nil {
		return Set{}, fmt.Errorf("reading the signing keys: %w", err)
	}
	return set, nil
}

// Rotate makes the key that signs from now on and returns its id. The one before stays published until dropAt.
func (s *Seal) Rotate(ctx context.Context, tx *sqlstore.Tx, now, dropAt time.Time) (string, error) {
	key, err := token.NewKey()
	if err != nil {
		return "", err
	}
	private, err := key.MarshalJSON()
	if err != nil {
		return "", fmt.Errorf("writing a signing key: %w", err)
	}
	public := key.Public()
	shown, err := public.MarshalJSON()
	if err != nil {
		return "", fmt.Errorf("writing a signing key: %w", err)
	}
	if _, err := tx.Exec(ctx, "UPDATE signing_keys SET drop_at = ? WHERE drop_at = ''", sqlstore.Time(dropAt)); err != nil {
		return "", fmt.Errorf("retiring the signing key: %w", err)
	}
	if _, err := tx.Exec(ctx, "INSERT INTO signing_keys (id, sealed, public, created_at, drop_at) VALUES (?, ?, ?, ?, '')",
		key.KeyID, s.close(key.KeyID, private), string(shown), sqlstore.Time(now)); err != nil {
		return "", fmt.Errorf("keeping a signing key: %w", err)
	}
	return key.KeyID, nil
}

// Exist reports whether the database has keys, so that a lost key file is not replaced by a new one.
func Exist(ctx context.Context, db *sqlstore.DB) (bool, error) {
	var count int
	if err := db.QueryRow(ctx, "SELECT count(*) FROM signing_keys").Scan(&count); err != nil {
		return false, fmt.Errorf("counting the signing keys: %w", err)
	}
	return count > 0, nil
}

// Prune deletes the keys whose tokens have all expired and returns how many.
func Prune(ctx context.Context, tx *sqlstore.Tx, now time.Time) (int64, error) {
	result, err := tx.Exec(ctx, "DELETE FROM signing_keys WHERE drop_at <> '' AND drop_at <= ?", sqlstore.Time(now))
	if err != nil {
		return 0, fmt.Errorf("dropping old signing keys: %w", err)
	}
	return result.RowsAffected()
}
